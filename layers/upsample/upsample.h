#pragma once
// Upsample over the last axis, by a factor or to a length: nearest, or linear between neighbours, with PyTorch's
// alignment. Source positions are exact fractions where PyTorch's are rounded to the dtype. Immutable.

#include <optional>
#include <vector>

#include "layers/host_device.h"
#include "layers/layer.h"

namespace strand::layers {

enum class UpsampleMode : uint8_t { kNearest, kLinear };

// x is [rows, length], y is [rows, out_length]. Output t lies at (numerator * t + first) / denominator of x, or at 0
// where that is below.
struct UpsampleProblem {
  UpsampleMode mode = UpsampleMode::kNearest;
  int64_t rows = 0;
  int64_t length = 0;
  int64_t out_length = 0;
  int64_t numerator = 1;
  int64_t denominator = 1;
  int64_t first = 0;
  int64_t in_start = 0;  // the time of x[0], and of y[0]
  int64_t out_start = 0;
};

// Indices in x of an output's two neighbours, and the weight of the second.
struct UpsamplePoint {
  int64_t low;
  int64_t high;
  double weight;
};

STRAND_HD inline UpsamplePoint upsample_point(const UpsampleProblem& p, int64_t t) {
  const int64_t position = p.numerator * (t + p.out_start) + p.first;
  const int64_t clamped = position < 0 ? 0 : position;
  const int64_t whole = clamped / p.denominator;
  const int64_t last = p.length - 1;
  const int64_t low = whole - p.in_start < last ? whole - p.in_start : last;
  const double weight = static_cast<double>(clamped - whole * p.denominator) / static_cast<double>(p.denominator);
  return {low, low < last ? low + 1 : last, weight};
}

// Output samples an input sample, as a fraction.
struct UpsampleFactor {
  int64_t numerator = 1;
  int64_t denominator = 1;
};

class Upsample final : public Layer {
 public:
  // To a size, or by a factor: Error(kSchema) where that is no fraction of small numbers.
  Upsample(UpsampleMode mode, std::optional<int64_t> size, double factor, bool align_corners);

  UpsampleProblem problem(const Shape& shape) const;

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;
  std::shared_ptr<const Layer> in_window(const Window& window, int64_t inputs, int64_t outputs) const override;

 private:
  UpsampleMode mode_;
  std::optional<int64_t> size_;
  UpsampleFactor factor_;
  bool align_corners_;
};

UpsampleProblem stretch_of(UpsampleProblem problem, const Bindings& bindings);
std::unique_ptr<Kernel> upsample_cpu(const UpsampleProblem& problem);
void upsample_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
