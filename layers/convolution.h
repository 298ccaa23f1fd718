#pragma once
// The problem that the implementations of Conv1d speak of, for other layers that are computed as one too:
//   y[n, o, t] = bias[o] + sum over c in group(o), k of  w[o, c, k] * xp[n, c, t * stride + k * dilation]
// with xp the padded input (PyTorch's formula). Plain values.

#include <cstdint>
#include <vector>

#include "layers/epilogue.h"
#include "layers/layer.h"

namespace strand::layers {

enum class PaddingMode : uint8_t { kZeros, kReflect, kReplicate, kCircular };

// Where outputs are ConvTranspose1d's: z, what a Conv1d computes, has a channel for each phase that has taps, and
//   y[n, o, t * stride + phase * divisor - offset] = z[n, o * phases + phase, t]
// for all of y's `length` outputs; those between two phases are the bias.
struct Interleave {
  int stride = 1;
  int divisor = 1;
  int64_t offset = 0;
  int64_t length = 0;  // 0: y is z

  constexpr int phases() const { return stride / divisor; }
};

struct Conv1dProblem {
  int64_t batch = 1;
  int64_t in_channels = 1;
  int64_t out_channels = 1;
  int64_t length = 1;
  int64_t kernel_size = 1;
  int64_t stride = 1;
  int64_t dilation = 1;
  int64_t groups = 1;
  int64_t pad_left = 0;
  int64_t pad_right = 0;
  PaddingMode padding_mode = PaddingMode::kZeros;
  bool has_bias = false;
  Epilogue epilogue = {};      // of the sums above
  Interleave interleave = {};  // of what the epilogue leaves

  // A branch, for divisions take longer than a short chunk's sums.
  constexpr int64_t group_in() const { return groups == 1 ? in_channels : in_channels / groups; }
  constexpr int64_t group_out() const { return groups == 1 ? out_channels : out_channels / groups; }
  // Products a sum: the rows of an unfolded input, each a (channel, tap).
  constexpr int64_t reduction() const { return group_in() * kernel_size; }
  // Of y: what the epilogue leaves of out_channels.
  constexpr int64_t result_channels() const { return epilogue.gated ? out_channels / 2 : out_channels; }
  constexpr bool unpadded() const { return pad_left == 0 && pad_right == 0; }
};

// L_out = floor((length + pad_left + pad_right - dilation * (kernel_size - 1) - 1) / stride) + 1. Error(kShape) naming
// all seven numbers where that is below 1, Error(kLimit) where a step does not fit 64 bits.
int64_t output_length(const Conv1dProblem& problem);

// Appends the CUDA implementations, fastest first. They read "weight", and "bias" if there is one. CUDA builds only.
void conv1d_cuda(const Conv1dProblem& problem, const PrepareArgs& args, std::vector<Implementation>& list);
// The one of them that interleaves, for problems that ask for it: no other does. The output of `args` is z.
Implementation conv1d_interleaving(const Conv1dProblem& problem, const PrepareArgs& args);

}  // namespace strand::layers
