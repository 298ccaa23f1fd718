#pragma once
// Reads and writes safetensors files: an 8-byte length, a JSON header, and the tensors' bytes without gaps. The maps
// own their tensors, which lie on the host. Functions without state; any thread.

#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "graphs/io/byte_source.h"
#include "graphs/io/tensor_map.h"

namespace strand {

using Metadata = std::map<std::string, std::string, std::less<>>;

// Everything in a file, checked before memory is taken: Error(kParse) with the file and byte for whatever is not
// well-formed (duplicate names, overlaps, holes, trailing bytes, a shape that is not its bytes), Error(kLimit) for a
// header above 100,000,000 bytes, a rank above 8 or sizes past 64 bits, Error(kUnsupported) for a dtype other than F64,
// F32, F16, BF16, I64, I32, I16, I8, U8 and BOOL. NaN and Inf load, and so do tensors without elements. `metadata`,
// where given, receives the file's `__metadata__`.
TensorMap read_safetensors(const std::filesystem::path& path, Metadata* metadata = nullptr);
TensorMap parse_safetensors(const ByteSource& source, Metadata* metadata = nullptr);
TensorMap parse_safetensors(std::span<const std::byte> bytes, std::string_view name);

// Writes the same bytes for the same tensors: by element size, largest first, then by name; the data begins at a
// multiple of 8. Error(kSchema) for a name that is not UTF-8 or is `__metadata__`, Error(kIo) where the file can't be
// written.
void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors, const Metadata& metadata = {});

}  // namespace strand
