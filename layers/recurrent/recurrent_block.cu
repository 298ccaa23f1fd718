// One block goes through the times of one sequence and direction (blockIdx.x = n * directions + direction), with
// weight_hh and h in shared memory: no launch, and no word to other blocks, between two times.
//
// Mapping: a thread a gate row, its column of weight_hh^T [H, gates * H] read side by side, h broadcast four at a time;
// then the first H threads compute h and c, c in a register. Four partial sums a row, added in the same order each run.
// The gates' share of the next x is loaded a step ahead. Shared memory: gates * H * H + 5 H floats; limits: kShared
// bytes of it, which every device since sm_80 has, and 1024 gate rows.

#include "layers/recurrent/recurrent_cuda.cuh"

namespace strand::layers {
namespace {

constexpr int64_t kShared = 96 * 1024;

int64_t padded(const RecurrentProblem& problem) { return round_up(problem.hidden_size, 4); }

int64_t packed_floats(const RecurrentProblem& problem) {
  return checked_mul(checked_mul(padded(problem), problem.gates()), problem.hidden_size);
}

// h [padded H], weights [padded H, gates * H], the gates' sums, what n takes from x.
int64_t shared_bytes(const RecurrentProblem& problem) {
  return (padded(problem) + packed_floats(problem) + (problem.gates() + 1) * problem.hidden_size) *
         static_cast<int64_t>(sizeof(float));
}

void pack(const RecurrentProblem& problem, int64_t, const float* weight, float* packed) {
  const int64_t rows = problem.gates() * problem.hidden_size;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t k = 0; k < problem.hidden_size; ++k) packed[k * rows + row] = weight[row * problem.hidden_size + k];
  }
}

template <bool kLstm>
__global__ void __launch_bounds__(1024) recurrent_block_kernel(Recurrence layer) {
  constexpr int kGates = kLstm ? 4 : 3;
  extern __shared__ float4 shared4[];
  const int hidden = static_cast<int>(layer.hidden);
  const int rows = kGates * hidden;
  const int padded = (hidden + 3) / 4 * 4;
  auto* h = reinterpret_cast<float*>(shared4);
  float* weight = h + padded;
  float* sums = weight + padded * rows;
  const int direction = static_cast<int>(blockIdx.x % static_cast<unsigned>(layer.directions));
  const int64_t n = blockIdx.x / static_cast<unsigned>(layer.directions);
  const int thread = static_cast<int>(threadIdx.x);
  const bool is_row = thread < rows;
  const bool is_unit = thread < hidden;
  const int64_t state = (direction * layer.batch + n) * hidden + thread;

  const float* packed = layer.weight + static_cast<int64_t>(direction) * padded * rows;
  for (int i = thread; i < padded * rows; i += static_cast<int>(blockDim.x)) weight[i] = packed[i];
  if (thread < padded) h[thread] = is_unit && layer.h_0 != nullptr ? layer.h_0[state] : 0.0F;
  float c = kLstm && is_unit && layer.c_0 != nullptr ? layer.c_0[state] : 0.0F;
  const float bias_n = !kLstm && is_unit ? layer.bias_n[direction * hidden + thread] : 0.0F;

  // A unit's thread reads what its gates take from x, a step ahead.
  float x[4] = {};
  const auto load_x = [&](int64_t step) {
    if (!is_unit || step >= layer.steps) return;
    const int64_t row = layer.row(layer.time(direction, step), n);
    const float* gates = layer.gates_x + (row * layer.directions + direction) * rows + thread;
#pragma unroll
    for (int g = 0; g < kGates; ++g) x[g] = gates[g * hidden];
  };
  load_x(0);
  for (int64_t step = 0; step < layer.steps; ++step) {
    __syncthreads();  // h is there
    if (is_row) {
      float sum[4] = {};
      for (int k = 0; k < padded; k += 4) {
        const float4 part = *reinterpret_cast<const float4*>(h + k);
        sum[0] = fmaf(weight[k * rows + thread], part.x, sum[0]);
        sum[1] = fmaf(weight[(k + 1) * rows + thread], part.y, sum[1]);
        sum[2] = fmaf(weight[(k + 2) * rows + thread], part.z, sum[2]);
        sum[3] = fmaf(weight[(k + 3) * rows + thread], part.w, sum[3]);
      }
      sums[thread] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
    __syncthreads();
    if (is_unit) {
      float sum[4] = {};
#pragma unroll
      for (int g = 0; g < kGates; ++g) sum[g] = sums[g * hidden + thread];
      if (!kLstm) sum[2] += bias_n;
      const float value = recurrent_cell<kLstm>(x, sum, h[thread], c);
      h[thread] = value;
      if (layer.y != nullptr) {
        const int64_t row = layer.row(layer.time(direction, step), n);
        layer.y[(row * layer.directions + direction) * hidden + thread] = value;
      }
    }
    load_x(step + 1);
  }
  if (is_unit) {
    layer.h_n[state] = h[thread];  // its own, or what it read from h_0
    if (kLstm) layer.c_n[state] = c;
  }
}

template <bool kLstm>
void launch_cell(const Context& context, const RecurrentProblem& problem, const Recurrence& layer) {
  const auto shared = static_cast<size_t>(shared_bytes(problem));
  const auto threads = static_cast<unsigned>(round_up(problem.gates() * problem.hidden_size, 32));
  // The most that any layer may ask for: the attribute belongs to the function, which Sessions of all threads share.
  cuda::check(cudaFuncSetAttribute(recurrent_block_kernel<kLstm>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(kShared)),
              "cudaFuncSetAttribute");
  const unsigned grid = cuda::grid_size(checked_mul(problem.batch, problem.directions), "LSTM or GRU");
  recurrent_block_kernel<kLstm><<<grid, threads, shared, cuda::stream(context)>>>(layer);
  cuda::check_launch("LSTM or GRU");
}

void launch(const Context& context, const RecurrentProblem& problem, const Recurrence& layer, std::byte*) {
  if (problem.lstm) {
    launch_cell<true>(context, problem, layer);
  } else {
    launch_cell<false>(context, problem, layer);
  }
}

int64_t no_workspace(const RecurrentProblem&) { return 0; }

}  // namespace

std::string recurrent_block_declines(const RecurrentProblem& problem) {
  if (problem.hidden_size <= 256 && shared_bytes(problem) <= kShared) return "";
  return "weight_hh of hidden_size " + std::to_string(problem.hidden_size) + " does not fit " +
         std::to_string(kShared / 1024) + " KiB of shared memory";
}

RecurrentMethod recurrent_block() { return {packed_floats, pack, no_workspace, launch}; }

}  // namespace strand::layers
