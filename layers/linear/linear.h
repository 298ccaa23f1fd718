#pragma once
// Linear: y[..., o] = bias[o] + sum over i of weight[o, i] * x[..., i], PyTorch's nn.Linear. Immutable.

#include <vector>

#include "layers/layer.h"

namespace strand::layers {

struct LinearProblem {
  int64_t rows = 0;  // product of all axes but the last
  int64_t in_features = 0;
  int64_t out_features = 0;
  bool bias = true;
};

class Linear final : public Layer {
 public:
  Linear(int64_t in_features, int64_t out_features, bool bias)
      : in_features_(in_features), out_features_(out_features), bias_(bias) {}

  LinearProblem problem(std::span<const TensorType> inputs) const;

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  std::vector<Parameter> parameters() const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  int64_t multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType> outputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;
  std::optional<Folded> fold(std::span<const ChannelAffine> next, std::span<const TensorType> inputs,
                             const Weights& weights) const override;

 private:
  int64_t in_features_;
  int64_t out_features_;
  bool bias_;
};

std::unique_ptr<Kernel> linear_cpu(const LinearProblem& problem, const Weights& weights);
void linear_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
