#pragma once
// What the kernels of cuda.depthwise share. For this folder's .cu files only.

#include "layers/conv1d/conv1d_cuda.cuh"
#include "layers/conv1d/conv1d_depthwise.h"
#include "layers/conv1d/conv1d_tensor.h"

namespace strand::layers {

struct Depthwise {
  Conv1dProblem p;
  int64_t out_length;
  DepthwiseWay way;
  DepthwiseWindows windows;
  tensor::Divisor tiles_by;     // of a row: a block's by rows, a warp's by windows
  tensor::Divisor channels_by;  // out_channels
  tensor::Divisor multiplier_by;
  tensor::Divisor length_by;  // out_length
  tensor::Divisor dilation_by;
  int length;
  bool zeros;   // beside rows, if anything
  bool finite;  // weights: then taps in zeros change nothing
  DType x_type;
  DType y_type;
};

// What the formula has at a position of the row, in or beside it. `Zeros` is known where a loop is compiled: with a
// branch to every padding mode in it its loads wait for each other.
template <bool Zeros, class X>
__device__ __forceinline__ float padded_stored(const Depthwise& a, const X* row, int position) {
  if constexpr (Zeros) {
    return static_cast<uint32_t>(position) < static_cast<uint32_t>(a.length) ? stored_value(row[position]) : 0.0F;
  } else {
    const int64_t at = source_index(position, a.length, a.p.padding_mode);
    return at < 0 ? 0.0F : stored_value(row[at]);
  }
}

using DepthwiseLaunch = void (*)(unsigned blocks, cudaStream_t stream, const Depthwise& a, const void* x,
                                 const float* weight, const Conv1dStore& store, void* y);

// For an x of that type, by windows; `plain` as of Conv1dStore.
DepthwiseLaunch depthwise_windows_launch(DType x, bool plain);

}  // namespace strand::layers
