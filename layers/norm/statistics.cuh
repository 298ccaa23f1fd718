#pragma once
// What a row's sums come to on CUDA, without double's divisions and roots: each is a hundred instructions or so, which
// a thread of few elements would feel. For .cu files; pure functions.

#include "layers/norm/moments.h"

namespace strand::layers {

// sum / count, rounded as a division is (Markstein 1990); share is 1 / count, rounded. NaN where the sum is Inf: then
// so are the deviations.
__device__ inline double quotient(double sum, double count, double share) {
  const double near = sum * share;
  return fma(fma(-near, count, sum), share, near);
}

// 1 / sqrt(v): float's, with a step of Newton's in double that squares its error of 2^-22.
__device__ inline float inverse_root(double v) {
  if (!(v > 1e-30 && v < 1e30)) return static_cast<float>(1 / sqrt(v));
  const double near = static_cast<double>(rsqrtf(static_cast<float>(v)));
  return static_cast<float>(fma(0.5 * near, fma(-v * near, near, 1.0), near));
}

// Of a row's mean and sum of squared deviations.
__device__ inline Statistics statistics_of(double mean, double squares, double share, double eps) {
  const auto high = static_cast<float>(mean);
  return {high, static_cast<float>(mean - static_cast<double>(high)), inverse_root(fma(squares, share, eps))};
}

}  // namespace strand::layers
