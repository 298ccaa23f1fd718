#include "layers/layer.h"

#include "layers/channel_affine.h"
#include "layers/epilogue.h"

namespace strand::layers {

std::optional<Epilogue> Layer::as_epilogue(int /*input*/, std::span<const TensorType> /*inputs*/) const { return {}; }

std::vector<float> Layer::epilogue_coefficients(const Weights& /*weights*/, int64_t /*channels*/) const { return {}; }

std::shared_ptr<const Layer> Layer::absorb(const Epilogue& /*next*/) const { return nullptr; }

std::shared_ptr<const Layer> Layer::mix(std::span<const TensorType> /*inputs*/, int /*port*/, const Layer& /*maker*/,
                                        std::span<const TensorType> /*maker_inputs*/) const {
  return nullptr;
}

std::vector<ChannelAffine> Layer::as_channel_affine(const Weights& /*weights*/) const { return {}; }

std::optional<Folded> Layer::fold(std::span<const ChannelAffine> /*next*/, std::span<const TensorType> /*inputs*/,
                                  const Weights& /*weights*/) const {
  return {};
}

}  // namespace strand::layers
