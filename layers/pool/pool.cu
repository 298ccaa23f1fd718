// Pooling on CUDA: y[row, t] from the window of x[row] that pool_window() gives, along the last axis.
//
// Three mappings, the first that suits the shape:
// - tiled: a block owns up to 1024 outputs of one row. It brings the inputs that they need to shared memory by
//   16-byte loads (begun at the aligned address below, whatever the row's alignment), padding as -Inf or 0, and each
//   thread takes four outputs a block's width apart: neighbours read neighbouring banks, and stores coalesce. An input
//   is fetched once, although stride < kernel_size outputs share it.
// - wide: windows of 64 or more elements that do not overlap inside a tile (adaptive ones), a warp or a block each.
// - flat: a thread an output, straight from memory: short rows, and what is left.
// Limits: 64-bit sizes; the grid rides on x. Bound by bytes, 4 an input and 4 an output, while kernel_size is below
// about 16; past that by reads of shared memory. Averages are summed eight taps at a time, then sixteen of
// those, then these with compensation.

#include <algorithm>

#include "layers/cuda_launch.cuh"
#include "layers/cuda_reduce.cuh"
#include "layers/implementation_list.h"
#include "layers/pool/pool.h"

namespace strand::layers {
namespace {

constexpr int kThreads = cuda::kThreads;
constexpr int64_t kTile = 4 * kThreads;
constexpr int64_t kSharedFloats = 8192;  // 32 KB
constexpr int64_t kWideWindow = 64;

struct MaxOf {
  static constexpr float kPadding = -INFINITY;
  // fmaxf would drop a NaN.
  __device__ float operator()(float a, float b) const {
    float result;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
    return result;
  }
  template <class Index>
  __device__ float over(const float* taps, Index count, Index step) const {
    float max = -INFINITY;
#pragma unroll 4
    for (Index k = 0; k < count; ++k) max = (*this)(max, taps[k * step]);
    return max;
  }
  __device__ float result(float value, int64_t) const { return value; }
};

struct MeanOf {
  static constexpr float kPadding = 0;
  __device__ float operator()(float a, float b) const { return a + b; }
  template <class Index>
  __device__ float over(const float* taps, Index count, Index step) const {
    float total = 0;
    float lost = 0;
    Index k = 0;
    while (k + 8 <= count) {
      float some = 0;
      for (int i = 0; i < 16 && k + 8 <= count; ++i, k += 8) {
        float eight = taps[k * step];
#pragma unroll
        for (int j = 1; j < 8; ++j) eight += taps[(k + j) * step];
        some += eight;
      }
      // Kahan's sum: one row of many additions would lose more than the bound of an average allows.
      const float next = some - lost;
      const float sum = total + next;
      lost = (sum - total) - next;
      total = sum;
    }
    float rest = 0;
    for (; k < count; ++k) rest += taps[k * step];
    return total + (rest - lost);
  }
  __device__ float result(float value, int64_t divisor) const { return value / static_cast<float>(divisor); }
};

template <class Of>
struct FlatPool {
  PoolProblem problem;
  const float* x;
  float* y;
  template <class Index>
  __device__ float load(Index i) const {
    const Index row = i / static_cast<Index>(problem.output_length);
    const PoolWindow window = pool_window(problem, i - row * static_cast<Index>(problem.output_length));
    const float* first = x + static_cast<int64_t>(row) * problem.length + window.first;
    return Of().result(Of().over(first, window.count, problem.options.dilation), window.divisor);
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

template <class Of, int kLanes>
__global__ void __launch_bounds__(kThreads)
    wide_pool(PoolProblem problem, const float* __restrict__ x, float* __restrict__ y) {
  __shared__ float shared[kThreads];
  const int lane = threadIdx.x % kLanes;
  const int64_t output = static_cast<int64_t>(blockIdx.x) * (kThreads / kLanes) + threadIdx.x / kLanes;
  const bool inside = output < problem.rows * problem.output_length;
  const int64_t row = output / problem.output_length;
  const PoolWindow window = pool_window(problem, inside ? output % problem.output_length : 0);
  float value = Of::kPadding;
  if (inside && lane < window.count) {
    const int64_t step = problem.options.dilation;
    const float* first = x + row * problem.length + window.first + lane * step;
    value = Of().over(first, (window.count - 1 - lane) / kLanes + 1, kLanes * step);
  }
  value = cuda::reduce_lanes<kLanes>(value, shared, lane, 1, Of());
  if (inside && lane == 0) y[output] = Of().result(value, window.divisor);
}

// How the tiled mapping cuts the rows.
struct Tiling {
  int64_t tiles;          // a row
  int64_t outputs;        // a tile
  int64_t shared_floats;  // the inputs of a tile, and room for alignment
};

// Elements [begin, begin + 4 * vectors) of a row to shared memory, what lies outside of the row as padding.
template <class Of>
__device__ void load_tile(const PoolProblem& problem, const float* x, int64_t row, int64_t begin, int vectors,
                          float* shared) {
  const float* source = x + row * problem.length;
  for (int v = threadIdx.x; v < vectors; v += kThreads) {
    const int64_t at = begin + 4 * v;
    float4 values;
    if (at >= 0 && at + 4 <= problem.length) {
      values = *reinterpret_cast<const float4*>(source + at);
    } else {
      const auto element = [&](int64_t i) { return i >= 0 && i < problem.length ? source[i] : Of::kPadding; };
      values = make_float4(element(at), element(at + 1), element(at + 2), element(at + 3));
    }
    reinterpret_cast<float4*>(shared)[v] = values;
  }
}

template <class Of>
__global__ void __launch_bounds__(kThreads)
    tiled_pool(PoolProblem problem, Tiling tiling, const float* __restrict__ x, float* __restrict__ y) {
  extern __shared__ float4 shared_vectors[];
  auto* shared = reinterpret_cast<float*>(shared_vectors);
  const PoolOptions& options = problem.options;
  const int64_t row = blockIdx.x / tiling.tiles;
  const int64_t first = blockIdx.x % tiling.tiles * tiling.outputs;
  const int outputs = static_cast<int>(min(tiling.outputs, problem.output_length - first));
  const int stride = static_cast<int>(options.stride);
  const int dilation = static_cast<int>(options.dilation);
  const int kernel_size = static_cast<int>(options.kernel_size);

  // `lead` elements before the first one needed make the address a multiple of 16 bytes.
  const int64_t begin = first * options.stride - options.padding;
  const int64_t flat = row * problem.length + begin;
  const int lead = static_cast<int>((reinterpret_cast<uintptr_t>(x) / sizeof(float) + flat) & 3);
  const int needed = lead + (outputs - 1) * stride + dilation * (kernel_size - 1) + 1;
  load_tile<Of>(problem, x, row, begin - lead, (needed + 3) / 4, shared);
  __syncthreads();

  for (int t = threadIdx.x; t < outputs; t += kThreads) {
    const float value = Of().over(shared + lead + t * stride, kernel_size, dilation);
    const int64_t start = begin + static_cast<int64_t>(t) * stride;
    const bool whole = start >= 0 && start + kernel_size <= problem.length;
    const int64_t divisor = whole ? options.kernel_size : pool_window(problem, first + t).divisor;
    y[row * problem.output_length + first + t] = Of().result(value, divisor);
  }
}

// No tiles where the mapping does not suit the problem.
Tiling tiling_of(const PoolProblem& problem) {
  constexpr int64_t kLeastOutputs = 128;
  const PoolOptions& options = problem.options;
  if (options.kind == PoolKind::kAdaptiveAverage || problem.output_length < kLeastOutputs) return {};
  const int64_t extent = options.dilation * (options.kernel_size - 1) + 1;
  const int64_t most = (kSharedFloats - 8 - extent) / options.stride + 1;  // outputs whose inputs fit
  if (extent > kSharedFloats - 8 || most < kLeastOutputs) return {};
  const int64_t tiles = ceil_div(problem.output_length, std::min(most, kTile));
  const int64_t outputs = ceil_div(problem.output_length, tiles);
  return {tiles, outputs, round_up((outputs - 1) * options.stride + extent + 3, 4)};
}

template <class Of, int kLanes>
void launch_wide(const Context& context, const PoolProblem& problem, const float* x, float* y) {
  const int64_t blocks = ceil_div(problem.rows * problem.output_length, kThreads / kLanes);
  wide_pool<Of, kLanes><<<cuda::grid_size(blocks, "wide pool"), kThreads, 0, cuda::stream(context)>>>(problem, x, y);
  cuda::check_launch("wide pool");
}

template <class Of>
void launch(const Context& context, const PoolProblem& problem, const float* x, float* y) {
  if (problem.rows == 0) return;
  const Tiling tiling = tiling_of(problem);
  if (tiling.tiles > 0) {
    const unsigned grid = cuda::grid_size(checked_mul(problem.rows, tiling.tiles), "tiled pool");
    const auto bytes = static_cast<size_t>(tiling.shared_floats) * sizeof(float);
    tiled_pool<Of><<<grid, kThreads, bytes, cuda::stream(context)>>>(problem, tiling, x, y);
    return cuda::check_launch("tiled pool");
  }
  const bool adaptive = problem.options.kind == PoolKind::kAdaptiveAverage;
  const int64_t window = adaptive ? problem.length / problem.output_length : problem.options.kernel_size;
  if (window >= kWideWindow * 32) {
    launch_wide<Of, kThreads>(context, problem, x, y);
  } else if (window >= kWideWindow) {
    launch_wide<Of, 32>(context, problem, x, y);
  } else {
    cuda::launch_flat(context, "flat pool", problem.rows * problem.output_length, FlatPool<Of>{problem, x, y});
  }
}

}  // namespace

void pool_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const PoolProblem problem = static_cast<const Pool&>(layer).problem(args.inputs[0].shape);
  list.push_back(float32_implementation(args, "cuda.native", [problem] {
    return function_kernel([problem](const Context& context, const Bindings& bindings) {
      const auto* x = bindings.inputs[0].ptr<const float>();
      auto* y = bindings.outputs[0].ptr<float>();
      (problem.options.kind == PoolKind::kMax ? launch<MaxOf> : launch<MeanOf>)(context, problem, x, y);
    });
  }));
}

}  // namespace strand::layers
