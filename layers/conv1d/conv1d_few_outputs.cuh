#pragma once
// The kernel of conv1d_few_outputs.cu, which says how it works. For the .cu files that instantiate it.

#include "layers/conv1d/conv1d_few.cuh"
#include "layers/conv1d/conv1d_tensor.cuh"
#include "layers/conv1d/conv1d_tensor.h"

namespace strand::layers {

constexpr int kMostThreads = 256;  // a block: the most that threads_at_most() gives

struct FewOutputs {
  Conv1dProblem p;
  int64_t out_length;
  tensor::Divisor tiles_by;   // of a row
  tensor::Divisor chunks_by;  // of a group's outputs
  tensor::Divisor groups_by;
  tensor::Divisor row_taps_by;  // rows a channel
  int rows;                     // of the group's input: channels, or (channel, tap) pairs
  int stage_rows;               // at a time
  int taps;                     // a row
  int pitch;                    // floats a row
  int row_weights;              // floats
  int chunk_weights;            // floats that the packed weights of one chunk of outputs take
  bool by_tap;
  DType y_type;  // read by kernels with `Halves`

  __device__ int64_t dilation() const { return by_tap ? 1 : p.dilation; }
  __device__ int64_t step() const { return by_tap ? p.stride : 1; }  // from one position of a row to the next
};

// One row of the stage: where it begins in the padded input, and how far that is past 16 bytes.
template <class X>
struct StageRow {
  static constexpr int kVector = 16 / sizeof(X);  // values
  const X* source;
  int64_t start;
  int lead;  // values; 0 where positions are apart

  __device__ StageRow(const FewOutputs& a, const X* x, int64_t first, uint32_t row) {
    const uint32_t channel = a.row_taps_by.divide(row);
    source = x + int64_t{channel} * a.p.length;
    start = first * a.p.stride - a.p.pad_left + int64_t{row - channel * a.row_taps_by.value} * a.p.dilation;
    lead =
        a.step() == 1 ? static_cast<int>((reinterpret_cast<uintptr_t>(source) / sizeof(X) + start) & (kVector - 1)) : 0;
  }
};

// A warp starts copying one row: what so many positions need.
__device__ inline void copy_row(const FewOutputs& a, const StageRow<float>& row, int positions, float* target) {
  const Conv1dProblem& p = a.p;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const auto window = static_cast<int>(row.lead + positions + (a.taps - 1) * a.dilation());
  const int64_t begin = row.start - row.lead;
  const int64_t step = a.step();
  const uint32_t to = tensor::shared_address(target);
  if (step == 1 && begin >= 0 && begin + (window + 3) / 4 * 4 <= p.length) {
    const float* from = row.source + begin;
    for (int i = lane * 4; i < window; i += 128) tensor::copy_async<4>(to + i * 4, from + i, true);
    return;
  }
  if (begin >= 0 && begin + (window - 1) * step < p.length) {
    const float* from = row.source + begin + lane * step;
    for (int i = lane; i < window; i += 32, from += 32 * step) tensor::copy_async<1>(to + i * 4, from, true);
    return;
  }
  if (p.unpadded() || p.padding_mode == PaddingMode::kZeros) {
    const auto copy_one = [&](int i) {
      const int64_t position = begin + i * step;
      const bool there = position >= 0 && position < p.length;
      tensor::copy_async<1>(to + i * 4, row.source + (there ? position : 0), there);
    };
    if (step != 1) {
      for (int i = lane; i < window; i += 32) copy_one(i);
      return;
    }
    for (int i = lane * 4; i < window; i += 128) {
      const int64_t position = begin + i;
      if (position >= 0 && position + 4 <= p.length) {
        tensor::copy_async<4>(to + i * 4, row.source + position, true);
      } else if (position + 4 <= 0 || position >= p.length) {
        *reinterpret_cast<float4*>(target + i) = float4{};
      } else {
        for (int j = 0; j < 4; ++j) copy_one(i + j);
      }
    }
    return;
  }
  for (int i = lane; i < window; i += 32) {
    const int64_t position = begin + i * step;
    const bool padded = position >= -p.pad_left && position < p.length + p.pad_right;
    const int64_t at = padded ? source_index(position, p.length, p.padding_mode) : -1;
    tensor::copy_async<1>(to + i * 4, row.source + max(at, int64_t{0}), at >= 0);
  }
}

// The same of halves. No copy is as small as they are: what has to come one by one is loaded and stored.
template <class X>
__device__ __forceinline__ void copy_row(const FewOutputs& a, const StageRow<X>& row, int positions, X* target) {
  constexpr int kVector = StageRow<X>::kVector;
  const Conv1dProblem& p = a.p;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const auto window = static_cast<int>(row.lead + positions + (a.taps - 1) * a.dilation());
  const int64_t begin = row.start - row.lead;
  const int64_t step = a.step();
  const auto copy_vector = [&](int i) {
    tensor::copy_async<4>(tensor::shared_address(target + i), reinterpret_cast<const float*>(row.source + begin + i),
                          true);
  };
  const auto copy_one = [&](int i) {
    const int64_t position = begin + i * step;
    const bool padded = position >= -p.pad_left && position < p.length + p.pad_right;
    const int64_t at = padded ? source_index(position, p.length, p.padding_mode) : -1;
    target[i] = at < 0 ? to_stored<X>(0) : __ldg(row.source + at);
  };
  if (step == 1 && begin >= 0 && begin + (window + kVector - 1) / kVector * kVector <= p.length) {
    for (int i = lane * kVector; i < window; i += 32 * kVector) copy_vector(i);
  } else if (step == 1) {
    for (int i = lane * kVector; i < window; i += 32 * kVector) {
      if (begin + i >= 0 && begin + i + kVector <= p.length) {
        copy_vector(i);
      } else {
#pragma unroll 1
        for (int j = 0; j < kVector; ++j) copy_one(i + j);
      }
    }
  } else if (begin >= 0 && begin + (window - 1) * step < p.length) {
    const X* from = row.source + begin + lane * step;
#pragma unroll 4
    for (int i = lane; i < window; i += 32, from += 32 * step) target[i] = __ldg(from);
  } else {
#pragma unroll 1
    for (int i = lane; i < window; i += 32) copy_one(i);
  }
}

template <class X>
__device__ __forceinline__ void read_four(const X* from, float* x) {
  const uint2 pairs = *reinterpret_cast<const uint2*>(from);
  *reinterpret_cast<float2*>(x) = stored_pair<X>(pairs.x);
  *reinterpret_cast<float2*>(x + 2) = stored_pair<X>(pairs.y);
}

// Sums of `taps` up to Taps neighbouring taps, whose first reads `from` + Past; `from` is aligned to four values.
template <int Outputs, int Taps, int Past, int Positions, class X>
__device__ __forceinline__ void multiply_taps(const X* from, const float* weights, int taps,
                                              float (&sums)[Outputs][Positions]) {
  constexpr int kVectors = (Past + Positions + Taps - 1 + 3) / 4;
  float x[kVectors * 4];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if constexpr (std::is_same_v<X, float>) {
      *reinterpret_cast<float4*>(x + i * 4) = reinterpret_cast<const float4*>(from)[i];
    } else {
      read_four(from + i * 4, x + i * 4);
    }
  }
  constexpr int kTapsAtOnce = Outputs < 4 && Taps >= 4 ? 4 : 1;  // whose weights are read together
#pragma unroll
  for (int tap = 0; tap < Taps; tap += kTapsAtOnce) {
    if (tap >= taps) break;
    float w[kTapsAtOnce * Outputs];
    if constexpr (kTapsAtOnce * Outputs % 4 == 0) {
#pragma unroll
      for (int i = 0; i < kTapsAtOnce * Outputs; i += 4) {
        *reinterpret_cast<float4*>(w + i) = *reinterpret_cast<const float4*>(weights + tap * Outputs + i);
      }
    } else {
#pragma unroll
      for (int i = 0; i < Outputs; ++i) w[i] = weights[tap * Outputs + i];
    }
#pragma unroll
    for (int i = 0; i < kTapsAtOnce; ++i) {
      if (tap + i >= taps) break;
#pragma unroll
      for (int o = 0; o < Outputs; ++o) {
#pragma unroll
        for (int j = 0; j < Positions; ++j) {
          sums[o][j] = fmaf(w[i * Outputs + o], x[Past + tap + i + j], sums[o][j]);
        }
      }
    }
  }
}

// All taps of one row; `x` at this thread's positions.
template <int Outputs, int Taps, int Positions, class X>
__device__ __forceinline__ void multiply_row(const FewOutputs& a, int lead, const X* x, const float* weights,
                                             float (&sums)[Outputs][Positions]) {
  int at = lead;
  const int step = Taps == 1 ? static_cast<int>(a.dilation()) : Taps;
#pragma unroll 1
  for (int tap = 0; tap < a.taps; tap += Taps, at += step, weights += Taps * Outputs) {
    const X* from = x + (at & ~3);
    switch (at & 3) {
      case 0:
        multiply_taps<Outputs, Taps, 0, Positions>(from, weights, a.taps - tap, sums);
        break;
      case 1:
        multiply_taps<Outputs, Taps, 1, Positions>(from, weights, a.taps - tap, sums);
        break;
      case 2:
        multiply_taps<Outputs, Taps, 2, Positions>(from, weights, a.taps - tap, sums);
        break;
      default:
        multiply_taps<Outputs, Taps, 3, Positions>(from, weights, a.taps - tap, sums);
    }
  }
}

// `X`: what x is stored as. `Halves`: y, of a.y_type, or the residual may be halves too.
template <class X, bool Halves, int Outputs, int Taps, bool Plain, int Positions = kFewPositions>
__global__ void __launch_bounds__(kMostThreads, 2)
    few_outputs_kernel(const __grid_constant__ FewOutputs a, const X* __restrict__ x, const float* __restrict__ weight,
                       Conv1dStore store, FewStored<Halves>* __restrict__ y) {
  store.plain = Plain;
  constexpr int kLeads = StageRow<X>::kVector;
  extern __shared__ __align__(16) float memory[];
  const Conv1dProblem& p = a.p;
  const uint32_t above_tile = a.tiles_by.divide(blockIdx.x);
  const uint32_t above_chunk = a.chunks_by.divide(above_tile);
  const uint32_t n = a.groups_by.divide(above_chunk);
  const uint32_t group = above_chunk - n * a.groups_by.value;
  const uint32_t chunk = above_tile - above_chunk * a.chunks_by.value;
  const int positions = static_cast<int>(blockDim.x) * Positions;
  const int64_t first = int64_t{blockIdx.x - above_tile * a.tiles_by.value} * positions;
  const X* rows = x + (int64_t{n} * p.in_channels + group * p.group_in()) * p.length;
  const float* packed = weight + int64_t{group * a.chunks_by.value + chunk} * a.chunk_weights;
  const int stage_floats = a.stage_rows * (a.pitch + a.row_weights);
  // Sums past the row's end are made of what happens to lie there, and not stored.
  const auto needed = static_cast<int>(min(int64_t{positions}, a.out_length - first));
  // Starts copying the rows from `begin` on, and their weights, to one half of the memory.
  const auto load = [&](int begin, float* stage) {
    const int count = min(a.stage_rows, a.rows - begin);
    for (auto row = static_cast<int>(threadIdx.x) / 32; row < count; row += static_cast<int>(blockDim.x) / 32) {
      copy_row(a, StageRow<X>(a, rows, first, begin + row), needed, reinterpret_cast<X*>(stage + row * a.pitch));
    }
    // Both begin at 16 bytes: stages by tap have a multiple of 4 rows, other rows of weights one of 4 floats.
    const float* source = packed + int64_t{begin} * a.row_weights;
    const uint32_t target = tensor::shared_address(stage + a.stage_rows * a.pitch);
    for (int i = static_cast<int>(threadIdx.x) * 4; i < count * a.row_weights; i += static_cast<int>(blockDim.x) * 4) {
      tensor::copy_async<4>(target + i * 4, source + i, true);
    }
  };

  float sums[Outputs][Positions] = {};
  load(0, memory);
  tensor::commit_copies();
  int half = 0;
#pragma unroll 1
  for (int begin = 0; begin < a.rows; begin += a.stage_rows, half ^= 1) {
    const int next = begin + a.stage_rows;
    if (next < a.rows) load(next, memory + (half ^ 1) * stage_floats);
    tensor::commit_copies();
    tensor::wait_copies<1>();
    __syncthreads();  // this stage's copies are seen by all
    const float* stage = memory + half * stage_floats;
    const float* weights = stage + a.stage_rows * a.pitch;
    const int count = min(a.stage_rows, a.rows - begin);
    const float* at = stage + threadIdx.x * (Positions * static_cast<int>(sizeof(X)) / 4);
    int lead = StageRow<X>(a, rows, first, begin).lead;
    const auto lead_step = static_cast<int>(p.length & (kLeads - 1));
#pragma unroll 1
    for (int row = 0; row < count; ++row, at += a.pitch, weights += a.row_weights) {
      if (Taps == 1) lead = StageRow<X>(a, rows, first, begin + row).lead;  // a row may be a tap's
      multiply_row<Outputs, Taps, Positions>(a, lead, reinterpret_cast<const X*>(at), weights, sums);
      lead = (lead + lead_step) & (kLeads - 1);
    }
    __syncthreads();  // nobody reads it any more
  }
  const auto target = few_target(y, a.y_type);
  if constexpr (Positions > kFewPositions) {
    store_many(store, n, group, first, a.out_length, sums[0], reinterpret_cast<float4*>(memory),
               target + (int64_t{n} * p.out_channels + group) * a.out_length);
  } else {
    const int64_t t = first + threadIdx.x * kFewPositions;
    const int64_t output = int64_t{chunk} * Outputs;
    const int64_t channel = group * p.group_out() + output;
    const auto outputs = static_cast<int>(min(p.group_out() - output, int64_t{Outputs}));
    store_sums<Outputs, Plain>(store, n, channel, outputs, t, a.out_length, sums, reinterpret_cast<float4*>(memory),
                               target + (int64_t{n} * p.out_channels + channel) * a.out_length + t);
  }
}

using FewOutputsKernel = const void*;  // for cudaLaunchKernel(), whatever x's and y's type

template <class X, bool Halves, int Outputs>
FewOutputsKernel few_outputs_kernel_for(const FewOutputs& a, int positions) {
  const bool plain = a.p.epilogue.none();
  const auto pick = [plain](auto* of_bias, auto* of_any) {
    return reinterpret_cast<FewOutputsKernel>(plain ? of_bias : of_any);
  };
  if constexpr (Outputs == 1) {
    if (positions > kFewPositions && a.taps <= 4) {
      return pick(few_outputs_kernel<X, Halves, 1, 4, true, kManyPositions>,
                  few_outputs_kernel<X, Halves, 1, 4, false, kManyPositions>);
    }
    if (positions > kFewPositions) {
      return pick(few_outputs_kernel<X, Halves, 1, 8, true, kManyPositions>,
                  few_outputs_kernel<X, Halves, 1, 8, false, kManyPositions>);
    }
  }
  if (a.taps == 1 || a.p.dilation != 1) {
    return pick(few_outputs_kernel<X, Halves, Outputs, 1, true>, few_outputs_kernel<X, Halves, Outputs, 1, false>);
  }
  if (a.taps <= 4) {
    return pick(few_outputs_kernel<X, Halves, Outputs, 4, true>, few_outputs_kernel<X, Halves, Outputs, 4, false>);
  }
  return pick(few_outputs_kernel<X, Halves, Outputs, 8, true>, few_outputs_kernel<X, Halves, Outputs, 8, false>);
}

// `positions` of a thread.
template <class X, bool Halves>
FewOutputsKernel few_outputs_kernel_for(const FewOutputs& a, int positions) {
  switch (outputs_at_once(a.p)) {
    case 1:
      return few_outputs_kernel_for<X, Halves, 1>(a, positions);
    case 2:
      return few_outputs_kernel_for<X, Halves, 2>(a, positions);
    case 4:
      return few_outputs_kernel_for<X, Halves, 4>(a, positions);
    case 8:
      return few_outputs_kernel_for<X, Halves, 8>(a, positions);
    default:
      return few_outputs_kernel_for<X, Halves, 16>(a, positions);
  }
}

// Where x is float16 or bfloat16; in a file of its own, for they take long to compile.
FewOutputsKernel few_outputs_kernel_of_halves(const FewOutputs& a, int positions, DType x_type);

}  // namespace strand::layers
