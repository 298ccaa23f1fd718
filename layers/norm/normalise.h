#pragma once
// The norms that take their statistics from the input itself: LayerNorm, GroupNorm, InstanceNorm1d and RMSNorm as in
// PyTorch, GlobalLayerNorm and ChannelLayerNorm as in Conv-TasNet (arXiv:1809.07454). Immutable.
//
//   y = (x - mean) / sqrt(variance + eps) * weight + bias        over each row of elements
//   y = x / sqrt(mean of x^2 + eps) * weight                     RMSNorm
//
// Statistics are in double, so values far from 0 (1000 and noise) lose nothing.

#include <string>
#include <vector>

#include "layers/layer.h"

namespace strand::layers {

// x as [outer, size, inner]: a row is the `size` elements that lie `inner` apart. Element i of row r has the parameters
// of index r % groups * (size / repeat) + i / repeat. With groups or repeat above 1, inner is 1.
struct NormProblem {
  int64_t outer = 1;
  int64_t size = 1;
  int64_t inner = 1;
  int64_t groups = 1;
  int64_t repeat = 1;
  double eps = 0;
  bool centred = true;  // RMSNorm's statistics are not

  int64_t elements() const { return outer * size * inner; }
  int64_t parameters() const { return repeat > 0 ? groups * (size / repeat) : 0; }
};

struct NormOptions {
  std::string type;
  std::vector<int64_t> normalized_shape;  // of the axes that end with dim; empty: rows are groups of channels
  int64_t dim = -1;
  int64_t num_groups = 1;
  int64_t num_channels = 1;
  double eps = 1e-5;
  bool centred = true;
  std::string weight;  // names of the parameters; empty: there is none
  std::string bias;
};

class Normalise final : public Layer {
 public:
  explicit Normalise(NormOptions options) : options_(std::move(options)) {}

  // Error(kShape) where the input does not fit.
  NormProblem problem(const Shape& shape) const;
  // Whether rows are contiguous, which must not depend on how long a stretch of time after them is.
  bool contiguous_rows(const Shape& shape) const;
  // [weights, biases] in float32 on the device; ones and zeros where there are none.
  std::shared_ptr<const Buffer> packed(const Weights& weights) const;

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  std::vector<Parameter> parameters() const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

 private:
  bool over_channels() const { return options_.normalized_shape.empty(); }
  Shape parameter_shape() const;

  NormOptions options_;
};

// Kernels keep a Normalise, for the length of time is known when they run.
std::unique_ptr<Kernel> normalise_cpu(const Normalise& layer, const PrepareArgs& args);
void normalise_cuda(const Normalise& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
