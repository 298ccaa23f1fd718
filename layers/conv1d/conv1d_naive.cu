// cuda.naive: the baseline that others are measured against, right for every shape.
//
// Problem: y[n, o, t] = bias[o] + sum over c, k of w[o, c, k] * xp[n, c, t * stride + k * dilation], in float32.
// Mapping: one thread an output, positions fastest, so that a warp stores 128 consecutive bytes; a grid-stride loop
// over
//   N * C_out * L_out in 64 bits.
// Shared memory: none. Limits: none.
// Its siblings beat it because it reads two operands from the cache for each multiply-add.

#include <algorithm>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_cuda.cuh"

namespace strand::layers {
namespace {

constexpr int kThreads = 256;

__device__ float sum_at(const Conv1dProblem& p, const float* x, const float* weight, int64_t n, int64_t o, int64_t t) {
  const float* row = x + (n * p.in_channels + o / p.group_out() * p.group_in()) * p.length;
  const float* w = weight + o * p.reduction();
  float sum = 0;
  for (int64_t c = 0; c < p.group_in(); ++c, row += p.length) {
    int64_t position = t * p.stride - p.pad_left;
    for (int64_t k = 0; k < p.kernel_size; ++k, position += p.dilation) {
      sum = fmaf(*w++, padded_value(row, position, p.length, p.padding_mode), sum);
    }
  }
  return sum;
}

__global__ void naive(Conv1dProblem p, int64_t out_length, const float* x, const float* weight, Conv1dStore store,
                      float* y, int64_t outputs) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  const int64_t channels = p.result_channels();
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < outputs; i += step) {
    const int64_t t = i % out_length;
    const int64_t o = i / out_length % channels;
    const int64_t n = i / out_length / channels;
    const Conv1dStore::Channel finish = store.at(n, o);
    const float sum = sum_at(p, x, weight, n, o, t);
    y[i] = store.gated ? finish(sum, sum_at(p, x, weight, n, o + channels, t), t) : finish(sum, t);
  }
}

}  // namespace

Implementation conv1d_naive(const Conv1dProblem& problem, const PrepareArgs& args) {
  return {"cuda.naive", DeviceType::kCuda, conv1d_cuda_declines(problem, args, true),
          [problem, &args]() -> std::unique_ptr<Kernel> {
            const int64_t outputs = args.outputs[0].shape.elements();
            return function_kernel(
                [problem, outputs, out_length = args.outputs[0].shape[2], weights = plain_weights(problem, args)](
                    const Context& context, const Bindings& bindings) {
                  if (outputs == 0) return;
                  const auto blocks = static_cast<unsigned>(std::min(kMaxBlocks, ceil_div(outputs, kThreads)));
                  naive<<<blocks, kThreads, 0, cuda::stream(context)>>>(
                      problem, out_length, bindings.inputs[0].ptr<const float>(), weights.data(),
                      weights.store(bindings), bindings.outputs[0].ptr<float>(), outputs);
                  cuda::check_launch("conv1d cuda.naive");
                });
          }};
}

}  // namespace strand::layers
