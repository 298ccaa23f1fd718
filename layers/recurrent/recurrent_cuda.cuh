#pragma once
// What the CUDA kernels of LSTM and GRU share: one layer's recurrence, given the gates' share of x at all times. For
// .cu files of this folder.

#include "layers/cuda_launch.cuh"
#include "layers/recurrent/recurrent.h"

namespace strand::layers {

// One layer, both directions. Rows are those of RecurrentProblem::row.
struct Recurrence {
  const float* gates_x;  // [rows, directions, gates, H], with all biases but GRU's bias_hh of n
  const float* weight;   // as the kernel packed it
  const float* bias_n;   // [directions, H], GRU's bias_hh of n
  const float* h_0;      // [directions, N, H]; null: zeros
  const float* c_0;
  float* y;    // [rows, directions, H]; null in a cell
  float* h_n;  // [directions, N, H]
  float* c_n;
  int64_t batch;
  int64_t steps;
  int64_t hidden;
  int directions;
  bool batch_first;

  __device__ int64_t row(int64_t t, int64_t n) const { return batch_first ? n * steps + t : t * batch + n; }
  // The time of a direction's step.
  __device__ int64_t time(int direction, int64_t step) const { return direction == 0 ? step : steps - 1 - step; }
};

__device__ inline float recurrent_sigmoid(float x) { return 1 / (1 + expf(-x)); }

// The new h, from the sums over h (GRU's n with bias_hh) and the gates' share of x; c in place.
template <bool kLstm>
__device__ inline float recurrent_cell(const float (&x)[4], const float (&sum)[4], float h, float& c) {
  if (kLstm) {
    const float in = recurrent_sigmoid(x[0] + sum[0]);
    const float forget = recurrent_sigmoid(x[1] + sum[1]);
    const float gain = tanhf(x[2] + sum[2]);
    c = forget * c + in * gain;
    return recurrent_sigmoid(x[3] + sum[3]) * tanhf(c);
  }
  const float reset = recurrent_sigmoid(x[0] + sum[0]);
  const float update = recurrent_sigmoid(x[1] + sum[1]);
  const float fresh = tanhf(x[2] + reset * sum[2]);
  return (1 - update) * fresh + update * h;
}

// A kernel's weights, and how it runs a layer; recurrent.cu does the rest.
struct RecurrentMethod {
  int64_t (*packed_floats)(const RecurrentProblem& problem);  // of a layer
  // weight_hh is [gates * H, H].
  void (*pack)(const RecurrentProblem& problem, int64_t direction, const float* weight_hh, float* packed);
  int64_t (*workspace_bytes)(const RecurrentProblem& problem);
  void (*launch)(const Context& context, const RecurrentProblem& problem, const Recurrence& layer,
                 std::byte* workspace);
};

// recurrent_block.cu: a block a sequence. The reason where weight_hh does not fit its shared memory.
std::string recurrent_block_declines(const RecurrentProblem& problem);
RecurrentMethod recurrent_block();
// recurrent_grid.cu: the hidden units spread over the device.
RecurrentMethod recurrent_grid();

}  // namespace strand::layers
