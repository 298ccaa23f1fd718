#pragma once
// For .cu files only: kernels that begin while the one before them ends.

#include <cstddef>
#include <utility>

#include "engine/cuda_check.h"

namespace strand::cuda {

// Starts a kernel, of compute capability 9.0 or later, that may begin before those before it in the stream have ended:
// what it does first then costs no time. It waits for them itself (await_kernels_before) ahead of touching anything
// that they or kernels before them read or write, and lets the next one begin (let_next_begin). Every block has to wait
// before it ends: the next kernel waits for this one alone.
template <class... Parameters, class... Given>
void launch_early(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, size_t shared_bytes,
                  cudaStream_t stream, Given&&... given) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &early;
#if CUDART_VERSION >= 12030  // before that such launches can't be captured
  config.numAttrs = 1;
#endif
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Given>(given)...), "cudaLaunchKernelEx");
}

#ifdef __CUDACC__
__device__ __forceinline__ void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ __forceinline__ void await_kernels_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
#endif

}  // namespace strand::cuda
