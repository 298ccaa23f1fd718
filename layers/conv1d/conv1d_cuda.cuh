#pragma once
// What the CUDA implementations of Conv1d share. For this folder's .cu files only.

#include <cstdint>

#include "engine/cuda_check.h"
#include "layers/conv1d/conv1d.h"
#include "layers/conv1d/conv1d_store.cuh"
#include "layers/function_kernel.h"

namespace strand::layers {

constexpr int64_t kMaxBlocks = 0x7FFFFFFF;  // of grid.x

// x[position] of a row of the padded input.
__device__ inline float padded_value(const float* row, int64_t position, int64_t length, PaddingMode mode) {
  const int64_t at = source_index(position, length, mode);
  return at < 0 ? 0.0F : row[at];
}

// What a kernel reads besides its input: weights as packed for it, and what its store path needs.
class Conv1dWeights {
 public:
  Conv1dWeights(std::shared_ptr<const Buffer> weight, const Conv1dProblem& problem, const PrepareArgs& args);

  const float* data() const { return reinterpret_cast<const float*>(weight_->data()); }
  Conv1dStore store(const Bindings& bindings) const {
    Conv1dStore store = store_;
    if (store.residual_place != Epilogue::Residual::kNone) store.residual = bindings.inputs[1].data;
    return store;
  }

 private:
  std::shared_ptr<const Buffer> weight_;
  std::shared_ptr<const Buffer> bias_;          // or null
  std::shared_ptr<const Buffer> coefficients_;  // or null
  Conv1dStore store_;                           // all but the residual
};

// Weights as they are: [C_out, C_in / groups, K].
inline Conv1dWeights plain_weights(const Conv1dProblem& problem, const PrepareArgs& args) {
  return {args.weights.floats("weight"), problem, args};
}

// Why none of the CUDA implementations takes the problem; empty where they may. `gates`: whether this one has both sums
// of a gate in one thread. `halves`: whether its x, residual and y may, each or not, be stored as the precision's
// halves.
std::string conv1d_cuda_declines(const Conv1dProblem& problem, const PrepareArgs& args, bool gates = false,
                                 bool halves = false);

int conv1d_multiprocessors(Device device);  // a Hopper's where it is no GPU

// `seconds`: where it may note what it expects to take.
Implementation conv1d_wgmma(const Conv1dProblem& problem, const PrepareArgs& args, double* seconds = nullptr);
Implementation conv1d_tensor(const Conv1dProblem& problem, const PrepareArgs& args);
Implementation conv1d_depthwise(const Conv1dProblem& problem, const PrepareArgs& args);
Implementation conv1d_direct(const Conv1dProblem& problem, const PrepareArgs& args);
Implementation conv1d_few(const Conv1dProblem& problem, const PrepareArgs& args);
Implementation conv1d_im2col(const Conv1dProblem& problem, const PrepareArgs& args);
Implementation conv1d_naive(const Conv1dProblem& problem, const PrepareArgs& args);

// cuda.direct's kernel without tiles, for up to kThinOutputs outputs a group.
std::unique_ptr<Kernel> conv1d_thin_kernel(const Conv1dProblem& problem, const PrepareArgs& args);

}  // namespace strand::layers
