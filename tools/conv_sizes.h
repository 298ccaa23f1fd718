#pragma once
// One Conv1d problem as the benchmark sees it, and its truth at one output: the plain double loop. constexpr, so that
// CUDA kernels call the same function.

#include <cstdint>

namespace strand::tools {

struct ConvSizes {
  int64_t batch = 1;
  int64_t in_channels = 1;
  int64_t out_channels = 1;
  int64_t length = 1;
  int64_t kernel_size = 1;
  int64_t stride = 1;
  int64_t dilation = 1;
  int64_t padding = 0;  // both sides, zeros
  int64_t groups = 1;

  constexpr int64_t output_length() const {
    const int64_t room = length + 2 * padding - dilation * (kernel_size - 1) - 1;
    return room < 0 ? 0 : room / stride + 1;
  }
  constexpr int64_t inputs() const { return batch * in_channels * length; }
  constexpr int64_t outputs() const { return batch * out_channels * output_length(); }
  constexpr int64_t weights() const { return out_channels * (in_channels / groups) * kernel_size; }
  constexpr int64_t multiply_adds() const { return outputs() * (in_channels / groups) * kernel_size; }
  // Every input read once and every output written once, of so many bytes each.
  constexpr int64_t bytes(int64_t element = 4) const { return element * (inputs() + outputs()); }
};

struct ExactOutput {
  double value = 0;
  double magnitude = 0;  // sum |w*x| + |bias|
};

// Output `index` of [N, C_out, L_out] from x [N, C_in, L], w [C_out, C_in / groups, K] and bias [C_out] or null.
constexpr ExactOutput exact_output(const ConvSizes& sizes, const float* x, const float* w, const float* bias,
                                   int64_t index) {
  const int64_t out_length = sizes.output_length();
  const int64_t t = index % out_length;
  const int64_t o = index / out_length % sizes.out_channels;
  const int64_t n = index / out_length / sizes.out_channels;
  const int64_t group_channels = sizes.in_channels / sizes.groups;
  const int64_t first_channel = o / (sizes.out_channels / sizes.groups) * group_channels;
  ExactOutput result;
  if (bias != nullptr) result.value = static_cast<double>(bias[o]);
  result.magnitude = result.value < 0 ? -result.value : result.value;
  for (int64_t c = 0; c < group_channels; ++c) {
    const float* row = x + (n * sizes.in_channels + first_channel + c) * sizes.length;
    const float* taps = w + (o * group_channels + c) * sizes.kernel_size;
    for (int64_t k = 0; k < sizes.kernel_size; ++k) {
      const int64_t at = t * sizes.stride + k * sizes.dilation - sizes.padding;
      if (at < 0 || at >= sizes.length) continue;
      const double product = static_cast<double>(taps[k]) * static_cast<double>(row[at]);
      result.value += product;
      result.magnitude += product < 0 ? -product : product;
    }
  }
  return result;
}

}  // namespace strand::tools
