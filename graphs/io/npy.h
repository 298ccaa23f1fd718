#pragma once
// Reads and writes NumPy's .npy files, versions 1 to 3. Nothing is ever unpickled or evaluated. Results are on the host
// and own their memory. Functions without state; any thread.

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tensor.h"
#include "graphs/io/byte_source.h"

namespace strand {

// An array of f8, f4, f2, i8, i4, i2, i1, u1 or b1, little-endian; Fortran order is turned into row-major order.
// Error(kParse) with the byte for what is not well-formed, Error(kUnsupported) for another dtype (objects, records,
// big-endian) or version, Error(kLimit) for a rank above 8, a header above 64 KiB or sizes past 64 bits. The size that
// the header promises is held against the source's before memory is taken.
Tensor read_npy(const std::filesystem::path& path);
Tensor parse_npy(const ByteSource& source);
Tensor parse_npy(std::span<const std::byte> bytes, std::string_view name);

// Where an array's data lies in a file, once the sizes agree. Errors as parse_npy.
struct NpyPlace {
  TensorType type;
  bool fortran_order = false;
  int64_t offset = 0;  // bytes, of the data
};
NpyPlace find_npy(const ByteSource& source);

// What stands before the data: version 1, padded so that the data begins at a multiple of 64. Error(kUnsupported) for
// bfloat16, which NumPy does not know.
std::string npy_header(const TensorType& type);
// A whole file's bytes; `tensor` on any device.
std::vector<std::byte> npy_bytes(const TensorView& tensor);
// Error(kIo) where the file can't be written.
void write_npy(const std::filesystem::path& path, const TensorView& tensor);

}  // namespace strand
