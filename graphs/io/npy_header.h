#pragma once
// The header of an .npy file: the one dictionary literal that the format allows, read by a parser that knows no other
// Python. Private to the reader and the writer.

#include <string>
#include <string_view>

#include "engine/tensor.h"
#include "graphs/io/byte_source.h"

namespace strand {

struct NpyHeader {
  TensorType type;
  bool fortran_order = false;
};

// `text` begins at byte `offset` of `source`, which messages speak of. Errors as parse_npy().
NpyHeader parse_npy_header(std::string_view text, int64_t offset, const ByteSource& source);

// NumPy's name of a dtype ("<f4"), or empty where it has none.
std::string_view npy_descr(DType dtype);

}  // namespace strand
