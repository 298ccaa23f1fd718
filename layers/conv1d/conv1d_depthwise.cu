// cuda.depthwise: Conv1d whose every output channel sees one input channel (groups = in_channels, with a multiplier).
//
// Problem      y[n, o, t] = bias[o] + sum over k of w[o, k] * x[n, o / multiplier, t * stride + k * dilation -
//              pad_left]
// Mapping      by rows: a warp makes kOutputs * 32 neighbouring outputs of one row, a thread every 32nd of them, so
//              that loads and stores of a warp are contiguous, and are independent of each other.
//              by elements, where rows would leave warps or the device empty: a thread an output, whatever its row,
//              which skips taps in padded zeros (where all weights are finite) and has the loads of several taps under
//              way.
// Memory       bound by bytes: taps meet the same cache lines again in L1, however far apart, as long as a block's
//              window stays there. No shared memory.
// Halves       x and y may be stored as float16 or bfloat16; x's type is the kernel's, y's a branch.
// Limits       up to 2^31 - 1 blocks, and so many positions in a padded row.
// Beats        cuda.direct, which spends its time on addresses: here a whole row shares them, and a warp inside the
//              input asks nothing of each position.

#include <algorithm>
#include <cmath>

#include "layers/conv1d/conv1d_depthwise.cuh"

namespace strand::layers {
namespace {

constexpr int kThreads = kDepthwiseThreads;
constexpr int kOutputs = kDepthwiseOutputs;
constexpr int kWarpTile = kDepthwiseTile;
constexpr int kTile = kThreads * kOutputs;

// A thread's outputs from element `first` of y on.
template <class Y>
__device__ void store_outputs(void* y, int64_t first, const float (&sum)[kOutputs]) {
  Y* to = static_cast<Y*>(y) + first;
#pragma unroll
  for (int i = 0; i < kOutputs; ++i) to[i * 32] = to_stored<Y>(sum[i]);
}

// A tap of a thread's outputs, which begin at these positions.
template <bool Zeros, class X>
__device__ __forceinline__ void add_tap(const Depthwise& a, const X* row, const int (&at)[kOutputs], int tap,
                                        float factor, float (&sum)[kOutputs]) {
#pragma unroll
  for (int i = 0; i < kOutputs; ++i) sum[i] = fmaf(factor, padded_stored<Zeros>(a, row, at[i] + tap), sum[i]);
}

// `Taps` 0: as many as the problem has. `X`: what x is stored as.
template <class X, int Taps, bool Plain>
__global__ void __launch_bounds__(kThreads)
    depthwise_kernel(const __grid_constant__ Depthwise a, const X* __restrict__ x, const float* __restrict__ weight,
                     Conv1dStore store, void* __restrict__ y) {
  store.plain = Plain;
  const uint32_t row = a.tiles_by.divide(blockIdx.x);
  const uint32_t tile = blockIdx.x - row * a.tiles_by.value;
  const uint32_t n = a.channels_by.divide(row);
  const uint32_t o = row - n * a.channels_by.value;
  const int taps = Taps > 0 ? Taps : static_cast<int>(a.p.kernel_size);
  const float* w = weight + int64_t{o} * taps;
  const X* source = x + (n * a.p.in_channels + a.multiplier_by.divide(o)) * a.p.length;
  const int64_t target = int64_t{row} * a.out_length;
  const int64_t begin = int64_t{tile} * kTile + threadIdx.x / 32 * kWarpTile;  // the warp's outputs
  if (begin >= a.out_length) return;
  const int64_t t0 = begin + threadIdx.x % 32;
  const int64_t first = begin * a.p.stride - a.p.pad_left;
  const int64_t last = first + (kWarpTile - 1) * a.p.stride + (taps - 1) * a.p.dilation;
  const auto finish = store.at<true>(n, o);

  if (first >= 0 && last < a.p.length && begin + kWarpTile <= a.out_length) {
    float sum[kOutputs] = {};
    const X* from = source + first + threadIdx.x % 32 * a.p.stride;
    const int64_t step = 32 * a.p.stride;
#pragma unroll
    for (int k = 0; k < taps; ++k, from += a.p.dilation) {
      const float factor = w[k];
#pragma unroll
      for (int i = 0; i < kOutputs; ++i) sum[i] = fmaf(factor, stored_value(from[i * step]), sum[i]);
    }
    finish(sum, t0, 32, a.out_length);
    if (a.y_type == DType::kFloat16) {
      store_outputs<__half>(y, target + t0, sum);
    } else if (a.y_type == DType::kBFloat16) {
      store_outputs<__nv_bfloat16>(y, target + t0, sum);
    } else {
      store_outputs<float>(y, target + t0, sum);
    }
    return;
  }
  // Outputs past the row's end have the last one's position, and are not stored.
  float sum[kOutputs] = {};
  int at[kOutputs];
#pragma unroll
  for (int i = 0; i < kOutputs; ++i) {
    at[i] = static_cast<int>(min(t0 + i * 32, a.out_length - 1) * a.p.stride - a.p.pad_left);
  }
  const auto dilation = static_cast<int>(a.p.dilation);
  if (a.zeros) {
#pragma unroll 2
    for (int k = 0; k < taps; ++k) add_tap<true>(a, source, at, k * dilation, w[k], sum);
  } else {
#pragma unroll 1
    for (int k = 0; k < taps; ++k) add_tap<false>(a, source, at, k * dilation, w[k], sum);
  }
  finish(sum, t0, 32, a.out_length);
#pragma unroll
  for (int i = 0; i < kOutputs; ++i) {
    if (t0 + i * 32 < a.out_length) store_value(y, a.y_type, target + t0 + i * 32, sum[i]);
  }
}

// The taps [first, end) of one output, which begins at position `start`; loads of `Batch` of them are under way at
// once.
template <bool Zeros, int Batch, class X>
__device__ __forceinline__ float sum_taps(const Depthwise& a, const X* row, const float* w, int start, int first,
                                          int end) {
  const auto dilation = static_cast<int>(a.p.dilation);
  float sum = 0;
  for (int k = first; k < end; k += Batch) {
    float factors[Batch];
    float values[Batch];
#pragma unroll
    for (int i = 0; i < Batch; ++i) {
      const bool there = k + i < end;
      factors[i] = there ? w[k + i] : 0.0F;
      values[i] = there ? padded_stored<Zeros>(a, row, start + (k + i) * dilation) : 0.0F;
    }
#pragma unroll
    for (int i = 0; i < Batch; ++i) sum = fmaf(factors[i], values[i], sum);
  }
  return sum;
}

template <class X, int Batch, bool Plain>
__global__ void __launch_bounds__(kThreads)
    depthwise_elements(const __grid_constant__ Depthwise a, const X* __restrict__ x, const float* __restrict__ weight,
                       Conv1dStore store, void* __restrict__ y) {
  store.plain = Plain;
  const uint32_t element = blockIdx.x * kThreads + threadIdx.x;
  const uint32_t row = a.length_by.divide(element);
  const uint32_t n = a.channels_by.divide(row);
  if (n >= a.p.batch) return;
  const uint32_t o = row - n * a.channels_by.value;
  const auto t = static_cast<int>(element - row * a.length_by.value);
  const auto taps = static_cast<int>(a.p.kernel_size);
  const auto dilation = static_cast<int>(a.p.dilation);
  const int start = t * static_cast<int>(a.p.stride) - static_cast<int>(a.p.pad_left);
  int first = 0;
  int end = taps;
  if (a.zeros && a.finite) {
    if (start < 0) {
      first = static_cast<int>((static_cast<uint32_t>(dilation - 1) - static_cast<uint32_t>(start)) /
                               static_cast<uint32_t>(dilation));
    }
    if (start + (taps - 1) * dilation >= a.length) end = start < a.length ? (a.length - 1 - start) / dilation + 1 : 0;
  }
  const float* w = weight + int64_t{o} * taps;
  const X* source = x + (n * a.p.in_channels + a.multiplier_by.divide(o)) * a.p.length;
  const float sum = a.zeros ? sum_taps<true, Batch>(a, source, w, start, first, end)
                            : sum_taps<false, Batch>(a, source, w, start, first, end);
  store_value(y, a.y_type, element, store.at<true>(n, o)(sum, t));
}

template <class X, bool Plain>
void launch(unsigned blocks, cudaStream_t stream, const Depthwise& a, const void* x, const float* weight,
            const Conv1dStore& store, void* y) {
  const auto start = [&](auto* kernel) {
    kernel<<<blocks, kThreads, 0, stream>>>(a, static_cast<const X*>(x), weight, store, y);
  };
  if (a.way == DepthwiseWay::kElements) {
    return a.p.kernel_size <= 4 ? start(depthwise_elements<X, 4, Plain>) : start(depthwise_elements<X, 8, Plain>);
  }
  switch (a.p.kernel_size) {
    case 3:
      return start(depthwise_kernel<X, 3, Plain>);
    case 5:
      return start(depthwise_kernel<X, 5, Plain>);
    case 7:
      return start(depthwise_kernel<X, 7, Plain>);
    default:
      return start(depthwise_kernel<X, 0, Plain>);
  }
}

template <class X>
DepthwiseLaunch launch_for(bool plain) {
  return plain ? launch<X, true> : launch<X, false>;
}

DepthwiseLaunch launch_for(const Depthwise& a, bool plain) {
  if (a.way == DepthwiseWay::kWindows) return depthwise_windows_launch(a.x_type, plain);
  if (a.x_type == DType::kFloat16) return launch_for<__half>(plain);
  return a.x_type == DType::kBFloat16 ? launch_for<__nv_bfloat16>(plain) : launch_for<float>(plain);
}

// A block's outputs are a row's, a warp's a row's, or any.
int64_t block_count(const Depthwise& a) {
  const int64_t rows = checked_mul(a.p.batch, a.p.out_channels);
  switch (a.way) {
    case DepthwiseWay::kElements:
      return ceil_div(checked_mul(rows, a.out_length), int64_t{kThreads});
    case DepthwiseWay::kWindows:
      return ceil_div(checked_mul(rows, a.tiles_by.value), int64_t{kWindowWarps});
    default:
      return checked_mul(rows, a.tiles_by.value);
  }
}

std::string why_not(const Conv1dProblem& p, int64_t out_length) {
  if (p.group_in() != 1) return "a group has " + std::to_string(p.group_in()) + " input channels, not one";
  if (p.groups == 1) return "one input channel is no depthwise convolution";
  if (p.kernel_size > INT32_MAX) return "kernel_size above 2^31 - 1";
  if (std::max(p.length, out_length) + p.pad_left + p.pad_right > INT32_MAX - kTile) return "a row of 2^31 positions";
  const int64_t rows = checked_mul(p.batch, p.out_channels);
  if (checked_mul(rows, ceil_div(out_length, kTile)) > kMaxBlocks) return "more than 2^31 - 1 blocks";
  return "";
}

}  // namespace

Implementation conv1d_depthwise(const Conv1dProblem& problem, const PrepareArgs& args) {
  const int64_t out_length = args.outputs[0].shape[2];
  Implementation result{"cuda.depthwise", DeviceType::kCuda, conv1d_cuda_declines(problem, args, false, true), {}};
  if (result.declined.empty()) result.declined = why_not(problem, out_length);
  result.prepare = [problem, out_length, &args]() -> std::unique_ptr<Kernel> {
    const Conv1dWeights weights = plain_weights(problem, args);
    Depthwise a{.p = problem,
                .out_length = out_length,
                .way = depthwise_way(problem, out_length, conv1d_multiprocessors(args.device)),
                .windows = {},
                .tiles_by = tensor::Divisor(ceil_div(out_length, kTile)),
                .channels_by = tensor::Divisor(problem.out_channels),
                .multiplier_by = tensor::Divisor(problem.group_out()),
                .length_by = tensor::Divisor(std::max<int64_t>(out_length, 1)),
                .dilation_by = tensor::Divisor(problem.dilation),
                .length = static_cast<int>(problem.length),
                .zeros = problem.unpadded() || problem.padding_mode == PaddingMode::kZeros,
                .finite = std::ranges::all_of(args.weights.host("weight"), [](float w) { return std::isfinite(w); }),
                .x_type = args.inputs[0].dtype,
                .y_type = args.outputs[0].dtype};
    if (a.way == DepthwiseWay::kWindows && depthwise_windows(problem, a.windows)) {
      a.tiles_by = tensor::Divisor(ceil_div(out_length, int64_t{a.windows.outputs}));
    }
    const auto blocks = static_cast<unsigned>(block_count(a));
    const DepthwiseLaunch start = launch_for(a, problem.epilogue.none());
    return function_kernel([weights, a, blocks, start](const Context& context, const Bindings& bindings) {
      if (blocks == 0) return;
      start(blocks, cuda::stream(context), a, bindings.inputs[0].data, weights.data(), weights.store(bindings),
            bindings.outputs[0].data);
      cuda::check_launch("conv1d cuda.depthwise");
    });
  };
  return result;
}

}  // namespace strand::layers
