#pragma once
// y[r, o] = bias[o] + sum over i of weight[o, i] * x[r, i] on CUDA, for rows of floats: one cuBLAS SGEMM, in float32
// throughout (no TF32: the handle's math mode is the default one). For .cu files.
//
// cuBLAS sees column-major matrices: y^T [out, rows] = (weight^T)^T [out, in] * x^T [in, rows], so nothing is moved.
// The bias is written to y first, one thread an element, and the product added to it (beta = 1): 4 bytes an output to
// write and 4 to read, where a pass after the product would take 8 more to read and write.
// Limits: rows, in and out are 64 bits wide.

#include "layers/cuda_launch.cuh"

namespace strand::cuda {

struct FillRows {
  const float* bias;  // [out]
  float* y;           // [rows, out]
  int64_t out;
  template <class Index>
  __device__ float load(Index i) const {
    return bias[i % static_cast<Index>(out)];
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

// `bias` is null where there is none.
inline void linear_rows(const Context& context, const float* weight, const float* bias, const float* x, int64_t rows,
                        int64_t in, int64_t out, float* y) {
  if (rows == 0) return;
  if (bias != nullptr) launch_flat(context, "Linear's bias", rows * out, FillRows{bias, y, out});
  const float one = 1;
  const float beta = bias != nullptr ? 1.0F : 0.0F;
  check(
      cublasSgemm_64(cublas(context), CUBLAS_OP_T, CUBLAS_OP_N, out, rows, in, &one, weight, in, x, in, &beta, y, out),
      "cublasSgemm_64");
}

}  // namespace strand::cuda
