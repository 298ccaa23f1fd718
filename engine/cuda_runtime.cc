#include "engine/cuda_runtime.h"

#include "engine/cuda_check.h"

namespace strand::cuda {

bool built_with_cuda() { return true; }

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();  // not an error of whoever asks next
    return 0;
  }
  return count;
}

std::string why_no_device() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (status != cudaSuccess) return std::string("no CUDA device: ") + cudaGetErrorString(status);
  return count > 0 ? "" : "no CUDA device";
}

void check_device(int index) {
  const int count = device_count();
  if (count == 0) throw Error(ErrorCategory::kDevice, why_no_device());
  if (index >= 0 && index < count) return;
  throw Error(ErrorCategory::kDevice, "no device cuda:" + std::to_string(index) + "; this machine has " +
                                          std::to_string(count) + (count == 1 ? " (cuda:0)" : " of them"));
}

DeviceInfo device_info(int index) {
  check_device(index);
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  DeviceInfo info;
  info.name = properties.name;
  info.compute_capability = properties.major * 10 + properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  info.memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  info.shared_memory_per_block = static_cast<int64_t>(properties.sharedMemPerBlockOptin);
  check(cudaDriverGetVersion(&info.driver_version), "cudaDriverGetVersion");
  check(cudaRuntimeGetVersion(&info.runtime_version), "cudaRuntimeGetVersion");
  return info;
}

void* allocate(int device, int64_t bytes) {
  check_device(device);
  set_device(device);
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "cudaMemGetInfo");
  void* pointer = nullptr;
  const bool hopeless = static_cast<size_t>(bytes) > total_bytes;
  const cudaError_t status = hopeless ? cudaErrorMemoryAllocation : cudaMalloc(&pointer, static_cast<size_t>(bytes));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw Error(ErrorCategory::kLimit, "cuda:" + std::to_string(device) + " has no memory for " +
                                           std::to_string(bytes) + " bytes; " + std::to_string(free_bytes) + " of " +
                                           std::to_string(total_bytes) + " are free");
  }
  check(status, "cudaMalloc");
  return pointer;
}

void free(int device, void* pointer) noexcept {
  cudaSetDevice(device);
  cudaFree(pointer);
}

void copy(void* target, const void* source, int64_t bytes) {
  check(cudaMemcpy(target, source, static_cast<size_t>(bytes), cudaMemcpyDefault), "cudaMemcpy");
  // A copy within the device returns early.
  check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
}

void copy_async(void* target, const void* source, int64_t bytes, void* stream) {
  check(
      cudaMemcpyAsync(target, source, static_cast<size_t>(bytes), cudaMemcpyDefault, static_cast<cudaStream_t>(stream)),
      "cudaMemcpyAsync");
}

void zero_async(void* target, int64_t bytes, void* stream) {
  check(cudaMemsetAsync(target, 0, static_cast<size_t>(bytes), static_cast<cudaStream_t>(stream)), "cudaMemsetAsync");
}

void set_device(int device) { check(cudaSetDevice(device), "cudaSetDevice"); }

void* create_stream(int device) {
  check_device(device);
  set_device(device);
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  return stream;
}

void destroy_stream(int device, void* stream) noexcept {
  cudaSetDevice(device);
  cudaStreamDestroy(static_cast<cudaStream_t>(stream));
}

void synchronize(int device, void* stream) {
  set_device(device);
  check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "cudaStreamSynchronize");
}

void* create_event(int device) {
  set_device(device);
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "cudaEventCreate");
  return event;
}

void destroy_event(void* event) noexcept { cudaEventDestroy(static_cast<cudaEvent_t>(event)); }

void record(void* event, void* stream) {
  check(cudaEventRecord(static_cast<cudaEvent_t>(event), static_cast<cudaStream_t>(stream)), "cudaEventRecord");
}

float elapsed_ms(void* start, void* stop) {
  check(cudaEventSynchronize(static_cast<cudaEvent_t>(stop)), "cudaEventSynchronize");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(start), static_cast<cudaEvent_t>(stop)),
        "cudaEventElapsedTime");
  return milliseconds;
}

void* allocate_pinned(int device, int64_t bytes) {
  check_device(device);
  set_device(device);
  void* pointer = nullptr;
  const cudaError_t status = cudaMallocHost(&pointer, static_cast<size_t>(bytes));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw Error(ErrorCategory::kLimit, "no page-locked host memory for " + std::to_string(bytes) + " bytes");
  }
  check(status, "cudaMallocHost");
  return pointer;
}

void free_pinned(void* pointer) noexcept { cudaFreeHost(pointer); }

void begin_capture(void* stream) {
  // Other threads' calls are none of this one's business.
  check(cudaStreamBeginCapture(static_cast<cudaStream_t>(stream), cudaStreamCaptureModeThreadLocal),
        "cudaStreamBeginCapture");
}

void* end_capture(void* stream) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(static_cast<cudaStream_t>(stream), &graph), "cudaStreamEndCapture");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "cudaGraphInstantiate");
  return executable;
}

void launch_graph(void* graph, void* stream) {
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), static_cast<cudaStream_t>(stream)), "cudaGraphLaunch");
}

void destroy_graph(void* graph) noexcept { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

void* create_cublas(int device, void* stream) {
  set_device(device);
  cublasHandle_t handle = nullptr;
  check(cublasCreate(&handle), "cublasCreate");
  check(cublasSetStream(handle, static_cast<cudaStream_t>(stream)), "cublasSetStream");
  // TF32 only where a network asks for it, and the same bits each run.
  check(cublasSetMathMode(handle, CUBLAS_DEFAULT_MATH), "cublasSetMathMode");
  check(cublasSetAtomicsMode(handle, CUBLAS_ATOMICS_NOT_ALLOWED), "cublasSetAtomicsMode");
  return handle;
}

void destroy_cublas(int device, void* handle) noexcept {
  cudaSetDevice(device);
  cublasDestroy(static_cast<cublasHandle_t>(handle));
}

}  // namespace strand::cuda
