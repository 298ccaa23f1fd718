#pragma once
// CumulativeLayerNorm, the causal norm of Conv-TasNet (arXiv:1809.07454): each time is normalised by the mean and the
// variance of all channels at that time and all before. Immutable.
//
//   y[n, c, t] = gamma[c] * (x[n, c, t] - mean[n, t]) / sqrt(variance[n, t] + eps) + beta[c]          x: [N, C, L]

#include <vector>

#include "layers/layer.h"

namespace strand::layers {

struct CumulativeProblem {
  int64_t batch = 0;
  int64_t channels = 0;
  int64_t length = 0;
  double eps = 0;
};

class CumulativeLayerNorm final : public Layer {
 public:
  CumulativeLayerNorm(int64_t channel_size, double eps) : channel_size_(channel_size), eps_(eps) {}

  // Error(kShape) where the input does not fit.
  CumulativeProblem problem(const Shape& shape) const;

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  std::vector<Parameter> parameters() const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

 private:
  int64_t channel_size_;
  double eps_;
};

std::unique_ptr<Kernel> cumulative_cpu(const CumulativeLayerNorm& layer, const PrepareArgs& args);
void cumulative_cuda(const CumulativeLayerNorm& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
