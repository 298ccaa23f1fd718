// Softmax and LogSoftmax on the CPU, three passes over a row (maximum, sum, values), which stays in the cache. Where
// the axis is the last, a row is taken lane by lane; else neighbouring rows lie side by side and go a lane each. Sums
// are in double, and a row's result does not depend on where it stands.

#include <cmath>
#include <limits>

#include "layers/implementation_list.h"
#include "layers/lanes.h"
#include "layers/softmax/softmax.h"

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

// `count` rows side by side, at most as many as there are lanes.
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

}  // namespace

std::unique_ptr<Kernel> softmax_cpu(const Softmax& layer) {
  return function_kernel([layer](const Context& context, const Bindings& bindings) {
    const AxisSplit split = layer.split(bindings.inputs[0].shape());
    const bool log = layer.log();
    const auto* x = bindings.inputs[0].ptr<const float>();
    auto* y = bindings.outputs[0].ptr<float>();
    const int64_t grain = kGrain / std::max<int64_t>(split.size, 1) + 1;
    // Not wherever rows are contiguous: a piece of one sample is summed in the order of the whole signal.
    if (layer.over_last_axis(bindings.inputs[0].shape())) {
      context.parallel_for(split.outer, grain, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row)
          softmax_row(log, x + row * split.size, y + row * split.size, split.size);
      });
      return;
    }
    context.parallel_for(split.outer * split.inner, grain, [&](int64_t begin, int64_t end) {
      for_each_stretch(begin, end, split.inner, [&](int64_t outer, int64_t inner, int64_t count) {
        for (int64_t i = 0; i < count; i += Lanes::kCount) {
          const int64_t offset = outer * split.size * split.inner + inner + i;
          softmax_columns(log, x + offset, y + offset, split.size, split.inner,
                          std::min<int64_t>(Lanes::kCount, count - i));
        }
      });
    });
  });
}

}  // namespace strand::layers
