#include "engine/tensor.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "engine/checked.h"

namespace strand {
namespace {

float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16;
  const uint32_t exponent = (half >> 10) & 0x1FU;
  const uint32_t mantissa = half & 0x3FFU;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
  const float magnitude = exponent == 0
                              ? std::ldexp(static_cast<float>(mantissa), -24)
                              : std::ldexp(static_cast<float>(mantissa + 1024), static_cast<int>(exponent) - 25);
  return sign != 0 ? -magnitude : magnitude;
}

// Rounds a double once, to nearest even, to `mantissa_bits` after the leading one with the given smallest exponent.
double round_to(double value, int mantissa_bits, int min_exponent) {
  if (!std::isfinite(value) || value == 0) return value;
  const int exponent = std::max(std::ilogb(value), min_exponent);
  const double unit = std::ldexp(1.0, exponent - mantissa_bits);
  return std::nearbyint(value / unit) * unit;
}

uint16_t double_to_half(double value) {
  const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000U : 0U);
  if (std::isnan(value)) return sign | 0x7E00U;
  const double magnitude = std::fabs(round_to(value, 10, -14));
  if (magnitude >= 65536.0) return sign | 0x7C00U;
  if (magnitude < 0x1p-14) return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::ldexp(magnitude, 24)));
  const int exponent = std::ilogb(magnitude);
  const auto mantissa = static_cast<uint16_t>(std::ldexp(magnitude, 10 - exponent) - 1024.0);
  return static_cast<uint16_t>(sign | static_cast<uint16_t>((exponent + 15) << 10) | mantissa);
}

float bfloat16_to_float(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t double_to_bfloat16(double value) {
  if (std::isnan(value)) return static_cast<uint16_t>(std::signbit(value) ? 0xFFC0U : 0x7FC0U);
  const auto rounded = static_cast<float>(round_to(value, 7, -126));
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(rounded) >> 16);
}

template <class T>
double load_as(const std::byte* source) {
  T value;
  std::memcpy(&value, source, sizeof value);
  return static_cast<double>(value);
}

template <class T>
void store_as(std::byte* target, T value) {
  std::memcpy(target, &value, sizeof value);
}

double load(DType dtype, const std::byte* source) {
  uint16_t bits = 0;
  switch (dtype) {
    case DType::kFloat32:
      return load_as<float>(source);
    case DType::kFloat64:
      return load_as<double>(source);
    case DType::kFloat16:
      std::memcpy(&bits, source, sizeof bits);
      return half_to_float(bits);
    case DType::kBFloat16:
      std::memcpy(&bits, source, sizeof bits);
      return bfloat16_to_float(bits);
    case DType::kInt64:
      return load_as<int64_t>(source);
    case DType::kInt32:
      return load_as<int32_t>(source);
    case DType::kInt16:
      return load_as<int16_t>(source);
    case DType::kInt8:
      return load_as<int8_t>(source);
    case DType::kUInt8:
    case DType::kBool:
      return load_as<uint8_t>(source);
  }
  return 0;
}

void store(DType dtype, std::byte* target, double value) {
  switch (dtype) {
    case DType::kFloat32:
      return store_as(target, static_cast<float>(value));
    case DType::kFloat64:
      return store_as(target, value);
    case DType::kFloat16:
      return store_as(target, double_to_half(value));
    case DType::kBFloat16:
      return store_as(target, double_to_bfloat16(value));
    default:
      throw Error(ErrorCategory::kUnsupported, "no conversion to " + std::string(to_string(dtype)));
  }
}

}  // namespace

int64_t TensorType::bytes() const { return checked_mul(shape.elements(), size_of(dtype)); }

std::string to_string(const TensorType& type) {
  return std::string(to_string(type.dtype)) + " " + to_string(type.shape);
}

void TensorView::check_host(DType dtype) const {
  if (!device.is_cpu())
    throw Error(ErrorCategory::kDevice, "a tensor on " + to_string(device) + " is read as host memory");
  if (type.dtype != dtype) {
    throw Error(ErrorCategory::kShape,
                "a " + std::string(to_string(type.dtype)) + " tensor is read as " + std::string(to_string(dtype)));
  }
}

Tensor::Tensor(TensorType type, Device device) : type_(std::move(type)), buffer_(device, type_.bytes()) {}

Tensor::Tensor(Shape shape, std::span<const float> values) : Tensor(TensorType{DType::kFloat32, shape}) {
  if (shape.elements() != static_cast<int64_t>(values.size())) {
    throw Error(ErrorCategory::kShape, std::to_string(values.size()) + " values for shape " + to_string(shape));
  }
  std::ranges::copy(values, as<float>().begin());
}

Tensor::Tensor(Shape shape, std::span<const double> values) : Tensor(TensorType{DType::kFloat64, shape}) {
  if (shape.elements() != static_cast<int64_t>(values.size())) {
    throw Error(ErrorCategory::kShape, std::to_string(values.size()) + " values for shape " + to_string(shape));
  }
  std::ranges::copy(values, as<double>().begin());
}

Tensor Tensor::to(Device device) const { return copy_of(view(), device); }

Tensor Tensor::to(DType dtype) const {
  TensorType type = type_;
  type.dtype = dtype;
  Tensor result(type);
  convert(view(), result.view());
  return result;
}

Tensor copy_of(const TensorView& view, Device device) {
  Tensor result(view.type, device);
  copy_bytes(result.view().data, device, view.data, view.device, view.type.bytes());
  return result;
}

void convert(const TensorView& source, const TensorView& target) {
  if (!source.device.is_cpu() || !target.device.is_cpu()) {
    throw Error(ErrorCategory::kDevice, "a tensor's dtype can be converted on the host only");
  }
  if (source.shape() != target.shape()) {
    throw Error(ErrorCategory::kShape, "a tensor of shape " + to_string(source.shape()) + " is converted into one of " +
                                           to_string(target.shape()));
  }
  if (source.type.dtype == target.type.dtype) {
    if (source.elements() > 0) std::memcpy(target.data, source.data, static_cast<size_t>(source.type.bytes()));
    return;
  }
  const auto* from = source.ptr<const std::byte>();
  auto* to = target.ptr<std::byte>();
  const int64_t count = source.elements();
  const int64_t from_step = size_of(source.type.dtype);
  const int64_t to_step = size_of(target.type.dtype);
  for (int64_t i = 0; i < count; ++i) {
    store(target.type.dtype, to + i * to_step, load(source.type.dtype, from + i * from_step));
  }
}

}  // namespace strand
