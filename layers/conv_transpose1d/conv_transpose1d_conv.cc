#include "layers/conv_transpose1d/conv_transpose1d_conv.h"

#include <algorithm>
#include <cstdint>

#include "engine/checked.h"

namespace strand::layers {
std::string transpose_as_conv(const ConvTransposeProblem& p, TransposeAsConv& as) {
  const TransposePhases phases(p);
  as = {};
  as.divisor = phases.divisor;
  as.phases = phases.tap_step;
  const int64_t taps = phases.at(p, 0).taps;
  for (int64_t phase = 0; phase < as.phases; ++phase) {
    const TransposePhase at = phases.at(p, phase * as.divisor);
    if (at.taps != taps || at.shift != 0) return "its phases read x at different distances, or not as often";
  }
  if (p.offset + p.out_length > INT32_MAX) return "positions past 2^31";
  Conv1dProblem& conv = as.conv;
  conv.batch = p.batch;
  conv.in_channels = p.in_channels;
  conv.out_channels = checked_mul(p.out_channels, as.phases);
  conv.length = p.length;
  conv.kernel_size = taps;
  conv.dilation = phases.shift_step;
  conv.groups = p.groups;
  conv.has_bias = p.has_bias;
  // From the first position that reads x no earlier than it begins to the last that is asked for, or further out: no
  // padding is below 0.
  const int64_t reach = (taps - 1) * conv.dilation;
  const int64_t last = std::max(p.first_position() + p.positions() - 1, p.length - 1);
  as.first_position = std::min(p.first_position(), reach);
  as.positions = last - as.first_position + 1;
  conv.pad_left = reach - as.first_position;
  conv.pad_right = last - (p.length - 1);
  as.interleaved = p.stride > 1 || as.first_position != p.offset || as.positions != p.out_length;
  return "";
}

std::vector<float> conv_weights(const ConvTransposeProblem& p, const TransposeAsConv& as,
                                std::span<const float> weight) {
  const TransposePhases phases(p);
  const int64_t taps = as.conv.kernel_size;
  std::vector<float> result(static_cast<size_t>(as.conv.out_channels * p.group_in() * taps), 0.0F);
  for (int64_t c = 0; c < p.in_channels; ++c) {
    for (int64_t o = 0; o < p.group_out(); ++o) {
      const float* source = weight.data() + (c * p.group_out() + o) * p.kernel_size;
      const int64_t output = c / p.group_in() * p.group_out() + o;
      for (int64_t phase = 0; phase < as.phases; ++phase) {
        const TransposePhase at = phases.at(p, phase * as.divisor);
        float* target = result.data() + ((output * as.phases + phase) * p.group_in() + c % p.group_in()) * taps;
        for (int64_t j = 0; j < taps; ++j) target[taps - 1 - j] = source[at.first_tap + j * phases.tap_step];
      }
    }
  }
  return result;
}

std::vector<float> conv_bias(const TransposeAsConv& as, std::span<const float> bias) {
  std::vector<float> result;
  for (const float value : bias) result.insert(result.end(), static_cast<size_t>(as.phases), value);
  return result;
}

}  // namespace strand::layers
