// cuda.depthwise by windows: a stride of 1, and kernels so long that a load for each tap and output takes the time.
//
// Problem      as in conv1d_depthwise.cu.
// Mapping      a warp up to 128 neighbouring outputs of one row; a lane four of them that lie the dilation apart, so
//              that what a tap of one reads the tap before reads for the next: four values, read at once from shared
//              memory, serve sixteen multiply-adds. Taps are added in their order, as by rows.
// Memory       a warp's own piece of shared memory, so that warps do not wait for each other: the input of its outputs,
//              by residue modulo the dilation, and the taps of its channel. At the end the sums take the input's place,
//              from which neighbouring lanes store neighbours.
// Limits       dilations up to 32, and what a block's 48 KB hold.

#include "layers/conv1d/conv1d_depthwise.cuh"

namespace strand::layers {
namespace {

constexpr int kBatch = 8;  // of a lane's loads under way at once

// The warp's input, which get(index) reads, to put(index, value): 32 at a time, so that the last ones may be past it.
template <class Get, class Put>
__device__ __forceinline__ void load_input(int positions, int lane, Get&& get, Put&& put) {
  for (int base = 0; base < positions; base += 32 * kBatch) {
    float values[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (base + i * 32 < positions) values[i] = get(base + i * 32 + lane);
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (base + i * 32 < positions) put(base + i * 32 + lane, values[i]);
    }
  }
}

// Adds the taps [k, k + Taps) of four outputs. `now`: what tap k reads of them, `next`: the four values after these.
template <int Taps>
__device__ __forceinline__ void add_taps(float4 now, float4 next, float4 taps, float (&sums)[kWindowOutputs]) {
  const float values[] = {now.x, now.y, now.z, now.w, next.x, next.y, next.z};
  const float factors[] = {taps.x, taps.y, taps.z, taps.w};
#pragma unroll
  for (int k = 0; k < Taps; ++k) {
#pragma unroll
    for (int i = 0; i < kWindowOutputs; ++i) sums[i] = fmaf(factors[k], values[i + k], sums[i]);
  }
}

__device__ __forceinline__ float4 load_four(const float* values) { return *reinterpret_cast<const float4*>(values); }

// `window`: what the first tap reads of the first output.
__device__ __forceinline__ void sum_windows(const float* window, const float* taps, int count,
                                            float (&sums)[kWindowOutputs]) {
  float4 now = load_four(window);
  int k = 0;
#pragma unroll 2
  for (; k + 4 <= count; k += 4) {
    const float4 next = load_four(window + k + 4);
    add_taps<4>(now, next, load_four(taps + k), sums);
    now = next;
  }
  // No tap past the last: its zero, times an Inf, would be no zero.
  if (k == count) return;
  const float4 next = load_four(window + k + 4);
  const float4 last = load_four(taps + k);
  if (count - k == 1) return add_taps<1>(now, next, last, sums);
  if (count - k == 2) return add_taps<2>(now, next, last, sums);
  add_taps<3>(now, next, last, sums);
}

// The first `count` of a warp's outputs, of which a lane has every 32nd.
template <class Y>
__device__ __forceinline__ void store_outputs(void* y, int64_t first, int lane, int count,
                                              const float (&outputs)[kWindowOutputs]) {
  Y* to = static_cast<Y*>(y) + first + lane;
#pragma unroll
  for (int i = 0; i < kWindowOutputs; ++i) {
    if (lane + i * 32 < count) to[i * 32] = to_stored<Y>(outputs[i]);
  }
}

// `Dilated`: else there is one residue.
template <class X, bool Dilated, bool Plain>
__global__ void __launch_bounds__(kDepthwiseThreads)
    windows_kernel(const __grid_constant__ Depthwise a, const X* __restrict__ x, const float* __restrict__ weight,
                   Conv1dStore store, void* __restrict__ y) {
  store.plain = Plain;
  extern __shared__ __align__(16) float memory[];
  const uint32_t warp = blockIdx.x * kWindowWarps + threadIdx.x / 32;
  const uint32_t row = a.tiles_by.divide(warp);
  const uint32_t n = a.channels_by.divide(row);
  if (n >= a.p.batch) return;
  const uint32_t o = row - n * a.channels_by.value;
  const auto lane = static_cast<int>(threadIdx.x % 32);
  const int positions = a.windows.positions;
  const int begin = static_cast<int>(warp - row * a.tiles_by.value) * a.windows.outputs;
  float* input = memory + threadIdx.x / 32 * (a.windows.input_floats + a.windows.tap_floats);
  float* taps = input + a.windows.input_floats;

  const auto count = static_cast<int>(a.p.kernel_size);
  const float* w = weight + int64_t{o} * count;
  for (int k = lane; k < count; k += 32) taps[k] = w[k];
  const auto dilation = static_cast<int>(a.dilation_by.value);
  const auto put = [&](int index, float value) {
    if constexpr (Dilated) {
      const auto at = static_cast<int>(a.dilation_by.divide(static_cast<uint32_t>(index)));
      if (index < positions) input[(index - at * dilation) * a.windows.pitch + at] = value;
    } else {
      input[index] = value;
    }
  };
  const X* source = x + (n * a.p.in_channels + a.multiplier_by.divide(o)) * a.p.length;
  const int first = begin - static_cast<int>(a.p.pad_left);
  if (first >= 0 && first + positions + 32 <= a.length) {
    const X* from = source + first;
    load_input(
        positions, lane, [&](int index) { return stored_value(from[index]); }, put);
  } else if (a.zeros) {
    load_input(
        positions, lane, [&](int index) { return padded_stored<true>(a, source, first + index); }, put);
  } else {
    const int last = a.length + static_cast<int>(a.p.pad_right) - 1;  // there is nothing past the padding
    load_input(
        positions, lane, [&](int index) { return padded_stored<false>(a, source, min(first + index, last)); }, put);
  }
  __syncwarp();

  const int group = Dilated ? static_cast<int>(a.dilation_by.divide(static_cast<uint32_t>(lane))) : lane;
  const int residue = Dilated ? lane - group * dilation : 0;
  const bool busy = !Dilated || group < a.windows.groups;
  float sums[kWindowOutputs] = {};
  if (busy) sum_windows(input + residue * a.windows.pitch + group * kWindowOutputs, taps, count, sums);
  __syncwarp();  // all inputs are read
  if constexpr (Dilated) {
#pragma unroll
    for (int i = 0; i < kWindowOutputs; ++i) {
      if (busy) input[(group * kWindowOutputs + i) * dilation + residue] = sums[i];
    }
  } else {
    *reinterpret_cast<float4*>(input + lane * kWindowOutputs) = {sums[0], sums[1], sums[2], sums[3]};
  }
  __syncwarp();

  float outputs[kWindowOutputs];
#pragma unroll
  for (int i = 0; i < kWindowOutputs; ++i) outputs[i] = input[lane + i * 32];
  store.at<true>(n, o)(outputs, begin + lane, 32, a.out_length);
  const int64_t target = int64_t{row} * a.out_length + begin;
  const auto stored = static_cast<int>(min(int64_t{a.windows.outputs}, a.out_length - begin));
  if (a.y_type == DType::kFloat16) {
    store_outputs<__half>(y, target, lane, stored, outputs);
  } else if (a.y_type == DType::kBFloat16) {
    store_outputs<__nv_bfloat16>(y, target, lane, stored, outputs);
  } else {
    store_outputs<float>(y, target, lane, stored, outputs);
  }
}

template <class X, bool Plain>
void launch(unsigned blocks, cudaStream_t stream, const Depthwise& a, const void* x, const float* weight,
            const Conv1dStore& store, void* y) {
  const auto start = [&](auto* kernel) {
    kernel<<<blocks, kDepthwiseThreads, static_cast<size_t>(a.windows.block_bytes()), stream>>>(
        a, static_cast<const X*>(x), weight, store, y);
  };
  start(a.p.dilation > 1 ? windows_kernel<X, true, Plain> : windows_kernel<X, false, Plain>);
}

template <class X>
DepthwiseLaunch launch_for(bool plain) {
  return plain ? launch<X, true> : launch<X, false>;
}

}  // namespace

DepthwiseLaunch depthwise_windows_launch(DType x, bool plain) {
  if (x == DType::kFloat16) return launch_for<__half>(plain);
  return x == DType::kBFloat16 ? launch_for<__nv_bfloat16>(plain) : launch_for<float>(plain);
}

}  // namespace strand::layers
