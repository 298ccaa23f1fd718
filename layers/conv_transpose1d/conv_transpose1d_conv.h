#pragma once
// ConvTranspose1d as an ordinary Conv1d of stride 1: each phase that has taps is a set of output channels, and their
// outputs are interleaved. Plain host code, so that it is tested without a GPU.
//   y[n, o, t] = z[n, o * phases + f / divisor, m - first_position]  with t + offset = m * stride + f
// where z is the Conv1d's output; outputs of a phase without taps (f no multiple of the divisor) are the bias alone.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "layers/conv_transpose1d/conv_transpose1d.h"
#include "layers/convolution.h"

namespace strand::layers {

struct TransposeAsConv {
  Conv1dProblem conv;  // its output channels: outputs x phases
  int64_t phases = 1;  // that have taps
  int64_t divisor = 1;
  int64_t first_position = 0;  // what z[.., 0] is
  int64_t positions = 0;       // of z
  bool interleaved = true;     // else z is y
};

// Fills in `result`, or says why it can't: in a Conv1d all phases have as many taps at the same distances. (Zeros in
// the place of missing ones would make NaN of an Inf in x.)
std::string transpose_as_conv(const ConvTransposeProblem& problem, TransposeAsConv& result);

// [C_in, C_out / groups, K] as the Conv1d's [C_out * phases, C_in / groups, taps of a phase].
std::vector<float> conv_weights(const ConvTransposeProblem& problem, const TransposeAsConv& as,
                                std::span<const float> weight);
// A bias for each output channel of the Conv1d.
std::vector<float> conv_bias(const TransposeAsConv& as, std::span<const float> bias);

}  // namespace strand::layers
