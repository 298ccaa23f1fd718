#pragma once
// Mean and squared deviations of a set of values, in double, and what normalising by them takes in float. Plain values.

#include <cmath>

#include "layers/host_device.h"

namespace strand::layers {

struct Moments {
  double count;
  double mean;  // 0 where deviations are taken from 0
  double m2;    // the sum of squared deviations
};

// Of two sets together (Chan, Golub, LeVeque 1979), of which a may be empty.
STRAND_HD inline Moments merge(const Moments& a, const Moments& b) {
  if (b.count == 0) return a;
  const double count = a.count + b.count;
  const double share = b.count / count;
  const double delta = b.mean - a.mean;
  return {count, a.mean + delta * share, a.m2 + b.m2 + delta * delta * a.count * share};
}

// The mean as a sum of two floats, so that what is left of values far from 0 keeps its bits.
struct Statistics {
  float high;
  float low;
  float scale;  // 1 / sqrt(variance + eps)

  STRAND_HD float normal(float x) const { return ((x - high) - low) * scale; }
};

STRAND_HD inline Statistics statistics_of(const Moments& moments, double eps) {
  const auto high = static_cast<float>(moments.mean);
  return {high, static_cast<float>(moments.mean - static_cast<double>(high)),
          static_cast<float>(1 / std::sqrt(moments.m2 / moments.count + eps))};
}

}  // namespace strand::layers
