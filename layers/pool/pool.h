#pragma once
// MaxPool1d, AvgPool1d and AdaptiveAvgPool1d over the last axis, with PyTorch's rules. Padding never is an element: a
// maximum ignores it, and an average counts it in its divisor where count_include_pad says so. NaN goes through.

#include <vector>

#include "layers/host_device.h"
#include "layers/layer.h"

namespace strand::layers {

enum class PoolKind : uint8_t { kMax, kAverage, kAdaptiveAverage };

// The fields of a layer.
struct PoolOptions {
  PoolKind kind = PoolKind::kMax;
  int64_t kernel_size = 1;
  int64_t stride = 1;
  int64_t padding = 0;  // at either end
  int64_t dilation = 1;
  bool ceil_mode = false;
  bool count_include_pad = true;
  int64_t output_size = 1;  // adaptive
};

// A layer and a shape, or a stretch of its time. x is [rows, length], y is [rows, output_length].
struct PoolProblem {
  PoolOptions options;
  int64_t rows = 0;
  int64_t length = 0;
  int64_t output_length = 0;
  int64_t first = -options.padding;  // where the first window begins in x
};

// The elements of x that an output takes: first, first + dilation, ..., count of them, and what an average divides by.
struct PoolWindow {
  int64_t first;
  int64_t count;
  int64_t divisor;
};

STRAND_HD inline PoolWindow pool_window(const PoolProblem& problem, int64_t t) {
  const PoolOptions& options = problem.options;
  if (options.kind == PoolKind::kAdaptiveAverage) {
    // floor(t * length / size) to ceil((t + 1) * length / size); products in parts, so that they stay in 64 bits.
    const int64_t whole = problem.length / options.output_size;
    const int64_t rest = problem.length % options.output_size;
    const int64_t first = t * whole + t * rest / options.output_size;
    const int64_t end = (t + 1) * whole + ((t + 1) * rest + options.output_size - 1) / options.output_size;
    return {first, end - first, end - first};
  }
  const int64_t start = t * options.stride + problem.first;
  const int64_t dilation = options.dilation;
  const int64_t skipped = start < 0 ? (-start + dilation - 1) / dilation : 0;
  const int64_t fitting = start < problem.length ? (problem.length - 1 - start) / dilation + 1 : 0;
  const int64_t last = fitting < options.kernel_size ? fitting : options.kernel_size;
  const int64_t count = last > skipped ? last - skipped : 0;
  // A window of the ceil mode may reach past the padding: what lies there is never counted.
  const int64_t padded_end = problem.length + options.padding;
  const int64_t window = padded_end - start < options.kernel_size ? padded_end - start : options.kernel_size;
  return {start + skipped * dilation, count, options.count_include_pad ? window : count};
}

class Pool final : public Layer {
 public:
  explicit Pool(const PoolOptions& options) : options_(options) {}

  // Error(kShape) where not even one window fits.
  PoolProblem problem(const Shape& shape) const;

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;
  std::shared_ptr<const Layer> in_window(const Window& window, int64_t inputs, int64_t outputs) const override;

 private:
  PoolOptions options_;
};

// The part of the problem that the bindings' window shows.
PoolProblem stretch_of(PoolProblem problem, const Bindings& bindings);
std::unique_ptr<Kernel> pool_cpu(const PoolProblem& problem);
void pool_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
