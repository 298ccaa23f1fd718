#pragma once
// How weights are scaled before they are split into float16 pairs for tensor cores.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <span>

namespace strand::layers {

// The exponent that brings an output channel's largest weight into [2^14, 2^15), where float16 pairs keep the most
// bits; false where a weight is not finite, or all are too far from 1.
inline bool find_exponent(std::span<const float> channel, int& exponent) {
  constexpr int kMaxExponent = 60;
  float largest = 0;
  for (const float w : channel) {
    if (!std::isfinite(w)) return false;
    largest = std::max(largest, std::fabs(w));
  }
  exponent = largest == 0 ? 0 : 14 - std::ilogb(largest);
  return std::abs(exponent) <= kMaxExponent;
}

}  // namespace strand::layers
