#pragma once
// BatchNorm1d as inference has it: (x - running_mean) / sqrt(running_var + eps) * weight + bias, a channel (axis 1) at
// a time, on [N, C] or [N, C, L]. Immutable.

#include <vector>

#include "layers/channel_affine.h"
#include "layers/layer.h"

namespace strand::layers {

class BatchNorm1d final : public Layer {
 public:
  BatchNorm1d(int64_t num_features, double eps, bool affine)
      : num_features_(num_features), eps_(eps), affine_(affine) {}

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  std::vector<Parameter> parameters() const override;
  int64_t multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType> outputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

  // Error(kNumeric) where a running variance is negative.
  std::vector<ChannelAffine> as_channel_affine(const Weights& weights) const override;
  // [scale of all channels, shift of all channels] in float32 on the device.
  std::shared_ptr<const Buffer> packed(const Weights& weights) const;

 private:
  int64_t num_features_;
  double eps_;
  bool affine_;
};

// x as rows of one channel each: row r has channel r % channels.
struct ChannelRows {
  int64_t rows = 0;
  int64_t channels = 0;
  int64_t length = 0;
};
ChannelRows channel_rows(const Shape& shape);

class LayerRegistry;
void register_batch_norm(LayerRegistry& registry);
std::unique_ptr<Kernel> batch_norm_cpu(std::shared_ptr<const Buffer> packed);
void norm_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
