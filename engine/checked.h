#pragma once
// 64-bit arithmetic on sizes that throws Error(kLimit) instead of wrapping. Pure functions.

#include <cstdint>

#include "engine/error.h"

namespace strand {

inline int64_t checked_mul(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result)) {
    throw Error(ErrorCategory::kLimit, std::to_string(a) + " * " + std::to_string(b) + " does not fit 64 bits");
  }
  return result;
}

inline int64_t checked_add(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_add_overflow(a, b, &result)) {
    throw Error(ErrorCategory::kLimit, std::to_string(a) + " + " + std::to_string(b) + " does not fit 64 bits");
  }
  return result;
}

inline int64_t checked_sub(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_sub_overflow(a, b, &result)) {
    throw Error(ErrorCategory::kLimit, std::to_string(a) + " - " + std::to_string(b) + " does not fit 64 bits");
  }
  return result;
}

// Rounded towards minus infinity; b > 0.
constexpr int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }
// Rounded towards plus infinity; b > 0.
constexpr int64_t ceil_div(int64_t a, int64_t b) { return -floor_div(-a, b); }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace strand
