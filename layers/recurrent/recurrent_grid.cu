// All blocks go through the times together, each with its share of the hidden units: its slice of weight_hh stays in
// shared memory (where it fits, else in L2), and h goes from step to step through global memory, past a barrier of the
// direction's blocks. One cooperative launch a layer, so that they are all resident.
//
// Mapping: units in chunks of four, 16 gate rows (a GRU's fourth gate is zeros), [direction][chunk][k][unit][gate];
// blocks of 256 threads take consecutive chunks of one direction. A batch goes in tiles of kBatch (4 or 16): h of a
// tile is [k][kBatch], copied to shared memory in pieces of kPiece features; a thread sums 4 rows x 4 sequences over
// every kSlices-th k in registers, the slices are added through shared memory, in order, and one thread a (unit,
// sequence) computes h and c. c stays in c_n, read and written by the same thread. Hidden 512 at batch 16: 128 blocks
// of one chunk.
//
// Barrier: a counter a direction, which each block raises by one a step after its writes, and waits for the others'.
// h is kept twice, for odd and even steps, so one barrier a step is enough. h is read past L1 (__ldcg).

#include <algorithm>

#include "layers/recurrent/recurrent_cuda.cuh"

namespace strand::layers {
namespace {

constexpr int kThreads = 256;
constexpr int kUnits = 4;
constexpr int kRows = 4 * kUnits;
constexpr int kPiece = 1024;

struct Grid {
  int64_t chunks;               // of a direction
  int64_t a_block;              // chunks a block, at most
  int64_t blocks;               // of a direction
  int64_t tiles;                // of the batch
  bool keep_weights;            // in shared memory
  float* exchange;              // [2][direction][tile][k][kBatch]
  unsigned long long* arrived;  // [direction], zeros at the start
};

int batch_tile(const RecurrentProblem& problem) { return problem.batch <= 4 ? 4 : 16; }
int64_t chunks_of(const RecurrentProblem& problem) { return ceil_div(problem.hidden_size, kUnits); }

int64_t packed_floats(const RecurrentProblem& problem) {
  return checked_mul(checked_mul(chunks_of(problem), kRows), problem.hidden_size);
}

void pack(const RecurrentProblem& problem, int64_t, const float* weight, float* packed) {
  const int64_t hidden = problem.hidden_size;
  for (int64_t g = 0; g < problem.gates(); ++g) {
    for (int64_t j = 0; j < hidden; ++j) {
      float* column = packed + j / kUnits * hidden * kRows + j % kUnits * 4 + g;
      for (int64_t k = 0; k < hidden; ++k) column[k * kRows] = weight[(g * hidden + j) * hidden + k];
    }
  }
}

int64_t exchange_bytes(const RecurrentProblem& problem) {
  const int64_t tile = batch_tile(problem);
  const int64_t floats =
      checked_mul(checked_mul(2 * problem.directions * tile, ceil_div(problem.batch, tile)), problem.hidden_size);
  return round_up(checked_mul(floats, int64_t{sizeof(float)}), Buffer::kAlignment);
}

int64_t workspace_bytes(const RecurrentProblem& problem) {
  return checked_add(exchange_bytes(problem), 2 * int64_t{sizeof(unsigned long long)});
}

// Every thread of the block must call it; what the direction's blocks wrote before is seen after. The wait must be on
// atomic loads: a loop of plain ones, of __ldcg too, may be taken to end by itself, and ptxas leaves it out.
__device__ void wait_for_blocks(unsigned long long* arrived, unsigned long long target) {
  __syncthreads();
  if (threadIdx.x == 0) {
    const size_t address = __cvta_generic_to_global(arrived);
    unsigned long long count = 0;
    asm volatile("red.release.gpu.global.add.u64 [%0], 1;" ::"l"(address) : "memory");
    do {
      asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(count) : "l"(address) : "memory");
    } while (count < target);
  }
  __syncthreads();
}

template <bool kLstm, int kBatch>
__global__ void __launch_bounds__(kThreads) recurrent_grid_kernel(Recurrence layer, Grid grid) {
  constexpr int kGates = kLstm ? 4 : 3;
  constexpr int kSlices = kThreads / kBatch;  // 4 row groups x kBatch / 4 sequence groups x slices
  constexpr int kCells = kUnits * kBatch;
  extern __shared__ float4 shared4[];
  const int64_t hidden = layer.hidden;
  auto* partial = reinterpret_cast<float*>(shared4);  // [kSlices][kRows][kBatch]
  float* sums = partial + kSlices * kRows * kBatch;   // [kRows][kBatch]
  float* h = sums + kRows * kBatch;                   // [kPiece, or less][kBatch]
  float* kept = h + (hidden < kPiece ? hidden : kPiece) * kBatch;

  const int thread = static_cast<int>(threadIdx.x);
  const int row_group = thread % 4;
  const int batch_group = thread / 4 % (kBatch / 4);
  const int slice = thread / kBatch;
  const int unit_of_cell = thread / kBatch;  // of the first kCells threads
  const int lane = thread % kBatch;          // sequence in the tile
  const int direction = static_cast<int>(blockIdx.x / grid.blocks);
  const int64_t first = blockIdx.x % grid.blocks * grid.a_block;
  const int64_t last = first + grid.a_block < grid.chunks ? first + grid.a_block : grid.chunks;
  unsigned long long* arrived = grid.arrived + direction;
  const auto everyone = static_cast<unsigned long long>(grid.blocks);

  const int64_t chunk_floats = hidden * kRows;
  const float* weight = layer.weight + (direction * grid.chunks + first) * chunk_floats;
  if (grid.keep_weights) {
    for (int64_t i = thread; i < (last - first) * chunk_floats / 4; i += kThreads) {
      reinterpret_cast<float4*>(kept)[i] = reinterpret_cast<const float4*>(weight)[i];
    }
    weight = kept;
  }
  const int64_t exchange_floats = layer.directions * grid.tiles * hidden * kBatch;
  const auto exchange = [&](int64_t step, int64_t tile) {
    return grid.exchange + step % 2 * exchange_floats + (direction * grid.tiles + tile) * hidden * kBatch;
  };

  if (thread < kCells) {
    for (int64_t tile = 0; tile < grid.tiles; ++tile) {
      for (int64_t chunk = first; chunk < last; ++chunk) {
        const int64_t unit = chunk * kUnits + unit_of_cell;
        const int64_t n = tile * kBatch + lane;
        if (unit >= hidden) continue;
        const bool exists = n < layer.batch;
        const int64_t state = (direction * layer.batch + n) * hidden + unit;
        const float begin = exists && layer.h_0 != nullptr ? layer.h_0[state] : 0.0F;
        exchange(0, tile)[unit * kBatch + lane] = begin;
        exchange(1, tile)[unit * kBatch + lane] = 0;  // where there is no sequence it stays so
        if (!exists) continue;
        layer.h_n[state] = begin;
        if (kLstm) layer.c_n[state] = layer.c_0 != nullptr ? layer.c_0[state] : 0.0F;
      }
    }
  }
  wait_for_blocks(arrived, everyone);

  for (int64_t step = 0; step < layer.steps; ++step) {
    const int64_t t = layer.time(direction, step);
    for (int64_t tile = 0; tile < grid.tiles; ++tile) {
      const float* from = exchange(step, tile);
      for (int64_t chunk = first; chunk < last; ++chunk) {
        const int64_t unit = chunk * kUnits + unit_of_cell;
        const int64_t n = tile * kBatch + lane;
        const bool is_cell = thread < kCells && unit < hidden && n < layer.batch;
        float x[4] = {};
        if (is_cell) {
          const float* gates =
              layer.gates_x + (layer.row(t, n) * layer.directions + direction) * kGates * hidden + unit;
#pragma unroll
          for (int g = 0; g < kGates; ++g) x[g] = gates[g * hidden];
        }
        const float* chunk_weight = weight + (chunk - first) * chunk_floats;
        float sum[4][4] = {};
        for (int64_t begin = 0; begin < hidden; begin += kPiece) {
          const int count = static_cast<int>(hidden - begin < kPiece ? hidden - begin : kPiece);
          if (chunk == first || hidden > kPiece) {
            __syncthreads();
            const auto* source = reinterpret_cast<const float4*>(from + begin * kBatch);
#pragma unroll 4
            for (int i = thread; i < count * (kBatch / 4); i += kThreads) {
              reinterpret_cast<float4*>(h)[i] = __ldcg(source + i);
            }
            __syncthreads();
          }
#pragma unroll 4
          for (int k = slice; k < count; k += kSlices) {
            const float4 w = *reinterpret_cast<const float4*>(chunk_weight + (begin + k) * kRows + row_group * 4);
            const float4 v = *reinterpret_cast<const float4*>(h + k * kBatch + batch_group * 4);
            const float rows[4] = {w.x, w.y, w.z, w.w};
            const float values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (int r = 0; r < 4; ++r) {
#pragma unroll
              for (int b = 0; b < 4; ++b) sum[r][b] = fmaf(rows[r], values[b], sum[r][b]);
            }
          }
        }
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          float* target = partial + (slice * kRows + row_group * 4 + r) * kBatch + batch_group * 4;
          *reinterpret_cast<float4*>(target) = make_float4(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
        }
        __syncthreads();
        if (thread < kRows * kBatch) {
          float total = 0;
#pragma unroll
          for (int s = 0; s < kSlices; ++s) total += partial[s * kRows * kBatch + thread];
          sums[thread] = total;
        }
        __syncthreads();
        if (is_cell) {
          float total[4];
#pragma unroll
          for (int g = 0; g < 4; ++g) total[g] = sums[(unit_of_cell * 4 + g) * kBatch + lane];
          if (!kLstm) total[2] += layer.bias_n[direction * hidden + unit];
          const int64_t state = (direction * layer.batch + n) * hidden + unit;
          float c = kLstm ? layer.c_n[state] : 0.0F;
          const float value = recurrent_cell<kLstm>(x, total, layer.h_n[state], c);
          if (kLstm) layer.c_n[state] = c;
          layer.h_n[state] = value;
          exchange(step + 1, tile)[unit * kBatch + lane] = value;
          if (layer.y != nullptr) layer.y[(layer.row(t, n) * layer.directions + direction) * hidden + unit] = value;
        }
      }
    }
    if (step + 1 < layer.steps) wait_for_blocks(arrived, everyone * static_cast<unsigned long long>(step + 2));
  }
}

int attribute(const Context& context, cudaDeviceAttr name) {
  int value = 0;
  cuda::check(cudaDeviceGetAttribute(&value, name, context.device().index), "cudaDeviceGetAttribute");
  return value;
}

template <bool kLstm, int kBatch>
void launch_tile(const Context& context, const RecurrentProblem& problem, Recurrence layer, Grid grid) {
  auto* kernel = recurrent_grid_kernel<kLstm, kBatch>;
  const int64_t fixed = (kThreads * kRows + kRows * kBatch + std::min<int64_t>(problem.hidden_size, kPiece) * kBatch) *
                        static_cast<int64_t>(sizeof(float));
  const int64_t weights = grid.a_block * kRows * problem.hidden_size * static_cast<int64_t>(sizeof(float));
  const int most = attribute(context, cudaDevAttrMaxSharedMemoryPerBlockOptin);
  grid.keep_weights = fixed + weights <= most;
  const int64_t shared = fixed + (grid.keep_weights ? weights : 0);
  // The most that any layer may ask for: the attribute belongs to the function, which Sessions of all threads share.
  cuda::check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most), "cudaFuncSetAttribute");
  void* arguments[] = {&layer, &grid};
  const unsigned blocks = cuda::grid_size(grid.blocks * problem.directions, "LSTM or GRU");
  cuda::check(cudaLaunchCooperativeKernel(kernel, dim3(blocks), dim3(kThreads), arguments, static_cast<size_t>(shared),
                                          cuda::stream(context)),
              "LSTM or GRU");
}

void launch(const Context& context, const RecurrentProblem& problem, const Recurrence& layer, std::byte* workspace) {
  Grid grid{};
  grid.chunks = chunks_of(problem);
  const int64_t most = std::max<int64_t>(attribute(context, cudaDevAttrMultiProcessorCount) / problem.directions, 1);
  grid.a_block = ceil_div(grid.chunks, std::min(grid.chunks, most));
  grid.blocks = ceil_div(grid.chunks, grid.a_block);
  grid.tiles = ceil_div(problem.batch, batch_tile(problem));
  grid.exchange = reinterpret_cast<float*>(workspace);
  workspace += exchange_bytes(problem);
  grid.arrived = reinterpret_cast<unsigned long long*>(workspace);
  cuda::check(cudaMemsetAsync(workspace, 0, 2 * sizeof(unsigned long long), cuda::stream(context)), "cudaMemsetAsync");
  const auto run = batch_tile(problem) == 4 ? (problem.lstm ? launch_tile<true, 4> : launch_tile<false, 4>)
                                            : (problem.lstm ? launch_tile<true, 16> : launch_tile<false, 16>);
  run(context, problem, layer, grid);
}

}  // namespace

RecurrentMethod recurrent_grid() { return {packed_floats, pack, workspace_bytes, launch}; }

}  // namespace strand::layers
