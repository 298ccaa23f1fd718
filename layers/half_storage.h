#pragma once
// What values between layers are stored as where a network computes in float16 or bfloat16: half the bytes of float32,
// in which sums are made all the same. Functions without state.

#include "engine/dtype.h"

namespace strand::layers {

constexpr bool is_half(DType type) { return type == DType::kFloat16 || type == DType::kBFloat16; }

// float32 in all other precisions.
constexpr DType stored_type(Precision precision) {
  if (precision == Precision::kFloat16) return DType::kFloat16;
  return precision == Precision::kBFloat16 ? DType::kBFloat16 : DType::kFloat32;
}

// How far storing may take a value from itself: |error| <= storing_eps * |value| + storing_floor, below the infinite.
constexpr double storing_eps(DType type) {
  if (type == DType::kFloat16) return 0x1p-11;
  return type == DType::kBFloat16 ? 0x1p-8 : 0;
}
// Half of the smallest subnormal.
constexpr double storing_floor(DType type) {
  if (type == DType::kFloat16) return 0x1p-25;
  return type == DType::kBFloat16 ? 0x1p-134 : 0;
}

// Magnitudes from here on are stored as infinite.
constexpr double stored_limit(DType type) { return type == DType::kFloat16 ? 65520.0 : 0x1.FFp127; }

}  // namespace strand::layers
