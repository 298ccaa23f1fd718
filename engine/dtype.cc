#include "engine/dtype.h"

#include <array>
#include <string>

#include "engine/error.h"

namespace strand {
namespace {

struct DTypeInfo {
  std::string_view name;
  int64_t bytes;
  bool floating_point;
};

// In the order of DType.
constexpr std::array<DTypeInfo, 10> kDTypes = {{{"float32", 4, true},
                                                {"float64", 8, true},
                                                {"float16", 2, true},
                                                {"bfloat16", 2, true},
                                                {"int64", 8, false},
                                                {"int32", 4, false},
                                                {"int16", 2, false},
                                                {"int8", 1, false},
                                                {"uint8", 1, false},
                                                {"bool", 1, false}}};

constexpr std::array<std::string_view, 5> kPrecisions = {"float32", "float64", "tf32", "float16", "bfloat16"};

}  // namespace

int64_t size_of(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].bytes; }
std::string_view to_string(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].name; }
bool is_floating_point(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].floating_point; }

double eps_of(Precision precision) {
  switch (precision) {
    case Precision::kFloat64:
      return 0x1p-53;
    case Precision::kTf32:
    case Precision::kFloat16:
      return 0x1p-11;
    case Precision::kBFloat16:
      return 0x1p-8;
    case Precision::kFloat32:
      break;
  }
  return 0x1p-24;
}

std::string_view to_string(Precision precision) { return kPrecisions[static_cast<size_t>(precision)]; }

Precision parse_precision(std::string_view text) {
  for (size_t i = 0; i < kPrecisions.size(); ++i) {
    if (text == kPrecisions[i]) return static_cast<Precision>(i);
  }
  throw Error(ErrorCategory::kUnsupported,
              "unknown precision '" + std::string(text) + "'; expected float32, float64, tf32, float16 or bfloat16");
}

}  // namespace strand
