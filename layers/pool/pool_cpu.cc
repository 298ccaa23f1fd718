// Pooling on the CPU. Outputs whose windows are whole go in chunks that stay in the cache, tap by tap, so that the
// inner loop runs along time and vectorises; the few at the ends go one by one. Averages are summed in double. An
// output's value does not depend on its chunk.

#include <algorithm>
#include <array>
#include <limits>

#include "engine/checked.h"
#include "layers/axes.h"
#include "layers/implementation_list.h"
#include "layers/pool/pool.h"

namespace strand::layers {
namespace {

constexpr int64_t kChunk = 256;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

float larger(float value, float max) { return value > max || value != value ? value : max; }

// Sixteen sums side by side: one alone waits for itself.
double sum_of(const float* x, int64_t count) {
  std::array<double, 16> sums{};
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    for (int64_t j = 0; j < 16; ++j) sums[static_cast<size_t>(j)] += static_cast<double>(x[i + j]);
  }
  double total = 0;
  for (const double sum : sums) total += sum;
  for (; i < count; ++i) total += static_cast<double>(x[i]);
  return total;
}

// Outputs from windows that may be cut short; x and y begin at the row.
void pool_each(const PoolProblem& problem, const float* x, float* y, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const PoolWindow window = pool_window(problem, t);
    const float* first = x + window.first;
    if (problem.options.kind == PoolKind::kMax) {
      float max = kLowest;
      for (int64_t k = 0; k < window.count; ++k) max = larger(first[k * problem.options.dilation], max);
      y[t] = max;
    } else if (problem.options.kind == PoolKind::kAdaptiveAverage) {
      y[t] = static_cast<float>(sum_of(first, window.count) / static_cast<double>(window.divisor));
    } else {
      double sum = 0;
      for (int64_t k = 0; k < window.count; ++k) sum += static_cast<double>(first[k]);
      y[t] = window.count > 0 ? static_cast<float>(sum / static_cast<double>(window.divisor)) : 0;
    }
  }
}

// At most kChunk outputs of whole windows, the first of which begins at x.
void max_chunk(const PoolOptions& options, const float* __restrict__ x, float* __restrict__ y, int64_t count) {
  std::fill_n(y, count, kLowest);
  for (int64_t k = 0; k < options.kernel_size; ++k) {
    const float* tap = x + k * options.dilation;
    if (options.stride == 1) {
      for (int64_t t = 0; t < count; ++t) y[t] = larger(tap[t], y[t]);
    } else {
      for (int64_t t = 0; t < count; ++t) y[t] = larger(tap[t * options.stride], y[t]);
    }
  }
}

void average_chunk(const PoolOptions& options, const float* __restrict__ x, float* __restrict__ y, int64_t count) {
  std::array<double, kChunk> sums;
  std::fill_n(sums.begin(), count, 0.0);
  for (int64_t k = 0; k < options.kernel_size; ++k) {
    double* const sum = sums.data();
    if (options.stride == 1) {
      for (int64_t t = 0; t < count; ++t) sum[t] += static_cast<double>(x[t + k]);
    } else {
      for (int64_t t = 0; t < count; ++t) sum[t] += static_cast<double>(x[t * options.stride + k]);
    }
  }
  for (int64_t t = 0; t < count; ++t) {
    y[t] = static_cast<float>(sums[static_cast<size_t>(t)] / static_cast<double>(options.kernel_size));
  }
}

// Outputs [begin, end) of one row.
void pool_row(const PoolProblem& problem, const float* x, float* y, int64_t begin, int64_t end) {
  const PoolOptions& options = problem.options;
  if (options.kind == PoolKind::kAdaptiveAverage) return pool_each(problem, x, y, begin, end);
  const int64_t extent = options.dilation * (options.kernel_size - 1) + 1;
  const int64_t whole_end = floor_div(problem.length - extent - problem.first, options.stride) + 1;
  const int64_t first = std::clamp(ceil_div(-problem.first, options.stride), begin, end);
  const int64_t last = std::clamp(whole_end, first, end);
  pool_each(problem, x, y, begin, first);
  for (int64_t t = first; t < last; t += kChunk) {
    const int64_t count = std::min(kChunk, last - t);
    const float* window = x + t * options.stride + problem.first;
    (options.kind == PoolKind::kMax ? max_chunk : average_chunk)(options, window, y + t, count);
  }
  pool_each(problem, x, y, last, end);
}

}  // namespace

std::unique_ptr<Kernel> pool_cpu(const PoolProblem& whole) {
  return function_kernel([whole](const Context& context, const Bindings& bindings) {
    const auto* x = bindings.inputs[0].ptr<const float>();
    auto* y = bindings.outputs[0].ptr<float>();
    const PoolProblem problem = stretch_of(whole, bindings);
    const bool adaptive = problem.options.kind == PoolKind::kAdaptiveAverage;
    const int64_t taps = adaptive ? problem.length / problem.output_length : problem.options.kernel_size;
    context.parallel_for(
        problem.rows * problem.output_length, kGrain / (taps + 1) + 1, [&](int64_t begin, int64_t end) {
          for_each_stretch(begin, end, problem.output_length, [&](int64_t row, int64_t column, int64_t count) {
            pool_row(problem, x + row * problem.length, y + row * problem.output_length, column, column + count);
          });
        });
  });
}

}  // namespace strand::layers
