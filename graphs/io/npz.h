#pragma once
// Reads and writes NumPy's .npz files: a zip archive with one .npy file an array. Needs libzip; without it npz_stub.cc
// stands in and every call is an Error(kUnsupported). Results are on the host and own their memory. Any thread.

#include <filesystem>
#include <span>
#include <string_view>

#include "graphs/io/byte_source.h"
#include "graphs/io/tensor_map.h"

namespace strand {

bool built_with_libzip();

// All arrays, under their names without ".npy". What they inflate to is limited, before memory is taken, to the file's
// size plus the lesser of 4 GiB and 100 times that size + 16 MiB: Error(kLimit). Error(kUnsupported) for an encrypted
// member or a method other than stored and deflated, Error(kParse) for a wrong CRC-32, two members of one name, a
// member that is not .npy or whose name holds a slash, a backslash or "..", and for what parse_npy() refuses.
TensorMap read_npz(const std::filesystem::path& path);
TensorMap parse_npz(const ByteSource& source);
TensorMap parse_npz(std::span<const std::byte> bytes, std::string_view name);

// Uncompressed, as numpy.savez writes it; the same bytes for the same tensors. Error(kSchema) for a name that would not
// be read back, Error(kUnsupported) for bfloat16, Error(kIo) where the file can't be written.
void write_npz(const std::filesystem::path& path, const TensorMap& tensors);

}  // namespace strand
