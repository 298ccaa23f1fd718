// The benchmarks' CUDA side: random data, a double loop for checked outputs, and times.
//
// Times are of CUDA graphs: a captured row of launches is replayed, so that what a launch costs the host does not count
// where a kernel takes microseconds. Work that can't be captured is launched plainly. No kernel here is meant to be
// fast: fills and checks run once a case.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>

#include "engine/buffer.h"
#include "engine/cuda_check.h"
#include "engine/cuda_runtime.h"
#include "tools/bench.h"
#include "tools/bench_device.h"

namespace strand::tools {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxBlocks = 4096;
constexpr double kPreciseMs = 2;       // a measurement shorter than this is made of more bodies
constexpr double kLongMs = 200;        // of all repeats: long bodies, which vary less, get fewer of them
constexpr double kGraphMs = 20;        // of one graph: what is slow for its few bytes needs no cold caches
constexpr int64_t kMostBodies = 2048;  // in one graph
constexpr int64_t kCopyBytes = int64_t{2} << 30;
constexpr int kProduct = 8192;

// What memory can do at best: cudaMemcpy within a device was seen to reach two thirds of it.
__global__ void copy_kernel(const float4* source, float4* target, int64_t count) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += int64_t{gridDim.x} * kThreads) {
    target[i] = source[i];
  }
}

__device__ uint64_t hash(uint64_t z) {  // SplitMix64
  z += 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

// Box and Muller, a number an index.
__device__ float normal_at(uint64_t index, uint64_t seed) {
  const uint64_t bits = hash(index ^ hash(seed));
  const float u = (static_cast<float>(bits >> 40) + 0.5F) * 0x1p-24F;
  const float v = static_cast<float>((bits >> 16) & 0xFFFFFF) * 0x1p-24F;
  return sqrtf(-2 * logf(u)) * cospif(2 * v);
}

template <class T>
__global__ void fill_kernel(T* values, int64_t count, uint64_t seed) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    values[i] = static_cast<T>(normal_at(static_cast<uint64_t>(i), seed));
  }
}

template <class T>
__global__ void round_kernel(float* values, T* halves, int64_t count) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    halves[i] = static_cast<T>(values[i]);
    values[i] = static_cast<float>(halves[i]);
  }
}

template <class T>
__global__ void check_kernel(ConvSizes sizes, const float* x, const float* w, const float* bias, const T* y,
                             const int64_t* indices, int64_t count, CheckedOutput* outputs) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count) outputs[i] = {exact_output(sizes, x, w, bias, indices[i]), static_cast<float>(y[indices[i]])};
}

// Calls use(T*), T the element type of `values`.
template <class Use>
void with_elements(const void* values, DType type, Use&& use) {
  if (type == DType::kFloat16) return use(static_cast<const __half*>(values));
  if (type == DType::kBFloat16) return use(static_cast<const __nv_bfloat16*>(values));
  use(static_cast<const float*>(values));
}

unsigned blocks_for(int64_t count) {
  return static_cast<unsigned>(std::clamp<int64_t>((count + kThreads - 1) / kThreads, 1, kMaxBlocks));
}

class Graph {
 public:
  // Empty where the body can't be captured.
  Graph(cudaStream_t stream, const std::function<void(int64_t)>& body, int64_t count) {
    cudaGraph_t graph = nullptr;
    cuda::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
    bool captured = true;
    try {
      for (int64_t i = 0; i < count; ++i) body(i);
    } catch (const Error&) {
      captured = false;
    }
    captured = cudaStreamEndCapture(stream, &graph) == cudaSuccess && captured;
    if (captured && cudaGraphInstantiate(&graph_, graph, 0) != cudaSuccess) graph_ = nullptr;
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();  // a capture that failed leaves its error behind
  }
  ~Graph() {
    if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  cudaGraphExec_t get() const { return graph_; }

 private:
  cudaGraphExec_t graph_ = nullptr;
};

class Stopwatch {
 public:
  explicit Stopwatch(const Context& context)
      : stream_(context.stream()),
        start_(cuda::create_event(context.device().index)),
        stop_(cuda::create_event(context.device().index)) {}
  ~Stopwatch() {
    cuda::destroy_event(start_);
    cuda::destroy_event(stop_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  template <class Work>
  double milliseconds(Work&& work) const {
    cuda::record(start_, stream_);
    work();
    cuda::record(stop_, stream_);
    return static_cast<double>(cuda::elapsed_ms(start_, stop_));
  }

 private:
  void* stream_;
  void* start_;
  void* stop_;
};

class CudaBenchDevice final : public BenchDevice {
 public:
  explicit CudaBenchDevice(Device device) : context_(device) { cuda::set_device(device.index); }

  const Context& context() const override { return context_; }

  int64_t free_bytes() const override {
    size_t free = 0;
    size_t total = 0;
    cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return static_cast<int64_t>(free);
  }

  int64_t cache_bytes() const override {
    int bytes = 0;
    cuda::check(cudaDeviceGetAttribute(&bytes, cudaDevAttrL2CacheSize, context_.device().index),
                "cudaDeviceGetAttribute");
    return bytes;
  }

  void fill_normal(float* values, int64_t count, uint64_t seed) const override { fill(values, count, seed); }

  void poison(float* values, int64_t count) const override {
    cuda::check(cudaMemsetAsync(values, 0xFF, static_cast<size_t>(count) * sizeof(float), cuda::stream(context_)),
                "cudaMemsetAsync");
  }

  void round(float* values, void* halves, DType type, int64_t count) const override {
    const auto stream = cuda::stream(context_);
    if (type == DType::kFloat16) {
      round_kernel<<<blocks_for(count), kThreads, 0, stream>>>(values, static_cast<__half*>(halves), count);
    } else {
      round_kernel<<<blocks_for(count), kThreads, 0, stream>>>(values, static_cast<__nv_bfloat16*>(halves), count);
    }
    cuda::check_launch("round_kernel");
  }

  double time(const std::function<void(int64_t)>& body, int64_t rotations, int repeats) const override {
    const Stopwatch stopwatch(context_);
    body(0);  // what is made at first use, outside the capture
    context_.synchronize();
    const double once = stopwatch.milliseconds([&] { body(0); });
    if (once >= kLongMs) return once;
    const auto bodies_in = [&](double ms) { return static_cast<int64_t>(std::ceil(ms / std::max(once, 1e-4))); };
    const int64_t rotated = std::max(bodies_in(kPreciseMs), std::min(rotations, bodies_in(kGraphMs)));
    const int64_t count = once >= kPreciseMs ? 1 : std::min(rotated, kMostBodies);
    const auto plainly = [&] {
      for (int64_t i = 0; i < count; ++i) body(i);
    };
    if (count == 1) {
      int64_t turn = 0;
      repeats = std::clamp(static_cast<int>(kLongMs / once), 1, repeats);
      return median(
          stopwatch, [&] { body(turn++); }, repeats);
    }
    const Graph graph(cuda::stream(context_), body, count);
    if (graph.get() == nullptr) return median(stopwatch, plainly, repeats) / static_cast<double>(count);
    const auto replay = [&] { cuda::check(cudaGraphLaunch(graph.get(), cuda::stream(context_)), "cudaGraphLaunch"); };
    return median(stopwatch, replay, repeats) / static_cast<double>(count);
  }

  std::vector<CheckedOutput> check(const ConvSizes& sizes, const float* x, const float* w, const float* bias,
                                   const void* y, DType y_type, std::span<const int64_t> indices) const override {
    const auto count = static_cast<int64_t>(indices.size());
    const Device device = context_.device();
    const Buffer places(device, count * static_cast<int64_t>(sizeof(int64_t)));
    const Buffer results(device, count * static_cast<int64_t>(sizeof(CheckedOutput)));
    context_.synchronize();  // y may still be on its way
    copy_bytes(places.data(), device, indices.data(), {}, places.bytes());
    with_elements(y, y_type, [&](const auto* elements) {
      check_kernel<<<blocks_for(count), kThreads, 0, cuda::stream(context_)>>>(
          sizes, x, w, bias, elements, reinterpret_cast<const int64_t*>(places.data()), count,
          reinterpret_cast<CheckedOutput*>(results.data()));
    });
    cuda::check_launch("check_kernel");
    context_.synchronize();
    std::vector<CheckedOutput> outputs(indices.size());
    copy_bytes(outputs.data(), {}, results.data(), device, results.bytes());
    return outputs;
  }

  double measure_copy(int repeats) const override {
    const int64_t bytes = std::min(kCopyBytes, free_bytes() / 4 / 4096 * 4096);
    const Buffer source(context_.device(), bytes);
    const Buffer target(context_.device(), bytes);
    fill_normal(reinterpret_cast<float*>(source.data()), bytes / 4, 0);
    const auto copy = [&](int64_t) {
      copy_kernel<<<kMaxBlocks, kThreads, 0, cuda::stream(context_)>>>(
          reinterpret_cast<const float4*>(source.data()), reinterpret_cast<float4*>(target.data()), bytes / 16);
      cuda::check_launch("copy");
    };
    return 2 * static_cast<double>(bytes) / (time(copy, 1, repeats) / 1e3);
  }

  Peaks measure_peaks(int repeats) const override {
    return {measure_copy(repeats), product_peak(CUDA_R_32F, repeats), product_peak(CUDA_R_16F, repeats)};
  }

 private:
  template <class T>
  void fill(T* values, int64_t count, uint64_t seed) const {
    fill_kernel<<<blocks_for(count), kThreads, 0, cuda::stream(context_)>>>(values, count, seed);
    cuda::check_launch("fill_kernel");
  }

  template <class Work>
  double median(const Stopwatch& stopwatch, Work&& work, int repeats) const {
    work();  // warm-up
    std::vector<double> times;
    for (int i = 0; i < repeats; ++i) times.push_back(stopwatch.milliseconds(work));
    return percentile(times, 50);
  }

  double product_peak(cudaDataType_t type, int repeats) const {
    constexpr int64_t kElements = int64_t{kProduct} * kProduct;
    const int64_t bytes = kElements * (type == CUDA_R_16F ? 2 : 4);
    if (free_bytes() < 4 * bytes) return 0;
    const Buffer a(context_.device(), bytes);
    const Buffer b(context_.device(), bytes);
    const Buffer c(context_.device(), bytes);
    for (const Buffer* matrix : {&a, &b}) {
      if (type == CUDA_R_16F) {
        fill(reinterpret_cast<__half*>(matrix->data()), kElements, 1);
      } else {
        fill(reinterpret_cast<float*>(matrix->data()), kElements, 1);
      }
    }
    const float one = 1;
    const float zero = 0;
    const auto product = [&](int64_t) {
      cuda::check(cublasGemmEx(cuda::cublas(context_), CUBLAS_OP_N, CUBLAS_OP_N, kProduct, kProduct, kProduct, &one,
                               a.data(), type, kProduct, b.data(), type, kProduct, &zero, c.data(), type, kProduct,
                               CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                  "cublasGemmEx");
    };
    return 2 * std::pow(static_cast<double>(kProduct), 3) / (time(product, 1, repeats) / 1e3);
  }

  Context context_;
};

}  // namespace

std::unique_ptr<BenchDevice> make_cuda_bench_device(Device device) {
  cuda::check_device(device.index);
  return std::make_unique<CudaBenchDevice>(device);
}

}  // namespace strand::tools
