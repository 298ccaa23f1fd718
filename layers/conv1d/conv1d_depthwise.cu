// cuda.depthwise: Conv1d whose every output channel sees one input channel (groups = in_channels, with a multiplier).
//
// Problem      y[n, o, t] = bias[o] + sum over k of w[o, k] * x[n, o / multiplier, t * stride + k * dilation -
// pad_left] Mapping      a block makes kOutputs * kThreads neighbouring outputs of one row; a thread's outputs lie
// kThreads apart,
//              so that loads and stores of a warp are contiguous, and are independent of each other.
// Memory       bound by bytes: taps meet the same cache lines again in L1, however far apart, as long as a block's
//              window stays there. No shared memory.
// Halves       x and y may be stored as float16 or bfloat16; x's type is the kernel's, y's a branch.
// Limits       up to 2^31 - 1 blocks; any kernel, stride, dilation and padding mode.
// Beats        cuda.direct, which spends its time on addresses: here a whole row shares them, and a block inside the
//              input asks nothing of each position.

#include "layers/conv1d/conv1d_cuda.cuh"
#include "layers/conv1d/conv1d_tensor.h"

namespace strand::layers {
namespace {

constexpr int kThreads = 256;
constexpr int kOutputs = 8;
constexpr int kTile = kThreads * kOutputs;

struct Depthwise {
  Conv1dProblem p;
  int64_t out_length;
  tensor::Divisor tiles_by;     // of a row
  tensor::Divisor channels_by;  // out_channels
  tensor::Divisor multiplier_by;
  DType x_type;
  DType y_type;
};

template <class X>
__device__ float padded_stored(const X* row, int64_t position, int64_t length, PaddingMode mode) {
  const int64_t at = source_index(position, length, mode);
  return at < 0 ? 0.0F : stored_value(row[at]);
}

// A thread's outputs from element `first` of y on.
template <class Y>
__device__ void store_outputs(void* y, int64_t first, const float (&sum)[kOutputs]) {
  Y* to = static_cast<Y*>(y) + first;
#pragma unroll
  for (int i = 0; i < kOutputs; ++i) to[i * kThreads] = to_stored<Y>(sum[i]);
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
  const int64_t t0 = int64_t{tile} * kTile + threadIdx.x;
  const int64_t first = int64_t{tile} * kTile * a.p.stride - a.p.pad_left;
  const int64_t last = first + (kTile - 1) * a.p.stride + (taps - 1) * a.p.dilation;
  const auto finish = store.at<true>(n, o);

  if (first >= 0 && last < a.p.length && int64_t{tile + 1} * kTile <= a.out_length) {
    float sum[kOutputs] = {};
    const X* from = source + first + threadIdx.x * a.p.stride;
    const int64_t step = kThreads * a.p.stride;
#pragma unroll
    for (int k = 0; k < taps; ++k, from += a.p.dilation) {
      const float factor = w[k];
#pragma unroll
      for (int i = 0; i < kOutputs; ++i) sum[i] = fmaf(factor, stored_value(from[i * step]), sum[i]);
    }
    finish(sum, t0, kThreads, a.out_length);
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
  int64_t at[kOutputs];
#pragma unroll
  for (int i = 0; i < kOutputs; ++i) at[i] = min(t0 + i * kThreads, a.out_length - 1) * a.p.stride - a.p.pad_left;
  for (int k = 0; k < taps; ++k) {
    const float factor = w[k];
    const int64_t tap = k * a.p.dilation;
#pragma unroll
    for (int i = 0; i < kOutputs; ++i) {
      sum[i] = fmaf(factor, padded_stored(source, at[i] + tap, a.p.length, a.p.padding_mode), sum[i]);
    }
  }
  finish(sum, t0, kThreads, a.out_length);
#pragma unroll
  for (int i = 0; i < kOutputs; ++i) {
    if (t0 + i * kThreads < a.out_length) store_value(y, a.y_type, target + t0 + i * kThreads, sum[i]);
  }
}

struct Pointers {
  const void* x;
  const float* weight;
  void* y;
};

template <class X, bool Plain>
void launch(unsigned blocks, cudaStream_t stream, const Depthwise& a, const Conv1dStore& store, const Pointers& at) {
  const auto start = [&](auto* kernel) {
    kernel<<<blocks, kThreads, 0, stream>>>(a, static_cast<const X*>(at.x), at.weight, store, at.y);
  };
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

using Launch = void (*)(unsigned, cudaStream_t, const Depthwise&, const Conv1dStore&, const Pointers&);

template <class X>
Launch launch_for(bool plain) {
  return plain ? launch<X, true> : launch<X, false>;
}

Launch launch_for(DType x, bool plain) {
  if (x == DType::kFloat16) return launch_for<__half>(plain);
  return x == DType::kBFloat16 ? launch_for<__nv_bfloat16>(plain) : launch_for<float>(plain);
}

int64_t blocks_of(const Conv1dProblem& p, int64_t out_length) {
  return checked_mul(checked_mul(p.batch, p.out_channels), ceil_div(out_length, kTile));
}

std::string why_not(const Conv1dProblem& p, int64_t out_length) {
  if (p.group_in() != 1) return "a group has " + std::to_string(p.group_in()) + " input channels, not one";
  if (p.groups == 1) return "one input channel is no depthwise convolution";
  if (p.kernel_size > INT32_MAX) return "kernel_size above 2^31 - 1";
  if (blocks_of(p, out_length) > kMaxBlocks) return "more than 2^31 - 1 blocks";
  return "";
}

}  // namespace

Implementation conv1d_depthwise(const Conv1dProblem& problem, const PrepareArgs& args) {
  const int64_t out_length = args.outputs[0].shape[2];
  Implementation result{"cuda.depthwise", DeviceType::kCuda, conv1d_cuda_declines(problem, args, false, true), {}};
  if (result.declined.empty()) result.declined = why_not(problem, out_length);
  result.prepare = [problem, out_length, &args]() -> std::unique_ptr<Kernel> {
    const Conv1dWeights weights = plain_weights(problem, args);
    const Depthwise a{problem,
                      out_length,
                      tensor::Divisor(ceil_div(out_length, kTile)),
                      tensor::Divisor(problem.out_channels),
                      tensor::Divisor(problem.group_out()),
                      args.inputs[0].dtype,
                      args.outputs[0].dtype};
    const auto blocks = static_cast<unsigned>(blocks_of(problem, out_length));
    const Launch start = launch_for(a.x_type, problem.epilogue.none());
    return function_kernel([weights, a, blocks, start](const Context& context, const Bindings& bindings) {
      if (blocks == 0) return;
      start(blocks, cuda::stream(context), a, weights.store(bindings),
            {bindings.inputs[0].data, weights.data(), bindings.outputs[0].data});
      cuda::check_launch("conv1d cuda.depthwise");
    });
  };
  return result;
}

}  // namespace strand::layers
