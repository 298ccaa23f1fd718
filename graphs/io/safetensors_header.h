#pragma once
// The JSON header of a safetensors file, and its dtype names. Private to the reader and the writer.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/dtype.h"
#include "engine/tensor.h"
#include "graphs/io/byte_source.h"
#include "graphs/io/safetensors.h"

namespace strand {

inline constexpr int64_t kSafetensorsLengthBytes = 8;          // the length of the header, little-endian
inline constexpr int64_t kSafetensorsMaxHeader = 100'000'000;  // bytes, as in the reference implementation
inline constexpr std::string_view kSafetensorsMetadata = "__metadata__";

struct SafetensorsEntry {
  std::string name;
  TensorType type;
  int64_t begin = 0;  // bytes from the end of the header
  int64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of the file
  Metadata metadata;
};

std::string_view safetensors_dtype(DType dtype);

// `json` is the header's text, `source` the file that messages speak of. Grammar only; check_safetensors_layout() holds
// the entries against the data that the file has. Errors as read_safetensors().
SafetensorsHeader parse_safetensors_header(std::string_view json, const ByteSource& source);

// Sorts the entries by place and checks that they fit their shapes and fill [0, data_bytes) without gap or overlap.
void check_safetensors_layout(SafetensorsHeader& header, int64_t data_bytes, const ByteSource& source);

}  // namespace strand
