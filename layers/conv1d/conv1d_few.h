#pragma once
// What cuda.few_channels is for, and how its two kernels share the work out: plain host code, which also tells what it
// is expected to take (conv1d_expected.h).

#include <cstdint>

#include "layers/convolution.h"

namespace strand::layers {

constexpr int kFewPositions = 4;     // neighbouring outputs of a thread
constexpr int kHeldReduction = 12;   // the longest whose inputs one thread holds for four outputs
constexpr int kFewOutputs = 8;       // a group: so few that the input is what moves
constexpr int kShortReduction = 48;  // products a sum: from here on tensor cores are faster, if they take the problem
constexpr int kMostOutputsAtOnce = 16;  // sums a thread, times four

// Up to 16 outputs a group, or fewer than 48 products a sum.
constexpr bool has_few_channels(const Conv1dProblem& p) {
  return p.group_out() <= kMostOutputsAtOnce || p.reduction() < kShortReduction;
}

// Whether a thread's inputs stay in registers, or its sums, which is for inputs that are read by 16 bytes.
constexpr bool holds_inputs(const Conv1dProblem& p) {
  return p.reduction() <= kHeldReduction && (p.group_out() > kFewOutputs || p.stride != 1);
}

// Of a group, where the sums stay.
constexpr int outputs_at_once(const Conv1dProblem& p) {
  int outputs = 1;
  while (outputs < kMostOutputsAtOnce && outputs < p.group_out()) outputs *= 2;
  return outputs;
}

}  // namespace strand::layers
