#pragma once
// What formulas that are generic in V (float, double, CPU lanes) need besides arithmetic and <cmath>. Functions without
// state.

#include <cmath>
#include <type_traits>

#include "layers/host_device.h"
#include "layers/lanes.h"

namespace strand::layers {

template <class V>
STRAND_HD V constant(double value) {
  if constexpr (std::is_same_v<V, Lanes>) {
    return Lanes::all(static_cast<float>(value));
  } else {
    return static_cast<V>(value);
  }
}

// `less` where a < b, else `other` (NaN too).
template <class V>
STRAND_HD V where_less(const V& a, const V& b, const V& less, const V& other) {
  if constexpr (std::is_same_v<V, Lanes>) {
    return each_lane([&](int i) { return a[i] < b[i] ? less[i] : other[i]; });
  } else {
    return a < b ? less : other;
  }
}

// `positive` where x > 0, else `other` (NaN too).
template <class V>
STRAND_HD V where_positive(const V& x, const V& positive, const V& other) {
  return where_less(constant<V>(0), x, positive, other);
}

// a * b + c with one rounding, wherever the processor has it.
template <class V>
STRAND_HD V fused_multiply_add(const V& a, const V& b, const V& c) {
  if constexpr (std::is_same_v<V, Lanes>) {
    return each_lane([&](int i) { return fused_multiply_add(a[i], b[i], c[i]); });
  } else {
#if defined(FP_FAST_FMAF) || defined(__CUDA_ARCH__)
    using std::fma;
    return fma(a, b, c);
#else
    return a * b + c;
#endif
  }
}

}  // namespace strand::layers
