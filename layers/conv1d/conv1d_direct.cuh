#pragma once
// What the tiled kernel of cuda.direct is made of, see conv1d_direct.cu: a tile's shape, the gathering of its input,
// its products, and the way of its sums to memory.

#include <cuda_pipeline_primitives.h>

#include "layers/conv1d/conv1d_cuda.cuh"

namespace strand::layers::direct {

struct Tiled {
  Conv1dProblem problem;
  int64_t out_length = 0;
  int64_t positions = 0;  // batch * out_length
  int output_tiles = 0;   // a group
  int position_tiles = 0;
  int chunks = 0;           // of the reduction
  int part_chunks = 0;      // of them, that a block sums
  int64_t part_stride = 0;  // from one part's sums to the next's; 0: there is but one part
};

// `Slices`: of the rows of a chunk, each multiplied by warps of its own. `RowLanes`: rows that lanes side by side
// gather.
template <int ThreadOutputs, int ThreadPositions, int WarpsDown, int WarpsAcross, int Slices, int Depth, int Stages,
          int RowLanes, bool Zeros>
struct Tile {
  static constexpr bool kZeros = Zeros;  // padding, if any, is zeros
  static constexpr int kRowLanes = RowLanes;
  static constexpr int kThreadOutputs = ThreadOutputs;
  static constexpr int kThreadPositions = ThreadPositions;
  static constexpr int kWarpsAcross = WarpsAcross;
  static constexpr int kSliceWarps = WarpsDown * WarpsAcross;
  static constexpr int kSlices = Slices;
  static constexpr int kDepth = Depth;
  static constexpr int kStages = Stages;
  static constexpr int kThreads = 32 * kSliceWarps * Slices;
  static constexpr int kWarpOutputs = 4 * ThreadOutputs;
  static constexpr int kWarpPositions = 8 * ThreadPositions;
  static constexpr int kOutputs = kWarpOutputs * WarpsDown;
  static constexpr int kPositions = kWarpPositions * WarpsAcross;
  // From one row of X to the next: what lanes side by side write lies in different banks.
  static constexpr int kPitch = kPositions + (RowLanes > 1 ? 32 / RowLanes : 0);
  static constexpr int kWeightFloats = Depth * kOutputs;  // a stage
  static constexpr int kStageFloats = kWeightFloats + Depth * kPitch;
  static constexpr int kSharedFloats = Stages * kStageFloats;
  // A multiprocessor: 16 warps, 128 registers a thread; or twice as many of few sums.
  static constexpr int kBlocks = (Slices > 1 ? 1024 : 512) / kThreads;

  static_assert(ThreadOutputs % 4 == 0 && ThreadPositions % 4 == 0);
  static_assert(kSharedFloats * sizeof(float) <= 48 * 1024);
  static_assert(kThreads / 32 * 16 * kWarpPositions <= kSharedFloats, "the store path fits the ring");
  static constexpr int kColumnThreads = kThreads / RowLanes;  // that gather a row
  static_assert(kColumnThreads % kPositions == 0 || kPositions % kColumnThreads == 0);
  static_assert(Depth % Slices == 0 && (Slices == 1 || (kSliceWarps == 1 && kOutputs == 16 && kPositions == 32)));
};

// Where an output position is read from.
struct Column {
  uint32_t first;  // index of (first channel of the group, tap 0), modulo 2^32: it may point into padding
  int64_t time;    // position of tap 0 in the row
  int begin;       // taps [begin, begin + count) lie inside the row
  unsigned count;
};

// Position p, of a tile whose first one is of sample `first_sample`.
__device__ inline Column column_at(const Tiled& conv, int64_t first_sample, int64_t p) {
  const Conv1dProblem& c = conv.problem;
  const int64_t n = p / conv.out_length;
  const int64_t time = (p - n * conv.out_length) * c.stride - c.pad_left;
  // Taps before `begin` fall left of the row, taps from `end` on right of it.
  const int64_t begin = time >= 0 ? 0 : min((c.dilation - 1 - time) / c.dilation, c.kernel_size);
  const int64_t end = time >= c.length ? 0 : min((c.length - 1 - time) / c.dilation + 1, c.kernel_size);
  return {static_cast<uint32_t>((n - first_sample) * c.in_channels * c.length + time), time, static_cast<int>(begin),
          static_cast<unsigned>(max(end - begin, int64_t{0}))};
}

// Four bytes to shared memory, or a zero.
__device__ __forceinline__ void copy_async(float* target, const float* source, bool there) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(target));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(source), "r"(there ? 4 : 0)
               : "memory");
}

// A thread's walk down its columns of X, Step rows at a time. Indices count from the tile's first sample and the
// group's first channel, and fit 32 bits (see declines).
template <class T>
struct Gather {
  static constexpr int kAcross = T::kColumnThreads;
  static constexpr int kColumns = T::kPositions > kAcross ? T::kPositions / kAcross : 1;
  static constexpr int kStep = T::kRowLanes * (kAcross > T::kPositions ? kAcross / T::kPositions : 1);

  const float* base;
  Column columns[kColumns];
  bool inside = true;  // all taps of all columns of the block lie inside their rows
  int row;             // of the reduction
  int tap;             // row % kernel_size
  uint32_t offset;     // of (channel, tap) from the columns' first
  uint32_t step;       // of offset a step, without a carry
  uint32_t carry;      // of offset where the tap wraps around
  int tap_step;
  int to;  // where the first value goes, in floats

  // Waits for the whole block.
  __device__ Gather(const Tiled& conv, const float* x, int64_t group, int64_t position, int first_row) {
    const Conv1dProblem& p = conv.problem;
    const int taps = static_cast<int>(p.kernel_size);
    const int64_t first_sample = position / conv.out_length;
    base = x + (first_sample * p.in_channels + group * p.group_in()) * p.length;
    const int unit = static_cast<int>(threadIdx.x) / T::kRowLanes;
    const int column = unit % T::kPositions;
    for (int i = 0; i < kColumns; ++i) {
      // Past the end the last column is gathered again, and not stored.
      columns[i] = column_at(conv, first_sample, min(position + column + i * kAcross, conv.positions - 1));
      inside = inside && columns[i].count == static_cast<unsigned>(taps);
    }
    inside = __syncthreads_and(static_cast<int>(inside)) != 0;
    const int depth = unit / T::kPositions * T::kRowLanes + static_cast<int>(threadIdx.x) % T::kRowLanes;
    to = depth * T::kPitch + column;
    row = first_row + depth;
    tap = row % taps;
    offset = static_cast<uint32_t>(row / taps * p.length + tap * p.dilation);
    tap_step = kStep % taps;
    step = static_cast<uint32_t>(kStep / taps * p.length + tap_step * p.dilation);
    carry = static_cast<uint32_t>(p.length - taps * p.dilation);
  }

  // Starts copying Depth rows into `target` [Depth, kPitch]. `end`: the row after them.
  __device__ void chunk(const Tiled& conv, float* target, int end) {
    if (inside && end <= static_cast<int>(conv.problem.reduction())) {
      copy<true>(conv, target);
    } else {
      copy<false>(conv, target);
    }
  }

  // `Inside`: all that is asked for lies in x.
  template <bool Inside>
  __device__ __forceinline__ void copy(const Tiled& conv, float* target) {
    const Conv1dProblem& p = conv.problem;
    const int rows = static_cast<int>(p.reduction());
    target += to;
#pragma unroll
    for (int d = 0; d < T::kDepth; d += kStep) {
#pragma unroll
      for (int i = 0; i < kColumns; ++i) {
        const Column& column = columns[i];
        float* value = target + d * T::kPitch + i * kAcross;
        uint32_t at = column.first + offset;
        if constexpr (Inside) {
          __pipeline_memcpy_async(value, base + at, sizeof(float));
        } else {
          // Rows past the reduction's end are zeros, and so are their weights.
          bool there = row < rows;
          const bool in_row = static_cast<unsigned>(tap - column.begin) < column.count;
          if constexpr (T::kZeros) {
            there = there && in_row;
          } else if (!in_row) {
            const int64_t position = column.time + tap * p.dilation;
            at += static_cast<uint32_t>(source_index(position, p.length, p.padding_mode) - position);
          }
          copy_async(value, base + (there ? at : 0), there);
        }
      }
      row += kStep;
      tap += tap_step;
      offset += step;
      // Selects, not branches: this stands between the multiply-adds.
      const bool wraps = tap >= static_cast<int>(p.kernel_size);
      tap -= wraps ? static_cast<int>(p.kernel_size) : 0;
      offset += wraps ? carry : 0;
    }
  }
};

// Starts copying a contiguous chunk of W, [Depth, kOutputs].
template <class T>
__device__ void weight_chunk(const float* __restrict__ weight, float* target) {
  constexpr int kVectors = T::kWeightFloats / 4;
#pragma unroll
  for (int v = 0; v < kVectors; v += T::kThreads) {
    const int at = v + static_cast<int>(threadIdx.x);
    if (kVectors % T::kThreads == 0 || at < kVectors) {
      __pipeline_memcpy_async(target + at * 4, weight + at * 4, 4 * sizeof(float));
    }
  }
}

// sums[o][p] += W[d][o] * X[d][p] over a chunk, or a slice of it, in the order of d.
template <class T>
__device__ void multiply(const float* weights, const float* samples,
                         float (&sums)[T::kThreadOutputs][T::kThreadPositions]) {
#pragma unroll
  for (int d = 0; d < T::kDepth / T::kSlices; ++d) {
    float w[T::kThreadOutputs];
    float x[T::kThreadPositions];
#pragma unroll
    for (int i = 0; i < T::kThreadOutputs; i += 4) {
      *reinterpret_cast<float4*>(w + i) = *reinterpret_cast<const float4*>(weights + d * T::kOutputs + i * 4);
    }
#pragma unroll
    for (int j = 0; j < T::kThreadPositions; j += 4) {
      *reinterpret_cast<float4*>(x + j) = *reinterpret_cast<const float4*>(samples + d * T::kPitch + j * 8);
    }
#pragma unroll
    for (int i = 0; i < T::kThreadOutputs; ++i) {
#pragma unroll
      for (int j = 0; j < T::kThreadPositions; ++j) sums[i][j] = fmaf(w[i], x[j], sums[i][j]);
    }
  }
}

// Stores a warp's sums, 16 rows at a time, through its own part of shared memory: lanes take consecutive positions.
template <class T>
__device__ void store_warp(const Tiled& conv, int64_t group, int output, int64_t position, float* staged,
                           const float (&sums)[T::kThreadOutputs][T::kThreadPositions], Conv1dStore store, float* y) {
  constexpr int kAcross = T::kThreadPositions / 4;  // positions a lane stores of each row
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int outputs = static_cast<int>(conv.problem.group_out());
  int64_t targets[kAcross];  // index in y of (first output of the group, position); -1 past the end
  for (int j = 0; j < kAcross; ++j) {
    const int64_t p = position + j * 32 + lane;
    const int64_t n = p / conv.out_length;
    const int64_t channel = n * conv.problem.out_channels + group * outputs;
    targets[j] = p < conv.positions ? channel * conv.out_length + p - n * conv.out_length : -1;
  }
  const auto store_row = [&](int o, const float* row) {
    const Conv1dStore::Channel finish = store.at(group * outputs + o);
    for (int j = 0; j < kAcross; ++j) {
      const int64_t target = targets[j] + o * conv.out_length;
      if (targets[j] >= 0) y[target] = finish(row[j * 32 + lane], target);
    }
  };
#pragma unroll
  for (int i = 0; i < T::kThreadOutputs; i += 4) {
    __syncwarp();
#pragma unroll
    for (int r = 0; r < 4; ++r) {
#pragma unroll
      for (int j = 0; j < T::kThreadPositions; j += 4) {
        *reinterpret_cast<float4*>(staged + (lane / 8 * 4 + r) * T::kWarpPositions + j * 8 + lane % 8 * 4) =
            make_float4(sums[i + r][j], sums[i + r][j + 1], sums[i + r][j + 2], sums[i + r][j + 3]);
      }
    }
    __syncwarp();
    const int rows = min(16, outputs - output - i * 4);
    if (store.plain) {
#pragma unroll 4
      for (int r = 0; r < rows; ++r) store_row(output + i * 4 + r, staged + r * T::kWarpPositions);
    } else {
#pragma unroll 1
      for (int r = 0; r < rows; ++r) store_row(output + i * 4 + r, staged + r * T::kWarpPositions);
    }
  }
}

// Stores a tile of 16 x 32 sums, each slice's part added to those before it: a warp takes four rows.
template <class T>
__device__ void store_slices(const Tiled& conv, int64_t group, int output, int64_t position, float* staged,
                             const float (&sums)[T::kThreadOutputs][T::kThreadPositions], const Conv1dStore& store,
                             float* y) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    *reinterpret_cast<float4*>(staged + ((warp * 16 + lane / 8 * 4 + r) * 8 + lane % 8) * 4) =
        make_float4(sums[r][0], sums[r][1], sums[r][2], sums[r][3]);
  }
  __syncthreads();
  const int64_t p = position + lane;
  if (p >= conv.positions) return;
  const int64_t n = p / conv.out_length;
  const auto outputs = static_cast<int>(conv.problem.group_out());
  const int64_t first = (n * conv.problem.out_channels + group * outputs) * conv.out_length + p - n * conv.out_length;
  constexpr int kRows = 16 / T::kSlices;  // a warp's
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int row = warp * kRows + r;
    if (output + row >= outputs) return;
    float sum = 0;
#pragma unroll
    for (int slice = 0; slice < T::kSlices; ++slice) sum += staged[(slice * 16 + row) * 32 + lane];
    const int64_t target = first + (output + row) * conv.out_length;
    y[target] = store.at(group * outputs + output + row)(sum, target);
  }
}

}  // namespace strand::layers::direct
