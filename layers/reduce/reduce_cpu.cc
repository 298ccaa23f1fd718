// Reductions on the CPU, in double. The last axis goes row by row, sixteen accumulators side by side; another one a
// chunk of inner elements at a time, so that the inner loop runs along memory. No value depends on its chunk.

#include <algorithm>
#include <array>
#include <limits>

#include "layers/implementation_list.h"
#include "layers/reduce/reduce.h"

namespace strand::layers {
namespace {

constexpr int64_t kChunk = 256;

// A NaN stays: nothing is larger than it.
template <bool Maximum>
double combine(double total, double x) {
  if constexpr (!Maximum) return total + x;
  return x > total || x != x ? x : total;
}

template <bool Maximum>
constexpr double kNothing = Maximum ? -std::numeric_limits<double>::infinity() : 0.0;

// y[i] = the reduction of x[i], x[i + pitch], ..., `size` of them, for i below `count`.
template <bool Maximum>
void reduce_columns(const float* x, int64_t pitch, int64_t size, double divisor, float* y, int64_t count) {
  std::array<double, kChunk> totals;
  double* const total = totals.data();
  std::fill_n(total, count, kNothing<Maximum>);
  for (int64_t j = 0; j < size; ++j, x += pitch) {
    for (int64_t i = 0; i < count; ++i) total[i] = combine<Maximum>(total[i], static_cast<double>(x[i]));
  }
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<float>(total[i] / divisor);
}

template <bool Maximum>
float reduce_row(const float* x, int64_t size, double divisor) {
  constexpr int64_t kLanes = 16;
  std::array<double, kLanes> totals;
  totals.fill(kNothing<Maximum>);
  int64_t j = 0;
  for (; j + kLanes <= size; j += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      double& total = totals[static_cast<size_t>(lane)];
      total = combine<Maximum>(total, static_cast<double>(x[j + lane]));
    }
  }
  double result = kNothing<Maximum>;
  for (const double total : totals) result = combine<Maximum>(result, total);
  for (; j < size; ++j) result = combine<Maximum>(result, static_cast<double>(x[j]));
  return static_cast<float>(result / divisor);
}

template <bool Maximum>
void reduce_axis(const Context& context, const AxisSplit& split, bool last, double divisor, const float* x, float* y) {
  const int64_t grain = kGrain / (split.size + 1) + 1;
  context.parallel_for(split.outer * split.inner, grain, [&](int64_t begin, int64_t end) {
    if (last) {  // not inner == 1, which a stretch of one sample has too: another order of sums
      for (int64_t row = begin; row < end; ++row)
        y[row] = reduce_row<Maximum>(x + row * split.size, split.size, divisor);
      return;
    }
    for_each_stretch(begin, end, split.inner, [&](int64_t outer, int64_t column, int64_t count) {
      const float* source = x + outer * split.size * split.inner + column;
      float* target = y + outer * split.inner + column;
      for (int64_t i = 0; i < count; i += kChunk) {
        reduce_columns<Maximum>(source + i, split.inner, split.size, divisor, target + i, std::min(kChunk, count - i));
      }
    });
  });
}

}  // namespace

std::unique_ptr<Kernel> reduce_cpu(ReduceKind kind, int axis) {
  return function_kernel([kind, axis](const Context& context, const Bindings& bindings) {
    const AxisSplit split = split_at(bindings.inputs[0].shape(), axis);
    const bool last = axis == bindings.inputs[0].shape().rank() - 1;
    const double divisor = kind == ReduceKind::kMean ? static_cast<double>(split.size) : 1;
    (kind == ReduceKind::kMax ? reduce_axis<true> : reduce_axis<false>)(context, split, last, divisor,
                                                                        bindings.inputs[0].ptr<const float>(),
                                                                        bindings.outputs[0].ptr<float>());
  });
}

}  // namespace strand::layers
