#pragma once
// What the CUDA implementations of Conv1d share. For this folder's .cu files only.

#include <cstdint>

#include "engine/cuda_check.h"
#include "layers/conv1d/conv1d.h"
#include "layers/function_kernel.h"

namespace strand::layers {

constexpr int64_t kMaxBlocks = 0x7FFFFFFF;  // of grid.x

// The way from a finished sum to memory: whatever is fused into a convolution is applied here, by all implementations.
struct Conv1dStore {
  const float* bias = nullptr;  // [C_out]

  __device__ float operator()(float sum, int64_t channel) const { return bias == nullptr ? sum : sum + bias[channel]; }

  // The same for many sums of one channel.
  struct Channel {
    float bias;
    __device__ float operator()(float sum) const { return sum + bias; }
  };
  __device__ Channel at(int64_t channel) const { return {bias == nullptr ? 0.0F : bias[channel]}; }
};

// x[position] of a row of the padded input.
__device__ inline float padded_value(const float* row, int64_t position, int64_t length, PaddingMode mode) {
  const int64_t at = source_index(position, length, mode);
  return at < 0 ? 0.0F : row[at];
}

// Weights on the device: as packed for one kernel, and the bias.
struct Conv1dWeights {
  std::shared_ptr<const Buffer> weight;
  std::shared_ptr<const Buffer> bias;

  const float* data() const { return reinterpret_cast<const float*>(weight->data()); }
  Conv1dStore store() const { return {bias == nullptr ? nullptr : reinterpret_cast<const float*>(bias->data())}; }
};

// Weights as they are: [C_out, C_in / groups, K].
inline Conv1dWeights plain_weights(const Conv1dProblem& problem, const PrepareArgs& args) {
  return {args.weights.floats("weight"), problem.has_bias ? args.weights.floats("bias") : nullptr};
}

// Why none of the CUDA implementations takes the problem; empty where they may.
inline std::string conv1d_cuda_declines(const PrepareArgs& args) {
  return args.inputs[0].dtype == DType::kFloat32 ? "" : "computes in float32 only";
}

Implementation conv1d_tensor(const Conv1dProblem& problem, const PrepareArgs& args);
Implementation conv1d_depthwise(const Conv1dProblem& problem, const PrepareArgs& args);
Implementation conv1d_direct(const Conv1dProblem& problem, const PrepareArgs& args);
Implementation conv1d_im2col(const Conv1dProblem& problem, const PrepareArgs& args);
Implementation conv1d_naive(const Conv1dProblem& problem, const PrepareArgs& args);

// Two halves of cuda.direct.
std::unique_ptr<Kernel> conv1d_tiled_kernel(const Conv1dProblem& problem, const PrepareArgs& args);
std::unique_ptr<Kernel> conv1d_thin_kernel(const Conv1dProblem& problem, const PrepareArgs& args);

}  // namespace strand::layers
