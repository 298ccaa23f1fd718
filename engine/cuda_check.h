#pragma once
// For .cu files and the engine's CUDA sources only: turns CUDA's and cuBLAS's status codes into Error(kDevice).

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <string>

#include "engine/context.h"
#include "engine/error.h"

namespace strand::cuda {

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw Error(ErrorCategory::kDevice, std::string(what) + ": " + cudaGetErrorString(status));
}

inline void check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(ErrorCategory::kDevice, std::string(what) + ": " + cublasGetStatusString(status));
}

// After every launch: a bad configuration shows here, a fault in a kernel when the Session synchronises.
inline void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

inline cudaStream_t stream(const Context& context) { return static_cast<cudaStream_t>(context.stream()); }
inline cublasHandle_t cublas(const Context& context) { return static_cast<cublasHandle_t>(context.cublas()); }

}  // namespace strand::cuda
