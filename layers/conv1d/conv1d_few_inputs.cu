// cuda.few_channels where a sum has up to 12 products (encodec_in 1 -> 32, k7; w2v2_fe0 1 -> 512, k10 s5): the input is
// held in registers while the outputs go by.
//
// Problem: y[n, o, t] of a reduction so short that writing y is what takes time.
// Mapping: a block is up to 1024 neighbouring positions of one group and batch element, and up to 64 of its outputs; a
//   thread reads the (channel, tap) values of its four positions once, whatever stride, dilation and padding, and walks
//   down the outputs. Tiles of a row ride grid.x fastest, so that what is written at a time lies side by side.
// Shared memory: the weights, [output][reduction up to a multiple of 4], read as broadcasts of 16 bytes.
// Stores: 16 bytes a lane, aligned, in rows of any alignment, and whole sectors (conv1d_few.cuh).
// Predicted (H200, 1.75 GHz, a warp instruction a cycle a quarter): for four outputs a thread issues 4 R multiply-adds,
//   R / 4 loads of weights and some 12 more with R the reduction up to a multiple of 4. encodec_in (R 8): 46, so 61
//   million a warp, 0.07 ms, under the 0.256 ms of its bytes; w2v2_fe0 (R 12): 63 and up to 10 for rows that are not
//   aligned, 150 million, 0.16 ms, under 0.267. Both should be bound by bytes: 0.28 and 0.31 ms.
// Limits: reductions up to 12 (16 spill registers), any of the rest.
// It beats cuda.direct, which brings each operand of each tap to shared memory first, and stores by 4 bytes.

#include <algorithm>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_few.cuh"
#include "layers/conv1d/conv1d_tensor.h"

namespace strand::layers {
namespace {

constexpr int kThreads = 256;
constexpr int kOutputs = 64;   // a block
constexpr int kMostTwice = 8;  // products of a sum, for some of them to be computed by two warps

struct FewInputs {
  Conv1dProblem p;
  int64_t out_length;
  int stored;                 // of a warp's 128 positions: see store_sectors
  tensor::Divisor tiles_by;   // of a row
  tensor::Divisor chunks_by;  // of a group's outputs
  tensor::Divisor groups_by;
};

// What a thread's four positions from t on multiply: value r is (channel, tap) r of the reduction; zeros past its end,
// as the weights there. Positions past the row's end repeat its last.
template <int Reduction, bool Inside>
__device__ __forceinline__ void hold_inputs(const FewInputs& a, const float* x, int64_t t,
                                            float (&held)[Reduction][kFewPositions]) {
  const Conv1dProblem& p = a.p;
  int64_t positions[kFewPositions];
#pragma unroll
  for (int j = 0; j < kFewPositions; ++j) positions[j] = min(t + j, a.out_length - 1) * p.stride - p.pad_left;
  const auto products = static_cast<int>(p.reduction());
  const float* row = x;
  int64_t offset = 0;
  int tap = 0;
#pragma unroll
  for (int r = 0; r < Reduction; ++r) {
#pragma unroll
    for (int j = 0; j < kFewPositions; ++j) {
      const int64_t at = positions[j] + offset;
      held[r][j] = 0;
      if (r < products) held[r][j] = Inside ? __ldg(row + at) : padded_value(row, at, p.length, p.padding_mode);
    }
    offset += p.dilation;
    if (++tap == p.kernel_size) {
      tap = 0;
      offset = 0;
      row += p.length;
    }
  }
}

template <int Reduction, bool Plain>
__global__ void __launch_bounds__(kThreads, Reduction <= 8 ? 3 : 2)
    few_inputs_kernel(const __grid_constant__ FewInputs a, const float* __restrict__ x,
                      const float* __restrict__ weight, Conv1dStore store, float* __restrict__ y) {
  store.plain = Plain;
  __shared__ float4 weights[kOutputs * Reduction / 4];
  const Conv1dProblem& p = a.p;
  const uint32_t above_tile = a.tiles_by.divide(blockIdx.x);
  const uint32_t above_chunk = a.chunks_by.divide(above_tile);
  const uint32_t n = a.groups_by.divide(above_chunk);
  const uint32_t group = above_chunk - n * a.groups_by.value;
  const int64_t tile = blockIdx.x - above_tile * a.tiles_by.value;
  const int64_t first_output = int64_t{above_tile - above_chunk * a.chunks_by.value} * kOutputs;
  const int64_t channel = group * p.group_out() + first_output;
  const auto outputs = static_cast<int>(min(p.group_out() - first_output, int64_t{kOutputs}));
  const float4* source = reinterpret_cast<const float4*>(weight) + channel * (Reduction / 4);
  for (int i = threadIdx.x; i < outputs * Reduction / 4; i += blockDim.x) weights[i] = source[i];

  const int64_t positions = int64_t{blockDim.x / 32} * a.stored;
  const int64_t end = (tile + 1) * positions + kWarpOutputs - a.stored;  // of what the block computes
  const int64_t warp_t = tile * positions + threadIdx.x / 32 * a.stored;
  const int64_t t = warp_t + threadIdx.x % 32 * kFewPositions;
  const int64_t first = tile * positions * p.stride - p.pad_left;
  const int64_t last = (end - 1) * p.stride - p.pad_left + (p.kernel_size - 1) * p.dilation;
  const float* rows = x + (int64_t{n} * p.in_channels + group * p.group_in()) * p.length;
  float held[Reduction][kFewPositions];
  if (first >= 0 && last < p.length && end <= a.out_length) {
    hold_inputs<Reduction, true>(a, rows, t, held);
  } else {
    hold_inputs<Reduction, false>(a, rows, t, held);
  }
  __syncthreads();
  float* target = y + (int64_t{n} * p.out_channels + channel) * a.out_length + t;
#pragma unroll 1
  for (int o = 0; o < outputs; ++o, target += a.out_length) {
    float sums[kFewPositions] = {};
#pragma unroll
    for (int r = 0; r < Reduction; r += 4) {
      const float4 four = weights[(o * Reduction + r) / 4];
      const float w[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < kFewPositions; ++j) sums[j] = fmaf(w[i], held[r + i][j], sums[j]);
      }
    }
    store.at(n, channel + o)(sums, t, 1, a.out_length);
    if (Reduction > kMostTwice || a.stored == kWarpOutputs) {
      store_four(target, sums, a.out_length - t);
    } else {
      store_sectors(target, sums, a.out_length - t, warp_t == 0);
    }
  }
}

// [C_out, reduction] -> [C_out, Reduction], zeros at the ends.
template <int Reduction>
Conv1dWeights pack(const Conv1dProblem& p, const PrepareArgs& args) {
  const std::span<const float> weight = args.weights.host("weight");
  const int64_t count = checked_mul(p.out_channels, Reduction);
  const auto fill = [&](std::byte* bytes) {
    auto* target = reinterpret_cast<float*>(bytes);
    std::fill_n(target, count, 0.0F);
    for (int64_t o = 0; o < p.out_channels; ++o) {
      std::copy_n(weight.data() + o * p.reduction(), p.reduction(), target + o * Reduction);
    }
  };
  return {args.weights.pack("weight.few_inputs", checked_mul(count, sizeof(float)), fill), p, args};
}

int threads_of(int64_t out_length) {
  return static_cast<int>(std::min<int64_t>(kThreads, round_up(ceil_div(out_length, kFewPositions), 32)));
}

// Short rows have too many ends, long sums too much to do twice.
int stored_of(const Conv1dProblem& p, int64_t out_length) {
  constexpr int64_t kMinLength = 2048;
  const bool shares = out_length % kSectorFloats != 0;
  return shares && out_length >= kMinLength && p.reduction() <= kMostTwice ? kWarpOutputs - kSectorFloats
                                                                           : kWarpOutputs;
}

// Of a row. The last warp with outputs stores all of its 128.
int64_t tiles_of(const Conv1dProblem& p, int64_t out_length) {
  const int stored = stored_of(p, out_length);
  const int64_t positions = int64_t{threads_of(out_length) / 32} * stored;
  return ceil_div(out_length - (kWarpOutputs - stored), positions);
}

template <int Reduction>
std::unique_ptr<Kernel> few_inputs(const Conv1dProblem& p, const PrepareArgs& args) {
  const int64_t out_length = args.outputs[0].shape[2];
  const auto threads = static_cast<unsigned>(threads_of(out_length));
  const FewInputs a{p,
                    out_length,
                    stored_of(p, out_length),
                    tensor::Divisor(std::max<int64_t>(tiles_of(p, out_length), 1)),
                    tensor::Divisor(ceil_div(p.group_out(), kOutputs)),
                    tensor::Divisor(p.groups)};
  const auto blocks = static_cast<unsigned>(conv1d_few_inputs_blocks(p, out_length));
  const auto kernel = p.epilogue.none() ? few_inputs_kernel<Reduction, true> : few_inputs_kernel<Reduction, false>;
  return function_kernel([a, threads, blocks, kernel, weights = pack<Reduction>(p, args)](const Context& context,
                                                                                          const Bindings& bindings) {
    if (blocks == 0) return;
    kernel<<<blocks, threads, 0, cuda::stream(context)>>>(a, bindings.inputs[0].ptr<const float>(), weights.data(),
                                                          weights.store(bindings), bindings.outputs[0].ptr<float>());
    cuda::check_launch("conv1d cuda.few_channels, few inputs");
  });
}

}  // namespace

int64_t conv1d_few_inputs_blocks(const Conv1dProblem& problem, int64_t out_length) {
  const int64_t rows = checked_mul(checked_mul(problem.batch, problem.groups), ceil_div(problem.group_out(), kOutputs));
  return checked_mul(rows, tiles_of(problem, out_length));
}

std::unique_ptr<Kernel> conv1d_few_inputs_kernel(const Conv1dProblem& problem, const PrepareArgs& args) {
  if (problem.reduction() <= 4) return few_inputs<4>(problem, args);
  if (problem.reduction() <= 8) return few_inputs<8>(problem, args);
  return few_inputs<12>(problem, args);
}

}  // namespace strand::layers
