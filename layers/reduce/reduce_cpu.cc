// Reductions on the CPU, in double. The last axis goes row by row, sixteen accumulators side by side; another one a
// chunk of inner elements at a time, so that the inner loop runs along memory. No value depends on its chunk. Std goes
// twice over its input: a mean, and the squared deviations from it.

#include <algorithm>
#include <array>
#include <cmath>
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

using Totals = std::array<double, kChunk>;

// total[i] = of term(i, x[i]), term(i, x[i + pitch]), ..., `size` of them, for i below `count`.
template <bool Maximum, class Term>
void total_columns(const float* x, int64_t pitch, int64_t size, int64_t count, Totals& totals, Term term) {
  double* const total = totals.data();
  std::fill_n(total, count, kNothing<Maximum>);
  for (int64_t j = 0; j < size; ++j, x += pitch) {
    for (int64_t i = 0; i < count; ++i) total[i] = combine<Maximum>(total[i], term(i, static_cast<double>(x[i])));
  }
}

template <bool Maximum, class Term>
double total_row(const float* x, int64_t size, Term term) {
  constexpr int64_t kLanes = 16;
  std::array<double, kLanes> totals;
  totals.fill(kNothing<Maximum>);
  int64_t j = 0;
  for (; j + kLanes <= size; j += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      double& total = totals[static_cast<size_t>(lane)];
      total = combine<Maximum>(total, term(static_cast<double>(x[j + lane])));
    }
  }
  double result = kNothing<Maximum>;
  for (const double total : totals) result = combine<Maximum>(result, total);
  for (; j < size; ++j) result = combine<Maximum>(result, term(static_cast<double>(x[j])));
  return result;
}

template <ReduceKind Kind>
void reduce_columns(const float* x, int64_t pitch, int64_t size, double divisor, float* y, int64_t count) {
  Totals totals;
  total_columns<Kind == ReduceKind::kMax>(x, pitch, size, count, totals, [](int64_t, double value) { return value; });
  if constexpr (Kind == ReduceKind::kStd) {
    Totals means;
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) means[i] = totals[i] / static_cast<double>(size);
    total_columns<false>(x, pitch, size, count, totals, [mean = means.data()](int64_t i, double value) {
      return (value - mean[i]) * (value - mean[i]);
    });
  }
  for (int64_t i = 0; i < count; ++i) {
    const double result = totals[static_cast<size_t>(i)] / divisor;
    y[i] = static_cast<float>(Kind == ReduceKind::kStd ? std::sqrt(result) : result);
  }
}

template <ReduceKind Kind>
float reduce_row(const float* x, int64_t size, double divisor) {
  const double total = total_row<Kind == ReduceKind::kMax>(x, size, [](double value) { return value; });
  if constexpr (Kind != ReduceKind::kStd) return static_cast<float>(total / divisor);
  const double mean = total / static_cast<double>(size);
  const double squares = total_row<false>(x, size, [mean](double value) { return (value - mean) * (value - mean); });
  return static_cast<float>(std::sqrt(squares / divisor));
}

template <ReduceKind Kind>
void reduce_axis(const Context& context, const AxisSplit& split, bool last, double divisor, const float* x, float* y) {
  const int64_t grain = kGrain / (split.size + 1) + 1;
  context.parallel_for(split.outer * split.inner, grain, [&](int64_t begin, int64_t end) {
    if (last) {  // not inner == 1, which a stretch of one sample has too: another order of sums
      for (int64_t row = begin; row < end; ++row) y[row] = reduce_row<Kind>(x + row * split.size, split.size, divisor);
      return;
    }
    for_each_stretch(begin, end, split.inner, [&](int64_t outer, int64_t column, int64_t count) {
      const float* source = x + outer * split.size * split.inner + column;
      float* target = y + outer * split.inner + column;
      for (int64_t i = 0; i < count; i += kChunk) {
        reduce_columns<Kind>(source + i, split.inner, split.size, divisor, target + i, std::min(kChunk, count - i));
      }
    });
  });
}

}  // namespace

std::unique_ptr<Kernel> reduce_cpu(ReduceKind kind, int axis, int64_t correction) {
  return function_kernel([kind, axis, correction](const Context& context, const Bindings& bindings) {
    const AxisSplit split = split_at(bindings.inputs[0].shape(), axis);
    const bool last = axis == bindings.inputs[0].shape().rank() - 1;
    const auto reduce = kind == ReduceKind::kMax   ? reduce_axis<ReduceKind::kMax>
                        : kind == ReduceKind::kStd ? reduce_axis<ReduceKind::kStd>
                                                   : reduce_axis<ReduceKind::kSum>;
    reduce(context, split, last, reduce_divisor(kind, split.size, correction), bindings.inputs[0].ptr<const float>(),
           bindings.outputs[0].ptr<float>());
  });
}

}  // namespace strand::layers
