#pragma once
// The layers that apply one function to each element: any shape, same shape out. Immutable.

#include <vector>

#include "layers/epilogue.h"
#include "layers/functions.h"
#include "layers/layer.h"

namespace strand::layers {

class Pointwise final : public Layer {
 public:
  explicit Pointwise(const Activation& activation) : activation_(activation) {}

  const Activation& activation() const { return activation_; }

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override { return {inputs[0]}; }
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;
  std::optional<Epilogue> as_epilogue(int input, std::span<const TensorType> inputs) const override;

 private:
  Activation activation_;
};

std::unique_ptr<Kernel> pointwise_cpu(const Activation& activation);
void pointwise_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
