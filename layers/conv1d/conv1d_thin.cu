// cuda.direct where a group has up to 8 outputs: depthwise convolutions, and the last layer of a decoder (32 -> 1).
//
// Problem: reductions shared by so few outputs that bytes, not multiply-adds, decide.
// Mapping: a block is a tile of consecutive positions of one batch element and group; a thread has 4 positions, a
// block's
//   width apart, so that each load and store of a warp is consecutive, times all outputs of the group. Tiles ride
//   grid.x; past its limit a block takes several.
// Shared memory: none. A sample is read once a tap, but from the L1 cache, which a tile's taps share; a weight is read
// by
//   a whole warp at once, and serves 4 positions.
// Limits: 8 outputs a group. Any kernel size, stride, dilation and padding.
// It beats the tiled kernel, which needs 16 outputs to fill a tile, and gathers through shared memory for reuse that
// isn't there.

#include <algorithm>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_cuda.cuh"
#include "layers/conv1d/conv1d_direct_plan.h"

namespace strand::layers {
namespace {

struct Thin {
  Conv1dProblem problem;
  int64_t out_length = 0;
  int64_t row_tiles = 0;  // tiles of one batch element and group
};

// One channel's and tap's weights, aligned to their size or 16 bytes.
template <int Outputs>
__device__ void load_weights(const float* source, float (&weights)[Outputs]) {
  if constexpr (Outputs % 4 == 0) {
    for (int o = 0; o < Outputs; o += 4) {
      const float4 four = __ldg(reinterpret_cast<const float4*>(source + o));
      weights[o] = four.x;
      weights[o + 1] = four.y;
      weights[o + 2] = four.z;
      weights[o + 3] = four.w;
    }
  } else {
    for (int o = 0; o < Outputs; ++o) weights[o] = __ldg(source + o);
  }
}

// sums[o][j] += over channels and taps. With Inside, no position that is read is padding.
template <int Outputs, bool Inside>
__device__ void accumulate(const Conv1dProblem& p, const float* row, const int64_t (&positions)[kThinPositions],
                           const float* weight, float (&sums)[Outputs][kThinPositions]) {
  for (int64_t c = 0; c < p.group_in(); ++c, row += p.length) {
    int64_t tap = 0;
    // Loads of several taps in flight, where that leaves registers for enough warps.
#pragma unroll(Inside&& Outputs <= 2 ? 3 : 1)
    for (int64_t k = 0; k < p.kernel_size; ++k, tap += p.dilation, weight += Outputs) {
      float values[kThinPositions];
      for (int j = 0; j < kThinPositions; ++j) {
        const int64_t at = positions[j] + tap;
        values[j] = Inside ? __ldg(row + at) : padded_value(row, at, p.length, p.padding_mode);
      }
      float weights[Outputs];
      load_weights(weight, weights);
      for (int o = 0; o < Outputs; ++o) {
        for (int j = 0; j < kThinPositions; ++j) sums[o][j] = fmaf(weights[o], values[j], sums[o][j]);
      }
    }
  }
}

template <int Outputs, bool Plain>
__global__ void __launch_bounds__(kThinThreads)
    thin(Thin conv, const float* __restrict__ x, const float* __restrict__ weight, Conv1dStore store,
         float* __restrict__ y) {
  store.plain = Plain;
  const Conv1dProblem& p = conv.problem;
  const int64_t tiles = p.batch * p.groups * conv.row_tiles;
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int64_t row = tile / conv.row_tiles;  // batch element and group
    const int64_t group = row % p.groups;
    const int64_t first = tile % conv.row_tiles * blockDim.x * kThinPositions;
    const int64_t last = min(first + static_cast<int64_t>(blockDim.x) * kThinPositions, conv.out_length) - 1;
    const bool inside =
        first * p.stride >= p.pad_left && last * p.stride - p.pad_left + p.dilation * (p.kernel_size - 1) < p.length;
    int64_t positions[kThinPositions];
    for (int j = 0; j < kThinPositions; ++j) {
      // Threads past the end repeat the last position, and do not store it.
      positions[j] = min(first + j * static_cast<int>(blockDim.x) + threadIdx.x, last) * p.stride - p.pad_left;
    }
    float sums[Outputs][kThinPositions] = {};
    const float* input = x + row * p.group_in() * p.length;
    const float* taps = weight + group * p.reduction() * Outputs;
    if (inside) {
      accumulate<Outputs, true>(p, input, positions, taps, sums);
    } else {
      accumulate<Outputs, false>(p, input, positions, taps, sums);
    }
    const int outputs = static_cast<int>(p.group_out());
#pragma unroll
    for (int o = 0; o < Outputs; ++o) {
      if (o >= outputs) break;
      float* target = y + (row * outputs + o) * conv.out_length;
      const auto step = static_cast<int>(blockDim.x);
      store.at(row / p.groups, group * outputs + o)(sums[o], first + threadIdx.x, step, last + 1);
      for (int j = 0; j < kThinPositions; ++j) {
        const int64_t t = first + j * step + threadIdx.x;
        if (t <= last) target[t] = sums[o][j];
      }
    }
  }
}

// [C_out, C_in / groups, K] -> [groups, C_in / groups, K, Outputs], zeros in outputs that are not there.
template <int Outputs>
Conv1dWeights pack(const Conv1dProblem& p, const PrepareArgs& args) {
  const std::span<const float> weight = args.weights.host("weight");
  const int64_t count = checked_mul(checked_mul(p.groups, p.reduction()), Outputs);
  const auto fill = [&](std::byte* bytes) {
    auto* target = reinterpret_cast<float*>(bytes);
    for (int64_t group = 0; group < p.groups; ++group) {
      for (int64_t i = 0; i < p.reduction(); ++i) {
        for (int64_t o = 0; o < Outputs; ++o) {
          const int64_t at = (group * p.group_out() + o) * p.reduction() + i;
          *target++ = o < p.group_out() ? weight[static_cast<size_t>(at)] : 0.0F;
        }
      }
    }
  };
  return {args.weights.pack("weight.thin" + std::to_string(Outputs), checked_mul(count, sizeof(float)), fill), p, args};
}

template <int Outputs>
std::unique_ptr<Kernel> thin_kernel(const Conv1dProblem& problem, const PrepareArgs& args) {
  Thin conv{problem, args.outputs[0].shape[2], 0};
  const int64_t threads = thin_threads(problem, conv.out_length, conv1d_multiprocessors(args.device));
  conv.row_tiles = ceil_div(conv.out_length, threads * kThinPositions);
  const int64_t tiles = problem.batch * problem.groups * conv.row_tiles;
  return function_kernel(
      [conv, tiles, threads, weights = pack<Outputs>(problem, args)](const Context& context, const Bindings& bindings) {
        if (tiles == 0) return;
        const auto blocks = static_cast<unsigned>(std::min(kMaxBlocks, tiles));
        (conv.problem.epilogue.none()
             ? thin<Outputs, true>
             : thin<Outputs, false>)<<<blocks, static_cast<unsigned>(threads), 0, cuda::stream(context)>>>(
            conv, bindings.inputs[0].ptr<const float>(), weights.data(), weights.store(bindings),
            bindings.outputs[0].ptr<float>());
        cuda::check_launch("conv1d cuda.direct, thin");
      });
}

}  // namespace

std::unique_ptr<Kernel> conv1d_thin_kernel(const Conv1dProblem& problem, const PrepareArgs& args) {
  if (problem.group_out() == 1) return thin_kernel<1>(problem, args);
  if (problem.group_out() == 2) return thin_kernel<2>(problem, args);
  if (problem.group_out() <= 4) return thin_kernel<4>(problem, args);
  return thin_kernel<8>(problem, args);
}

}  // namespace strand::layers
