#pragma once
// What the two kernels of cuda.few_channels share: a thread has four neighbouring outputs of a row, a warp 128.

#include "layers/conv1d/conv1d_cuda.cuh"

namespace strand::layers {

constexpr int kFewPositions = 4;     // neighbouring outputs of a thread
constexpr int kHeldReduction = 12;   // the longest whose inputs one thread holds for four outputs
constexpr int kFewOutputs = 8;       // a group: so few that the input is what moves
constexpr int kShortReduction = 48;  // products a sum: from here on tensor cores are faster, if they take the problem
constexpr int kMostOutputsAtOnce = 16;  // sums a thread, times four

// Stores a warp's 128 neighbours, all of which are there, by whole 16 bytes, whatever the alignment of the row: each
// lane takes the last `Past` values of the lane before it. `target`: of the thread's first, Past floats past 16 bytes.
template <int Past>
__device__ __forceinline__ void store_past(float* target, const float (&values)[4]) {
  const unsigned lane = threadIdx.x % 32;
  float moved[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) moved[i] = i < Past ? __shfl_up_sync(~0U, values[4 - Past + i], 1) : values[i - Past];
  if (Past == 0 || lane > 0) {
    *reinterpret_cast<float4*>(target - Past) = make_float4(moved[0], moved[1], moved[2], moved[3]);
  } else {
#pragma unroll
    for (int i = 0; i < 4 - Past; ++i) target[i] = values[i];
  }
  if (Past > 0 && lane == 31) {
#pragma unroll
    for (int i = 4 - Past; i < 4; ++i) target[i] = values[i];
  }
}

// `room`: outputs of the row from the thread's first on; may be below 1.
__device__ __forceinline__ void store_four(float* target, const float (&values)[4], int64_t room) {
  // The warp's last lane has the least room; the address modulo 16 is the same on all.
  if (room < 4 * (32 - static_cast<int>(threadIdx.x % 32))) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < room) target[i] = values[i];
    }
    return;
  }
  switch (reinterpret_cast<uintptr_t>(target) / 4 % 4) {
    case 0:
      return store_past<0>(target, values);
    case 1:
      return store_past<1>(target, values);
    case 2:
      return store_past<2>(target, values);
    default:
      return store_past<3>(target, values);
  }
}

std::unique_ptr<Kernel> conv1d_few_inputs_kernel(const Conv1dProblem& problem, const PrepareArgs& args);
std::unique_ptr<Kernel> conv1d_few_outputs_kernel(const Conv1dProblem& problem, const PrepareArgs& args);
// Blocks of each, for grid.x; Error(kLimit) past 64 bits.
int64_t conv1d_few_inputs_blocks(const Conv1dProblem& problem, int64_t out_length);
int64_t conv1d_few_outputs_blocks(const Conv1dProblem& problem, int64_t out_length);

}  // namespace strand::layers
