#include "layers/softmax_rows.h"

#include <array>
#include <cmath>
#include <limits>

#include "layers/lanes.h"

namespace strand::layers {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();
using Sums = std::array<double, Lanes::kCount>;

Lanes maximum(const Lanes& a, const Lanes& b) {
  return each_lane([&](int i) { return a[i] > b[i] ? a[i] : b[i]; });
}

void add(Sums& sums, const Lanes& values) {
  for (int i = 0; i < Lanes::kCount; ++i) sums[static_cast<size_t>(i)] += static_cast<double>(values[i]);
}

// body(lanes, offset, count) for [0, size); lanes past the end hold -Inf, which adds nothing to a sum of exponentials.
template <class Body>
void for_each_lanes(const float* x, int64_t size, Body body) {
  int64_t i = 0;
  for (; i + Lanes::kCount <= size; i += Lanes::kCount) body(Lanes::load(x + i), i, int64_t{Lanes::kCount});
  if (i < size) body(Lanes::load(x + i, size - i, kLowest), i, size - i);
}

}  // namespace

void softmax_row(bool log, const float* x, float* y, int64_t size) {
  Lanes maxima = Lanes::all(kLowest);
  for_each_lanes(x, size, [&](const Lanes& v, int64_t, int64_t) { maxima = maximum(v, maxima); });
  float max = kLowest;
  for (const float value : maxima.values) max = value > max ? value : max;
  Sums sums{};
  for_each_lanes(x, size, [&](const Lanes& v, int64_t offset, int64_t count) {
    const Lanes e = exp(v - Lanes::all(max));
    add(sums, e);
    if (!log) e.store(y + offset, count);
  });
  double sum = 0;
  for (const double value : sums) sum += value;
  if (log) {
    const auto shift = static_cast<float>(std::log(sum));
    for (int64_t i = 0; i < size; ++i) y[i] = x[i] - max - shift;
    return;
  }
  const auto divisor = static_cast<float>(sum);
  for (int64_t i = 0; i < size; ++i) y[i] /= divisor;
}

void softmax_columns(bool log, const float* x, float* y, int64_t size, int64_t stride, int64_t count) {
  Lanes maxima = Lanes::all(kLowest);
  for (int64_t i = 0; i < size; ++i) maxima = maximum(Lanes::load(x + i * stride, count), maxima);
  Sums sums{};
  for (int64_t i = 0; i < size; ++i) {
    const Lanes e = exp(Lanes::load(x + i * stride, count) - maxima);
    add(sums, e);
    if (!log) e.store(y + i * stride, count);
  }
  if (log) {
    const Lanes shifts = each_lane([&](int i) { return static_cast<float>(std::log(sums[static_cast<size_t>(i)])); });
    for (int64_t i = 0; i < size; ++i) {
      (Lanes::load(x + i * stride, count) - maxima - shifts).store(y + i * stride, count);
    }
    return;
  }
  const Lanes divisors = each_lane([&](int i) { return static_cast<float>(sums[static_cast<size_t>(i)]); });
  for (int64_t i = 0; i < size; ++i) (Lanes::load(y + i * stride, count) / divisors).store(y + i * stride, count);
}

}  // namespace strand::layers
