// Pooling on CUDA: y[row, t] from the window of x[row] that pool_window() gives, along the last axis.
//
// Three mappings, the first that suits the shape:
// - tiled: a block owns up to 1024 outputs of one row. It brings the inputs that they need to shared memory by
//   16-byte loads (begun at the aligned address below, whatever the row's alignment), padding as -Inf or 0, and each
//   thread takes outputs a block's width apart: neighbours read neighbouring banks, and stores coalesce. An input
//   is fetched once, although stride < kernel_size outputs share it. With stride 1 a thread takes its four outputs tap
//   by tap: they are a constant apart, and one address serves all.
// - wide: windows of 64 or more elements that do not overlap inside a tile (adaptive ones), a warp or a block each.
// - flat: a thread an output, straight from memory: short rows, and what is left.
// Limits: 64-bit sizes; the grid rides on x. Bound by bytes, 4 an input and 4 an output, while kernel_size is below
// about 16; past that by reads of shared memory. Averages are summed eight taps at a time, then sixteen of
// those, then these with compensation. A mean divides by a reciprocal and one correction.

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
  // `results` from kItems windows of `count` taps that begin a block's width apart.
  template <int kItems, class Index>
  __device__ void over(const float* taps, Index count, Index step, float (&results)[kItems]) const {
#pragma unroll
    for (float& result : results) result = -INFINITY;
#pragma unroll 4
    for (Index k = 0; k < count; ++k) {
      const float* tap = taps + k * step;
#pragma unroll
      for (int i = 0; i < kItems; ++i) results[i] = (*this)(results[i], tap[i * kThreads]);
    }
  }
  __device__ float result(float value, float, float) const { return value; }
};

struct MeanOf {
  static constexpr float kPadding = 0;
  __device__ float operator()(float a, float b) const { return a + b; }

  template <int kItems, class Index>
  __device__ static void add(const float* taps, Index count, Index step, float (&sums)[kItems]) {
#pragma unroll 4
    for (Index k = 0; k < count; ++k) {
      const float* tap = taps + k * step;
#pragma unroll
      for (int i = 0; i < kItems; ++i) sums[i] += tap[i * kThreads];
    }
  }

  template <int kItems, class Index>
  __device__ void over(const float* taps, Index count, Index step, float (&results)[kItems]) const {
#pragma unroll
    for (float& result : results) result = 0;
    if (count <= 8) return add(taps, count, step, results);
    float lost[kItems] = {};
    Index k = 0;
    while (k + 8 <= count) {
      float some[kItems] = {};
      for (int block = 0; block < 16 && k + 8 <= count; ++block, k += 8) {
        float eight[kItems] = {};
        add(taps + k * step, static_cast<Index>(8), step, eight);
#pragma unroll
        for (int i = 0; i < kItems; ++i) some[i] += eight[i];
      }
      // Kahan's sum: one row of many additions would lose more than the bound of an average allows.
#pragma unroll
      for (int i = 0; i < kItems; ++i) {
        const float next = some[i] - lost[i];
        const float sum = results[i] + next;
        lost[i] = (sum - results[i]) - next;
        if (!isfinite(lost[i])) lost[i] = 0;  // Inf - Inf: the sum is Inf, and stays so
        results[i] = sum;
      }
    }
    float rest[kItems] = {};
    add(taps + k * step, count - k, step, rest);
#pragma unroll
    for (int i = 0; i < kItems; ++i) results[i] += rest[i] - lost[i];
  }

  // value / divisor, rounded once but for a rare last bit.
  __device__ float result(float value, float divisor, float reciprocal) const {
    const float near = value * reciprocal;
    const float corrected = fmaf(fmaf(-near, divisor, value), reciprocal, near);
    return isfinite(near) ? corrected : near;
  }
};

template <class Of>
__device__ float result_of(float value, int64_t divisor) {
  return Of().result(value, static_cast<float>(divisor), 1 / static_cast<float>(divisor));
}

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
    float values[1];
    Of().over(first, window.count, problem.options.dilation, values);
    return result_of<Of>(values[0], window.divisor);
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
  float values[1] = {Of::kPadding};
  if (inside && lane < window.count) {
    const int64_t step = problem.options.dilation;
    const float* first = x + row * problem.length + window.first + lane * step;
    Of().over(first, (window.count - 1 - lane) / kLanes + 1, kLanes * step, values);
  }
  const float value = cuda::reduce_lanes<kLanes>(values[0], shared, lane, 1, Of());
  if (inside && lane == 0) y[output] = result_of<Of>(value, window.divisor);
}

// How the tiled mapping cuts the rows.
struct Tiling {
  int64_t tiles;          // a row
  int64_t outputs;        // a tile
  int64_t items;          // a thread at a time; several only with stride 1
  int64_t shared_floats;  // the inputs of a tile, and room for alignment
};

// Elements [begin, begin + 4 * vectors) of a row to shared memory, what lies outside of the row as padding.
template <class Of>
__device__ void load_tile(const PoolProblem& problem, const float* x, int64_t row, int64_t begin, int vectors,
                          float* shared) {
  const float* source = x + row * problem.length;
  const auto load = [&](int v) {
    const int64_t at = begin + 4 * v;
    if (at >= 0 && at + 4 <= problem.length) return *reinterpret_cast<const float4*>(source + at);
    const auto element = [&](int64_t i) { return i >= 0 && i < problem.length ? source[i] : Of::kPadding; };
    return make_float4(element(at), element(at + 1), element(at + 2), element(at + 3));
  };
  auto* target = reinterpret_cast<float4*>(shared);
  for (int v = threadIdx.x; v < vectors; v += 2 * kThreads) {
    const int next = v + kThreads;
    const float4 values = load(v);
    if (next < vectors) target[next] = load(next);  // both are under way before the first is stored
    target[v] = values;
  }
}

template <class Of, int kItems>
__global__ void __launch_bounds__(kThreads)
    tiled_pool(PoolProblem problem, Tiling tiling, const float* __restrict__ x, float* __restrict__ y) {
  extern __shared__ float4 shared_vectors[];
  auto* shared = reinterpret_cast<float*>(shared_vectors);
  const PoolOptions& options = problem.options;
  const auto tiles = static_cast<unsigned>(tiling.tiles);
  const unsigned row = blockIdx.x / tiles;
  const int64_t first = (blockIdx.x - row * tiles) * tiling.outputs;
  const int outputs = static_cast<int>(min(tiling.outputs, problem.output_length - first));
  const int stride = kItems > 1 ? 1 : static_cast<int>(options.stride);
  const int dilation = static_cast<int>(options.dilation);
  const int kernel_size = static_cast<int>(options.kernel_size);

  // `lead` elements before the first one needed make the address a multiple of 16 bytes.
  const int64_t begin = first * options.stride - options.padding;
  const int64_t flat = row * problem.length + begin;
  const int lead = static_cast<int>((reinterpret_cast<uintptr_t>(x) / sizeof(float) + flat) & 3);
  const int needed = lead + (outputs - 1) * stride + dilation * (kernel_size - 1) + 1;
  load_tile<Of>(problem, x, row, begin - lead, (needed + 3) / 4, shared);
  __syncthreads();

  const auto divisor = static_cast<float>(kernel_size);
  const float reciprocal = 1 / divisor;
  const bool whole = begin >= 0 && begin + (outputs - 1) * stride + kernel_size <= problem.length;
  float* target = y + row * problem.output_length + first;
  for (int t = threadIdx.x; t < outputs; t += kItems * kThreads) {
    // Items past the last output read what nobody wrote, inside of shared memory, and are dropped.
    float values[kItems];
    Of().over(shared + lead + t * stride, kernel_size, dilation, values);
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const int at = t + i * kThreads;
      if (at >= outputs) break;
      target[at] = whole ? Of().result(values[i], divisor, reciprocal)
                         : result_of<Of>(values[i], pool_window(problem, first + at).divisor);
    }
  }
}

// No tiles where the mapping does not suit the problem.
Tiling tiling_of(const PoolProblem& problem) {
  constexpr int64_t kLeastOutputs = 128;
  const PoolOptions& options = problem.options;
  if (options.kind == PoolKind::kAdaptiveAverage || problem.output_length < kLeastOutputs) return {};
  const int64_t extent = options.dilation * (options.kernel_size - 1) + 1;
  if (extent > kSharedFloats - 8) return {};
  int64_t most = (kSharedFloats - 8 - extent) / options.stride + 1;  // outputs whose inputs fit
  if (most < kLeastOutputs) return {};
  most = std::min(most, kTile);
  // Inputs of a vector a thread and not a few more, for which all the block would wait.
  if (options.stride == 1 && extent <= 64) most = (kTile - 2 - extent) / 8 * 8;
  const int64_t outputs = ceil_div(problem.output_length, ceil_div(problem.output_length, most));
  const int64_t items = options.stride == 1 && outputs > kTile / 2 ? kTile / kThreads : 1;
  const int64_t held = items > 1 ? kTile : outputs;
  return {ceil_div(problem.output_length, outputs), outputs, items,
          round_up((held - 1) * options.stride + extent + 3, 4)};
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
    const auto kernel = tiling.items > 1 ? tiled_pool<Of, kTile / kThreads> : tiled_pool<Of, 1>;
    kernel<<<grid, kThreads, bytes, cuda::stream(context)>>>(problem, tiling, x, y);
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
