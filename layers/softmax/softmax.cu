// Softmax and LogSoftmax on CUDA: the tensor as [outer, size, inner], a row being the `size` elements that lie `inner`
// apart.
//
// Mapping: a block has (columns, lanes) threads, columns * lanes = 256. It owns `columns` rows that lie side by side;
// the `lanes` threads of a row share its elements. With inner = 1 a row is contiguous, so lanes run along x (32, or all
// 256 where a row is long); else columns run along x, 32 of them, and loads of neighbouring rows coalesce. Three
// passes: maximum, sum, values; the second and third read from the cache while rows * size fits there (about 100 KB a
// block). Reductions over lanes are trees in shared memory, in the same order each run. Limits: 64-bit sizes; the grid
// rides on x. Bound by bytes, 8 an element, while the rows stay in the cache. Contiguous rows of up to 65536 elements
// are read once: a thread holds 8 or 32 in registers, and 32 in shared memory where a row is longer than that; from
// 8193 elements softmax_cluster.cu's where there are clusters.

#include "layers/cuda_launch.cuh"
#include "layers/cuda_reduce.cuh"
#include "layers/forget.cuh"
#include "layers/held_rows.cuh"
#include "layers/implementation_list.h"
#include "layers/softmax/softmax.h"
#include "layers/softmax/softmax_cluster.h"

namespace strand::layers {
namespace {

constexpr int kThreads = cuda::kThreads;

struct Rows {
  int64_t size;
  int64_t inner;
  int64_t tiles;  // of an outer index, or of all rows where they are contiguous
  int64_t count;  // rows in them
};

// kContiguous: lanes run along x and rows are `size` apart. Otherwise columns do.
template <bool kLog, bool kContiguous, int kLanes>
__global__ void __launch_bounds__(kThreads)
    softmax_kernel(const float* __restrict__ x, float* __restrict__ y, Rows rows) {
  constexpr int kColumns = kThreads / kLanes;
  constexpr int kLaneStride = kContiguous ? 1 : kColumns;
  __shared__ float shared[kThreads];
  const int lane = kContiguous ? threadIdx.x % kLanes : threadIdx.x / kColumns;
  const int column = kContiguous ? threadIdx.x / kLanes : threadIdx.x % kColumns;
  const int64_t outer = blockIdx.x / rows.tiles;
  const int64_t row = blockIdx.x % rows.tiles * kColumns + column;
  const int64_t size = row < rows.count ? rows.size : 0;  // threads without a row only keep the barriers
  const int64_t offset = outer * rows.size * rows.inner + (kContiguous ? row * rows.size : row);
  const int64_t stride = kContiguous ? 1 : rows.inner;
  x += offset;
  y += offset;

  float max = -INFINITY;
  for (int64_t i = lane; i < size; i += kLanes) max = fmaxf(max, x[i * stride]);
  max = cuda::reduce_lanes<kLanes>(max, shared, lane, kLaneStride, cuda::Max());
  float sum = 0;
  for (int64_t i = lane; i < size; i += kLanes) sum += expf(x[i * stride] - max);
  sum = cuda::reduce_lanes<kLanes>(sum, shared, lane, kLaneStride, cuda::Sum());
  const float shift = kLog ? logf(sum) : 0.0F;
  for (int64_t i = lane; i < size; i += kLanes) {
    const float distance = x[i * stride] - max;
    y[i * stride] = kLog ? distance - shift : expf(distance) / sum;
  }
}

template <bool kContiguous, int kLanes>
void launch(const Context& context, bool log, const AxisSplit& split, const float* x, float* y) {
  const int64_t count = kContiguous ? split.outer : split.inner;
  const Rows rows{split.size, split.inner, ceil_div(count, kThreads / kLanes), count};
  const unsigned grid = cuda::grid_size(checked_mul(rows.tiles, kContiguous ? 1 : split.outer), "Softmax");
  const auto kernel = log ? softmax_kernel<true, kContiguous, kLanes> : softmax_kernel<false, kContiguous, kLanes>;
  kernel<<<grid, kThreads, 0, cuda::stream(context)>>>(x, y, rows);
  cuda::check_launch("Softmax");
}

// Rows as HeldRows says; lanes run along x.
template <bool kLog, class Held>
__global__ void __launch_bounds__(Held::kBlock)
    held_kernel(const float* __restrict__ x, float* __restrict__ y, Rows rows) {
  constexpr int kBlock = Held::kBlock;
  constexpr int kLanes = Held::kLanes;
  constexpr int kValues = Held::kValues;
  constexpr int kShared = Held::kShared;
  extern __shared__ float held[];
  __shared__ float shared[kBlock / 32];
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kBlock / kLanes) + threadIdx.x / kLanes;
  const int size = row < rows.count ? static_cast<int>(rows.size) : 0;  // threads without a row only keep the barriers
  int left = size - lane;  // an element k lanes further is inside where k is below it
  const float* from = x + row * rows.size + lane;
  cuda::forget(from);
  float values[kValues];
#pragma unroll
  for (int k = 0; k < kValues; ++k) values[k] = k * kLanes < left ? from[k * kLanes] : -INFINITY;
  float max = -INFINITY;
#pragma unroll 8
  for (int k = 0; k < kShared; ++k) {
    const int i = (kValues + k) * kLanes;
    const float value = i < left ? from[i] : -INFINITY;
    held[k * kBlock + threadIdx.x] = value;
    max = fmaxf(max, value);
  }
#pragma unroll
  for (int k = 0; k < kValues; ++k) max = fmaxf(max, values[k]);
  max = cuda::reduce_neighbours<kLanes>(max, shared, cuda::Max());
  // From here on they are exp(x - max), or x - max for the logarithm; what lies behind the row's end adds nothing.
  float sum = 0;
  cuda::forget(left);
  const auto take = [&](int i, float value) {
    const float distance = value - max;
    const float e = expf(distance);
    if (i < left) sum += e;
    return kLog ? distance : e;
  };
#pragma unroll
  for (int k = 0; k < kValues; ++k) values[k] = take(k * kLanes, values[k]);
#pragma unroll 8
  for (int k = 0; k < kShared; ++k) {
    float& value = held[k * kBlock + threadIdx.x];
    value = take((kValues + k) * kLanes, value);
  }
  sum = cuda::reduce_neighbours<kLanes>(sum, shared, cuda::Sum());
  // sum is 1 to 65536, so its inverse loses no more than a rounding.
  const float last = kLog ? logf(sum) : 1 / sum;
  float* to = y + row * rows.size + lane;
  cuda::forget(to);
  cuda::forget(left);
  const auto store = [&](int i, float value) {
    if (i < left) to[i] = kLog ? value - last : value * last;
  };
#pragma unroll
  for (int k = 0; k < kValues; ++k) store(k * kLanes, values[k]);
#pragma unroll 8
  for (int k = 0; k < kShared; ++k) store((kValues + k) * kLanes, held[k * kBlock + threadIdx.x]);
}

void launch_held_rows(const Context& context, bool log, const AxisSplit& split, const float* x, float* y) {
  const Rows rows{split.size, 1, 1, split.outer};
  cuda::for_held_size(split.size, [&](auto held) {
    using Held = decltype(held);
    cuda::launch_held<Held>(context, "Softmax", rows.count, log ? held_kernel<true, Held> : held_kernel<false, Held>, x,
                            y, rows);
  });
}

}  // namespace

void softmax_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const auto& softmax = static_cast<const Softmax&>(layer);
  const AxisSplit split = softmax.split(args.inputs[0].shape);
  list.push_back(float32_implementation(args, "cuda.native", [split, log = softmax.log()] {
    const bool clusters = is_cluster_softmax(split);
    const int64_t held = cuda::held_size();
    return function_kernel([split, log, clusters, held](const Context& context, const Bindings& bindings) {
      if (split.elements() == 0) return;
      const auto* x = bindings.inputs[0].ptr<const float>();
      auto* y = bindings.outputs[0].ptr<float>();
      if (split.inner > 1) {
        launch<false, 8>(context, log, split, x, y);
      } else if (clusters) {
        cluster_softmax(context, log, split, x, y);
      } else if (split.size <= held) {
        launch_held_rows(context, log, split, x, y);
      } else {
        launch<true, 256>(context, log, split, x, y);
      }
    });
  }));
}

}  // namespace strand::layers
