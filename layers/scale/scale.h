#pragma once
// y = factor * x + offset, with two numbers of the description. Immutable.

#include <cmath>
#include <memory>
#include <span>
#include <vector>

#include "layers/host_device.h"
#include "layers/layer.h"

namespace strand::layers {

struct ScaleFunction {
  float factor = 1;
  float offset = 0;

  STRAND_HD float operator()(float x) const { return std::fma(factor, x, offset); }
};

class Scale final : public Layer {
 public:
  Scale(double factor, double offset) : factor_(factor), offset_(offset) {}

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override { return {inputs[0]}; }
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

  ScaleFunction function() const { return {static_cast<float>(factor_), static_cast<float>(offset_)}; }

 private:
  double factor_;
  double offset_;
};

void scale_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
