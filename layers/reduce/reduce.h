#pragma once
// Mean, Sum, Max and Std over one axis. A NaN goes through; a mean of nothing is NaN, a sum of nothing 0. Immutable.

#include <algorithm>

#include "layers/axes.h"
#include "layers/layer.h"

namespace strand::layers {

enum class ReduceKind : uint8_t { kMean, kSum, kMax, kStd };

class Reduce final : public Layer {
 public:
  Reduce(ReduceKind kind, int64_t dim, bool keepdim, int64_t correction = 0)
      : kind_(kind), dim_(dim), keepdim_(keepdim), correction_(correction) {}

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

  ReduceKind kind() const { return kind_; }
  int64_t correction() const { return correction_; }
  AxisSplit split(const Shape& shape) const { return split_at(shape, dim_); }

 private:
  ReduceKind kind_;
  int64_t dim_;
  bool keepdim_;
  int64_t correction_;  // Std's: subtracted from the count
};

// What a sum over that many elements, of squared deviations for Std, is divided by.
inline double reduce_divisor(ReduceKind kind, int64_t size, int64_t correction) {
  if (kind == ReduceKind::kStd) return static_cast<double>(std::max<int64_t>(size - correction, 0));
  return kind == ReduceKind::kMean ? static_cast<double>(size) : 1;
}

std::unique_ptr<Kernel> reduce_cpu(ReduceKind kind, int axis, int64_t correction);
void reduce_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
