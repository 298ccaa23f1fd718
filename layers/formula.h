#pragma once
// What formulas that are generic in V (float, double, CPU lanes) need besides arithmetic and <cmath>. Functions without
// state.

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

}  // namespace strand::layers
