#pragma once
// What cuda.few_channels is for, and how its two kernels share the work out: plain host code, which also tells what it
// is expected to take (conv1d_expected.h).

#include <cstdint>

#include "engine/checked.h"
#include "layers/convolution.h"

namespace strand::layers {

constexpr int kFewPositions = 4;        // neighbouring outputs of a thread
constexpr int kManyPositions = 12;      // the same where it has one output channel, and taps are neighbours
constexpr int kHeldReduction = 12;      // the longest whose inputs one thread holds for four outputs
constexpr int kFewOutputs = 8;          // a group: so few that the input is what moves
constexpr int kShortReduction = 48;     // products a sum: from here on tensor cores are faster wherever they take them
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

// Of a thread, where the sums stay. Three times four share what taps reach past them, and lie three times 16 bytes
// apart, so that eight lanes read from different banks. Not where tiles would be too few for all multiprocessors.
constexpr int positions_a_thread(const Conv1dProblem& p, int64_t out_length) {
  constexpr int64_t kMinLength = 4096;
  constexpr int64_t kMinPositions = int64_t{1} << 18;
  constexpr int64_t kMostTaps = 64;
  const bool near = p.stride == 1 && p.dilation == 1 && p.kernel_size > 1 && p.kernel_size <= kMostTaps;
  const bool many = out_length >= kMinLength && checked_mul(p.batch * p.groups, out_length) >= kMinPositions;
  return near && p.group_out() == 1 && many ? kManyPositions : kFewPositions;
}

// Of a block whose threads have four positions, where the sums stay. Where taps reach far, larger tiles bring less of
// the input twice; an epilogue needs memory for all sums.
constexpr int64_t threads_at_most(const Conv1dProblem& p) {
  constexpr int64_t kThreads = 128;
  constexpr int64_t kThreadsFarTaps = 256;
  const bool far = p.epilogue.none() && p.stride == 1 && p.dilation * (p.kernel_size - 1) >= kThreads;
  return far ? kThreadsFarTaps : kThreads;
}

constexpr int64_t kStageFloats = 4608;  // two stages are 36 KiB: six blocks a multiprocessor of sm_90
// A row with its taps' reach, and what it may begin past 16 bytes by. `per_float`: values, 2 where they are halves.
constexpr int64_t few_row_floats(int64_t reach, int64_t positions, int64_t per_float = 1) {
  return round_up(reach + positions + 4 * per_float - 1, 4 * per_float) / per_float;
}
// Whether an input's row is copied for each tap apart: where there is a stride, or where one row with all that the taps
// reach would be longer than a row a tap, or leave no room for other rows.
constexpr bool goes_by_tap(const Conv1dProblem& p, int64_t positions) {
  const bool near = p.kernel_size == 1 || p.dilation < positions;
  return p.stride != 1 || !near || p.kernel_size >= kStageFloats ||
         few_row_floats(p.kernel_size * (p.dilation + outputs_at_once(p)), positions) >= kStageFloats;
}

}  // namespace strand::layers
