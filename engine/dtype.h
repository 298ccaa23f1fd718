#pragma once
// Element types, and the precision that a network is asked to compute in. Plain values.

#include <cstdint>
#include <string_view>

namespace strand {

enum class DType : uint8_t { kFloat32, kFloat64, kFloat16, kBFloat16, kInt64, kInt32, kInt16, kInt8, kUInt8, kBool };

int64_t size_of(DType dtype);             // bytes an element
std::string_view to_string(DType dtype);  // PyTorch's names: "float32", "int64"
bool is_floating_point(DType dtype);

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kFloat32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kFloat64;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::kInt64;
};

// What a network promises about its numbers. float32 keeps the error of a sequential float32 loop or better;
// float64 runs every layer's reference on the CPU.
enum class Precision : uint8_t { kFloat32, kFloat64, kTf32, kFloat16, kBFloat16 };

// The error unit of a precision, in which error bounds count: half a step at 1.
double eps_of(Precision precision);
std::string_view to_string(Precision precision);
Precision parse_precision(std::string_view text);  // throws Error(kUnsupported), listing the names

}  // namespace strand
