#include "layers/channel_affine.h"

#include <algorithm>
#include <cmath>

namespace strand::layers {
namespace {

constexpr double kEps = 0x1p-24;

// Rounds to float32. False where that is off by more than eps: too large, too small to be normal, not a number.
bool round_once(double value, float& rounded) {
  rounded = static_cast<float>(value);
  return std::fabs(static_cast<double>(rounded) - value) <= kEps * std::fabs(value);
}

// A row of weights. No early end, so that it is vectorised.
bool fold_row(std::span<const float> row, double scale, float* __restrict__ rounded) {
  bool ok = true;
  for (size_t i = 0; i < row.size(); ++i) ok &= round_once(static_cast<double>(row[i]) * scale, rounded[i]);
  return ok;
}

// Of the sum of nothing. What both layers make of it, in the same order; no better than double where its terms cancel.
bool fold_bias(double bias, const ChannelAffine& next, float& rounded) {
  const double scaled = (bias - next.centre) * next.scale;
  const double value = scaled + next.shift;
  return std::fabs(value) >= kEps * (std::fabs(scaled) + std::fabs(next.shift)) && round_once(value, rounded);
}

bool finite(const ChannelAffine& next) {
  return std::isfinite(next.centre) && std::isfinite(next.scale) && std::isfinite(next.shift);
}

}  // namespace

std::optional<FoldedWeights> folded_weights(const Weights& weights, std::span<const ChannelAffine> next,
                                            int64_t row_size, const std::function<int64_t(int64_t row)>& channel_of) {
  if (!std::ranges::all_of(next, finite)) return {};
  Tensor bias(TensorType{DType::kFloat32, {static_cast<int64_t>(next.size())}});
  const std::span<const float> old_bias = weights.has("bias") ? weights.host("bias") : std::span<const float>();
  for (size_t channel = 0; channel < next.size(); ++channel) {
    const double old = old_bias.empty() ? 0 : static_cast<double>(old_bias[channel]);
    if (!fold_bias(old, next[channel], bias.as<float>()[channel])) return {};
  }
  const std::span<const float> old_weight = weights.host("weight");
  Tensor weight(TensorType{DType::kFloat32, weights.shape("weight")});
  const auto size = static_cast<size_t>(row_size);
  for (size_t row = 0; row * size < old_weight.size(); ++row) {
    const double scale = next[static_cast<size_t>(channel_of(static_cast<int64_t>(row)))].scale;
    if (!fold_row(old_weight.subspan(row * size, size), scale, weight.as<float>().data() + row * size)) return {};
  }
  FoldedWeights result;
  result.emplace("weight", std::move(weight));
  result.emplace("bias", std::move(bias));
  return result;
}

}  // namespace strand::layers
