#pragma once
// Softmax over one axis: exp(x - max) / sum of exp(x - max), and LogSoftmax: x - max - log of that sum, PyTorch's. A
// NaN anywhere, or nothing but -Inf, makes all of its row NaN. Immutable.

#include <vector>

#include "layers/axes.h"
#include "layers/layer.h"

namespace strand::layers {

class Softmax final : public Layer {
 public:
  explicit Softmax(int64_t dim, bool log = false) : dim_(dim), log_(log) {}

  bool log() const { return log_; }

  AxisSplit split(const Shape& shape) const { return split_at(shape, dim_); }
  bool over_last_axis(const Shape& shape) const { return checked_axis(shape, dim_) == shape.rank() - 1; }

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

 private:
  int64_t dim_;
  bool log_;
};

std::unique_ptr<Kernel> softmax_cpu(const Softmax& layer);
void softmax_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
