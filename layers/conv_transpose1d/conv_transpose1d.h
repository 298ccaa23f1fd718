#pragma once
// ConvTranspose1d: the problem that its implementations speak of, and the layer. [N, C_in, L] -> [N, C_out, L_out]:
//   y[n, o, t] = bias[o] + sum over c in group(o), k of  w[c, o, k] * x[n, c, (t + padding_left - k * dilation) /
//   stride]
// over the taps whose division is exact and lands inside x (PyTorch's formula, gathered). Output times t of one phase
// (t + padding_left) % stride share their taps, so that each phase is an ordinary convolution. Problems are plain
// values; a layer is immutable.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "layers/attributes.h"
#include "layers/host_device.h"
#include "layers/layer.h"

namespace strand::layers {

struct ConvTransposeProblem {
  int64_t batch = 1;
  int64_t in_channels = 1;
  int64_t out_channels = 1;
  int64_t length = 1;
  int64_t out_length = 1;
  int64_t kernel_size = 1;
  int64_t stride = 1;
  int64_t dilation = 1;
  int64_t groups = 1;
  int64_t offset = 0;  // y[t] is the sum of x[(t + offset - k * dilation) / stride]
  bool has_bias = false;

  STRAND_HD int64_t group_in() const { return in_channels / groups; }
  STRAND_HD int64_t group_out() const { return out_channels / groups; }
  int64_t reach() const { return dilation * (kernel_size - 1); }
  // Outputs t = m * stride + phase - offset, for whole m in [first_position(), first_position() + positions()).
  int64_t first_position() const;
  int64_t positions() const;
};

// The taps of a phase: first_tap, first_tap + tap_step, ..., and how far before position m tap j reads: shift +
// j * shift_step. No taps where the dilation skips the phase.
struct TransposePhase {
  int64_t first_tap = 0;
  int64_t taps = 0;
  int64_t shift = 0;
};

// What all phases have in common: solutions k of k * dilation % stride == phase lie tap_step apart.
struct TransposePhases {
  int64_t divisor = 1;  // of both dilation and stride, the greatest
  int64_t tap_step = 1;
  int64_t shift_step = 1;
  int64_t inverse = 0;  // of dilation / divisor, modulo tap_step

  explicit TransposePhases(const ConvTransposeProblem& problem);

  STRAND_HD TransposePhase at(const ConvTransposeProblem& problem, int64_t phase) const {
    if (phase % divisor != 0) return {};
    const int64_t first = phase / divisor * inverse % tap_step;
    if (first >= problem.kernel_size) return {};
    return {first, (problem.kernel_size - 1 - first) / tap_step + 1, first * problem.dilation / problem.stride};
  }
};

// The part of the problem that the bindings' window shows.
ConvTransposeProblem stretch_of(ConvTransposeProblem problem, const Bindings& bindings);

class ConvTranspose1d final : public Layer {
 public:
  // Error(kSchema) where the fields contradict each other.
  explicit ConvTranspose1d(const Attributes& attributes);

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  std::vector<Parameter> parameters() const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  int64_t multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType> outputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;
  std::optional<Folded> fold(std::span<const ChannelAffine> next, std::span<const TensorType> inputs,
                             const Weights& weights) const override;
  std::shared_ptr<const Layer> in_window(const Window& window, int64_t inputs, int64_t outputs) const override;

  // L_out = (L - 1) * stride - padding_left - padding_right + dilation * (kernel_size - 1) + output_padding + 1.
  // Error(kShape) where the input does not fit, or nothing is left.
  ConvTransposeProblem problem(const TensorType& input) const;

 private:
  ConvTransposeProblem fixed_;  // all but batch and lengths
  int64_t pad_left_ = 0;        // cropped from the full output's ends
  int64_t pad_right_ = 0;
  int64_t output_padding_ = 0;
};

// Whether zeros that an implementation reads around x are harmless: times an Inf they would make NaN.
bool all_finite(std::span<const float> weight);

std::unique_ptr<Kernel> conv_transpose1d_cpu(const ConvTransposeProblem& problem, const PrepareArgs& args);
void conv_transpose1d_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
