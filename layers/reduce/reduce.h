#pragma once
// Mean, Sum and Max over one axis. A NaN goes through; a mean of nothing is NaN, a sum of nothing 0. Immutable.

#include "layers/axes.h"
#include "layers/layer.h"

namespace strand::layers {

enum class ReduceKind : uint8_t { kMean, kSum, kMax };

class Reduce final : public Layer {
 public:
  Reduce(ReduceKind kind, int64_t dim, bool keepdim) : kind_(kind), dim_(dim), keepdim_(keepdim) {}

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

  ReduceKind kind() const { return kind_; }
  AxisSplit split(const Shape& shape) const { return split_at(shape, dim_); }

 private:
  ReduceKind kind_;
  int64_t dim_;
  bool keepdim_;
};

std::unique_ptr<Kernel> reduce_cpu(ReduceKind kind, int axis);
void reduce_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
