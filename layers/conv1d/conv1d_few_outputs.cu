// cuda.few_channels where few outputs share a longer sum (hifigan_post 32 -> 1, k7; nam_d128 16 -> 16, k3 d128): the
// sums are held in registers while the input goes by.
//
// Problem: y[n, o, t] for up to 16 outputs o of a group at a time.
// Mapping: a block is a tile of neighbouring positions of one group and batch element, a thread four of them, times all
//   outputs (of a single one, in long rows with neighbouring taps, twelve). Tiles of a row ride grid.x fastest.
// Shared memory: the tile's input, a row a channel with all that its taps reach, or (by_tap: a stride, a dilation past
//   the tile, very many taps) a row a (channel, tap) pair with just the positions that are read, so that any stride and
//   dilation becomes 1; and its weights, [row][tap][outputs]. Two stages of so few rows that several blocks fit a
//   multiprocessor: one is copied while the other is multiplied. Rows keep their alignment to 16 bytes, so that copies
//   and reads are of 16 bytes whatever the length; where taps are neighbours, four positions read 4 + 7 floats once
//   for eight taps, and twelve 12 + 7. Padding is filled in by the copies of the tiles at the ends.
// Predicted (H200, 1.75 GHz): hifigan_post: for a channel a thread issues 84 multiply-adds, 8 loads and about 20 more,
//   so 33 million a warp or 0.035 ms, and 40 wavefronts of shared memory, 0.05 ms; bytes take 0.117: 0.13 ms. nam_d128:
//   16 outputs x 4 positions a tap, 64 multiply-adds for 5 loads and some 12 more: 0.24 ms of multiply-adds at their
//   peak, 0.30 issued, beside 0.25 ms of bytes: 0.36 ms.
// Limits: none but a reduction below 2^31; past 16 outputs the input is brought again.
// It beats cuda.direct's thin kernel, which loads a float for each tap and position, and its tiles, which do for 16
// outputs as much loading as for 32.

#include <algorithm>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_few.cuh"
#include "layers/conv1d/conv1d_tensor.cuh"
#include "layers/conv1d/conv1d_tensor.h"

namespace strand::layers {
namespace {

constexpr int kThreadsOfMany = 128;  // a block whose threads have kManyPositions
constexpr int kMostThreads = 256;    // a block: the most that threads_at_most() gives
constexpr int kSlackFloats = 16;     // what reads of whole vectors may pass the end of the last row by

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

  __device__ int64_t dilation() const { return by_tap ? 1 : p.dilation; }
  __device__ int64_t step() const { return by_tap ? p.stride : 1; }  // from one position of a row to the next
};

// One row of the stage: where it begins in the padded input, and how far that is past 16 bytes.
struct StageRow {
  const float* source;
  int64_t start;
  int lead;  // floats; 0 where positions are apart

  __device__ StageRow(const FewOutputs& a, const float* x, int64_t first, uint32_t row) {
    const uint32_t channel = a.row_taps_by.divide(row);
    source = x + int64_t{channel} * a.p.length;
    start = first * a.p.stride - a.p.pad_left + int64_t{row - channel * a.row_taps_by.value} * a.p.dilation;
    lead = a.step() == 1 ? static_cast<int>((reinterpret_cast<uintptr_t>(source) / 4 + start) & 3) : 0;
  }
};

// A warp starts copying one row: what so many positions need.
__device__ void copy_row(const FewOutputs& a, const StageRow& row, int positions, float* target) {
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

// Sums of `taps` up to Taps neighbouring taps, whose first reads `from` + Past; `from` is aligned to 16 bytes.
template <int Outputs, int Taps, int Past, int Positions>
__device__ __forceinline__ void multiply_taps(const float* from, const float* weights, int taps,
                                              float (&sums)[Outputs][Positions]) {
  constexpr int kVectors = (Past + Positions + Taps - 1 + 3) / 4;
  float x[kVectors * 4];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    *reinterpret_cast<float4*>(x + i * 4) = reinterpret_cast<const float4*>(from)[i];
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
template <int Outputs, int Taps, int Positions>
__device__ __forceinline__ void multiply_row(const FewOutputs& a, int lead, const float* x, const float* weights,
                                             float (&sums)[Outputs][Positions]) {
  int at = lead;
  const int step = Taps == 1 ? static_cast<int>(a.dilation()) : Taps;
#pragma unroll 1
  for (int tap = 0; tap < a.taps; tap += Taps, at += step, weights += Taps * Outputs) {
    const float* from = x + (at & ~3);
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

template <int Outputs, int Taps, bool Plain, int Positions = kFewPositions>
__global__ void __launch_bounds__(kMostThreads, 2)
    few_outputs_kernel(const __grid_constant__ FewOutputs a, const float* __restrict__ x,
                       const float* __restrict__ weight, Conv1dStore store, float* __restrict__ y) {
  store.plain = Plain;
  extern __shared__ __align__(16) float memory[];
  const Conv1dProblem& p = a.p;
  const uint32_t above_tile = a.tiles_by.divide(blockIdx.x);
  const uint32_t above_chunk = a.chunks_by.divide(above_tile);
  const uint32_t n = a.groups_by.divide(above_chunk);
  const uint32_t group = above_chunk - n * a.groups_by.value;
  const uint32_t chunk = above_tile - above_chunk * a.chunks_by.value;
  const int positions = static_cast<int>(blockDim.x) * Positions;
  const int64_t first = int64_t{blockIdx.x - above_tile * a.tiles_by.value} * positions;
  const float* rows = x + (int64_t{n} * p.in_channels + group * p.group_in()) * p.length;
  const float* packed = weight + int64_t{group * a.chunks_by.value + chunk} * a.chunk_weights;
  const int stage_floats = a.stage_rows * (a.pitch + a.row_weights);
  // Sums past the row's end are made of what happens to lie there, and not stored.
  const auto needed = static_cast<int>(min(int64_t{positions}, a.out_length - first));
  // Starts copying the rows from `begin` on, and their weights, to one half of the memory.
  const auto load = [&](int begin, float* stage) {
    const int count = min(a.stage_rows, a.rows - begin);
    for (auto row = static_cast<int>(threadIdx.x) / 32; row < count; row += static_cast<int>(blockDim.x) / 32) {
      copy_row(a, StageRow(a, rows, first, begin + row), needed, stage + row * a.pitch);
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
    const float* at = stage + threadIdx.x * Positions;
    int lead = StageRow(a, rows, first, begin).lead;
    const auto lead_step = static_cast<int>(p.length & 3);
#pragma unroll 1
    for (int row = 0; row < count; ++row, at += a.pitch, weights += a.row_weights) {
      if (Taps == 1) lead = StageRow(a, rows, first, begin + row).lead;  // a row may be a tap's
      multiply_row<Outputs, Taps, Positions>(a, lead, at, weights, sums);
      lead = (lead + lead_step) & 3;
    }
    __syncthreads();  // nobody reads it any more
  }
  if constexpr (Positions > kFewPositions) {
    store_many(store, n, group, first, a.out_length, sums[0], reinterpret_cast<float4*>(memory),
               y + (int64_t{n} * p.out_channels + group) * a.out_length);
  } else {
    const int64_t t = first + threadIdx.x * kFewPositions;
    const int64_t output = int64_t{chunk} * Outputs;
    const int64_t channel = group * p.group_out() + output;
    const auto outputs = static_cast<int>(min(p.group_out() - output, int64_t{Outputs}));
    store_sums<Outputs, Plain>(store, n, channel, outputs, t, a.out_length, sums, reinterpret_cast<float4*>(memory),
                               y + (int64_t{n} * p.out_channels + channel) * a.out_length + t);
  }
}

int threads_of(const Conv1dProblem& p, int64_t out_length) {
  if (positions_a_thread(p, out_length) > kFewPositions) return kThreadsOfMany;
  return static_cast<int>(std::min(threads_at_most(p), round_up(ceil_div(out_length, kFewPositions), 32)));
}

FewOutputs plan(const Conv1dProblem& p, int64_t out_length) {
  const int outputs = outputs_at_once(p);
  const int64_t positions = int64_t{threads_of(p, out_length)} * positions_a_thread(p, out_length);
  FewOutputs a{p, out_length, {}, {}, {}, {}, 0, 0, 0, 0, 0, 0, false};
  a.tiles_by = tensor::Divisor(ceil_div(out_length, positions));
  a.chunks_by = tensor::Divisor(ceil_div(p.group_out(), outputs));
  a.groups_by = tensor::Divisor(p.groups);
  a.by_tap = goes_by_tap(p, positions);
  a.row_taps_by = tensor::Divisor(a.by_tap ? p.kernel_size : 1);
  a.taps = a.by_tap ? 1 : static_cast<int>(p.kernel_size);
  a.rows = static_cast<int>(a.by_tap ? p.reduction() : p.group_in());
  a.pitch = static_cast<int>(few_row_floats((a.taps - 1) * (a.by_tap ? 1 : p.dilation), positions));
  a.row_weights = a.by_tap ? outputs : static_cast<int>(round_up(p.kernel_size * outputs, 4));
  a.chunk_weights = static_cast<int>(round_up(int64_t{a.rows} * a.row_weights, 4));
  const int64_t unit = a.by_tap ? 4 : 1;
  const int64_t most = std::max<int64_t>(kStageFloats / (a.pitch + a.row_weights) / unit, 1) * unit;
  a.stage_rows = static_cast<int>(round_up(ceil_div(a.rows, ceil_div(a.rows, most)), unit));
  return a;
}

// [C_out, C_in / groups, K] -> [groups, chunks, rows, taps, Outputs], zeros around.
Conv1dWeights pack(const FewOutputs& a, int outputs, const PrepareArgs& args) {
  const Conv1dProblem& p = a.p;
  const std::span<const float> weight = args.weights.host("weight");
  const int64_t chunks = a.chunks_by.value;
  const int64_t count = checked_mul(p.groups * chunks, a.chunk_weights);
  const auto fill = [&](std::byte* bytes) {
    auto* target = reinterpret_cast<float*>(bytes);
    std::fill_n(target, count, 0.0F);
    for (int64_t channel = 0; channel < p.out_channels; ++channel) {
      const int64_t o = channel % p.group_out();
      float* from = target + (channel / p.group_out() * chunks + o / outputs) * a.chunk_weights + o % outputs;
      for (int64_t r = 0; r < p.reduction(); ++r) {
        from[r / a.taps * a.row_weights + r % a.taps * outputs] =
            weight[static_cast<size_t>(channel * p.reduction() + r)];
      }
    }
  };
  const std::string key = "weight.few_outputs" + std::to_string(a.taps) + "x" + std::to_string(outputs);
  return {args.weights.pack(key, checked_mul(count, sizeof(float)), fill), p, args};
}

using KernelFunction = void (*)(FewOutputs, const float*, const float*, Conv1dStore, float*);

template <int Outputs>
KernelFunction kernel_for(const FewOutputs& a) {
  const bool plain = a.p.epilogue.none();
  if constexpr (Outputs == 1) {
    if (positions_a_thread(a.p, a.out_length) > kFewPositions) {
      if (a.taps <= 4)
        return plain ? few_outputs_kernel<1, 4, true, kManyPositions> : few_outputs_kernel<1, 4, false, kManyPositions>;
      return plain ? few_outputs_kernel<1, 8, true, kManyPositions> : few_outputs_kernel<1, 8, false, kManyPositions>;
    }
  }
  if (a.taps == 1 || a.p.dilation != 1) {
    return plain ? few_outputs_kernel<Outputs, 1, true> : few_outputs_kernel<Outputs, 1, false>;
  }
  if (a.taps <= 4) return plain ? few_outputs_kernel<Outputs, 4, true> : few_outputs_kernel<Outputs, 4, false>;
  return plain ? few_outputs_kernel<Outputs, 8, true> : few_outputs_kernel<Outputs, 8, false>;
}

template <int Outputs>
std::unique_ptr<Kernel> few_outputs(const Conv1dProblem& p, const PrepareArgs& args) {
  const int64_t out_length = args.outputs[0].shape[2];
  const FewOutputs a = plan(p, out_length);
  const int threads = threads_of(p, out_length);
  const int64_t halves = a.stage_rows < a.rows ? 2 : 1;
  const int64_t staged = halves * a.stage_rows * (a.pitch + a.row_weights) + kSlackFloats;
  const int positions = positions_a_thread(p, out_length);
  const bool stages_sums = !p.epilogue.none() || positions > kFewPositions;
  const int64_t sums = stages_sums ? int64_t{Outputs} * threads * positions : 0;
  const auto bytes = static_cast<size_t>(std::max(staged, sums)) * sizeof(float);
  const auto blocks = static_cast<unsigned>(conv1d_few_outputs_blocks(p, out_length));
  return function_kernel([a, threads, bytes, blocks, kernel = kernel_for<Outputs>(a), weights = pack(a, Outputs, args)](
                             const Context& context, const Bindings& bindings) {
    if (blocks == 0) return;
    kernel<<<blocks, static_cast<unsigned>(threads), bytes, cuda::stream(context)>>>(
        a, bindings.inputs[0].ptr<const float>(), weights.data(), weights.store(bindings),
        bindings.outputs[0].ptr<float>());
    cuda::check_launch("conv1d cuda.few_channels, few outputs");
  });
}

}  // namespace

int64_t conv1d_few_outputs_blocks(const Conv1dProblem& problem, int64_t out_length) {
  const int64_t rows =
      checked_mul(checked_mul(problem.batch, problem.groups), ceil_div(problem.group_out(), outputs_at_once(problem)));
  const int64_t positions = int64_t{threads_of(problem, out_length)} * positions_a_thread(problem, out_length);
  return checked_mul(rows, ceil_div(out_length, positions));
}

std::unique_ptr<Kernel> conv1d_few_outputs_kernel(const Conv1dProblem& problem, const PrepareArgs& args) {
  switch (outputs_at_once(problem)) {
    case 1:
      return few_outputs<1>(problem, args);
    case 2:
      return few_outputs<2>(problem, args);
    case 4:
      return few_outputs<4>(problem, args);
    case 8:
      return few_outputs<8>(problem, args);
    default:
      return few_outputs<16>(problem, args);
  }
}

}  // namespace strand::layers
