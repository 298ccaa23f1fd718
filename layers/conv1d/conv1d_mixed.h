#pragma once
// A Conv1d and the pointwise Conv1d that makes its residual of one channel, as WaveNets add their conditioning:
//   y[n, o, t] = f(g[n, o, t] + (w[o] * r[n, 0, t] + b[o]))
// with g and f the Conv1d's. What Conv1d::mix makes of the two, on the CPU: no description names it. Immutable.

#include "layers/conv1d/conv1d.h"

namespace strand::layers {

class MixedConv1d final : public Layer {
 public:
  MixedConv1d(Conv1d conv, bool has_bias) : conv_(std::move(conv)), has_bias_(has_bias) {}

  std::vector<Port> inputs() const override { return conv_.inputs(); }
  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  std::vector<Parameter> parameters() const override;  // the Conv1d's, "mix.weight" and "mix.bias"
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  int64_t multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType> outputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;
  std::string tuning_key(std::span<const TensorType> inputs) const override;
  std::shared_ptr<const Layer> absorb(const Epilogue& next) const override;
  std::shared_ptr<const Layer> in_window(const Window& window, int64_t inputs, int64_t outputs) const override;

 private:
  std::shared_ptr<const Layer> with(const std::shared_ptr<const Layer>& conv) const;

  Conv1d conv_;  // with a residual before its function
  bool has_bias_;
};

}  // namespace strand::layers
