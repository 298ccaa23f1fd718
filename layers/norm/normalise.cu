// LayerNorm, GroupNorm, InstanceNorm1d and RMSNorm on CUDA, on rows as in normalise.h.
//
// Mapping: contiguous rows of up to 65536 elements are read once, held by a warp or a block (layers/held_rows.cuh) or,
// from 8193, a cluster of blocks where there are clusters (normalise_cluster.cu). Mean first, then deviations from it,
// in double. Longer ones are normalise_long.cu's. Rows that lie apart go side by side, a block taking 32 columns by 8
// lanes; up to 512 elements are held in registers, else a thread takes 16 elements at a time into registers, their
// moments in two passes there, and merges those into its own in double; the second read, to normalise, comes from the
// cache while it can. Lanes are merged in shared memory. Limits: 64-bit sizes; the grid rides on x. The same order, and
// so the same bits, each run.

#include "layers/cuda_launch.cuh"
#include "layers/cuda_reduce.cuh"
#include "layers/forget.cuh"
#include "layers/held_rows.cuh"
#include "layers/implementation_list.h"
#include "layers/norm/moments.h"
#include "layers/norm/normalise.h"
#include "layers/norm/normalise_long.h"
#include "layers/norm/statistics.cuh"

namespace strand::layers {
namespace {

constexpr int kThreads = cuda::kThreads;
constexpr int kLanes = 8;  // of rows that lie apart
constexpr int kColumns = kThreads / kLanes;
constexpr int kBatch = 16;

struct Rows {
  NormProblem problem;
  double share;         // 1 / problem.size
  const float* weight;  // [weights, biases]
  int64_t biases;       // so many floats after them
  int64_t tiles;        // of an outer index, where rows are not contiguous
  int64_t count;        // rows in them, or of all where they are
};

struct Merge {
  __device__ Moments operator()(const Moments& a, const Moments& b) const { return merge(a, b); }
};

// Of elements begin, begin + step, ... below end, `stride` floats apart.
__device__ Moments moments_of(const float* x, int64_t stride, int64_t begin, int64_t end, int64_t step, bool centred) {
  Moments total{0, 0, 0};
  for (int64_t first = begin; first < end; first += kBatch * step) {
    float values[kBatch];
    double sum = 0;
    double count = 0;
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      const int64_t i = first + k * step;
      const bool inside = i < end;
      values[k] = inside ? x[i * stride] : 0.0F;
      sum += static_cast<double>(values[k]);
      count += inside ? 1 : 0;
    }
    const double mean = centred ? sum / count : 0;
    double squares = 0;
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      const double deviation = static_cast<double>(values[k]) - mean;
      if (first + k * step < end) squares += deviation * deviation;
    }
    total = merge(total, Moments{count, mean, squares});
  }
  return total;
}

// Rows that lie `inner` apart, 32 columns by 8 lanes.
__global__ void __launch_bounds__(kThreads)
    columns_kernel(const float* __restrict__ x, float* __restrict__ y, const Rows rows) {
  __shared__ Moments shared[kThreads];
  const NormProblem& p = rows.problem;
  const int lane = static_cast<int>(threadIdx.x) / kColumns;
  const int64_t row = blockIdx.x % rows.tiles * kColumns + threadIdx.x % kColumns;
  const int64_t size = row < rows.count ? p.size : 0;  // threads without a row only keep the barriers
  const int64_t offset = blockIdx.x / rows.tiles * p.size * p.inner + row;
  const Moments own = moments_of(x + offset, p.inner, lane, size, kLanes, p.centred);
  const Moments moments = cuda::reduce_lanes<kLanes>(own, shared, lane, kColumns, Merge());
  const Statistics statistics = statistics_of(moments, p.eps);
  for (int64_t i = lane; i < size; i += kLanes) {
    const float normal = statistics.normal(x[offset + i * p.inner]);
    y[offset + i * p.inner] = fmaf(normal, __ldg(rows.weight + i), __ldg(rows.weight + rows.biases + i));
  }
}

// Rows as HeldRows says; lanes run along x.
template <class Held>
__global__ void __launch_bounds__(Held::kBlock)
    held_kernel(const float* __restrict__ x, float* __restrict__ y, const Rows rows) {
  constexpr int kBlock = Held::kBlock;
  constexpr int kLanes = Held::kLanes;
  constexpr int kValues = Held::kValues;
  constexpr int kShared = Held::kShared;
  extern __shared__ float held[];
  __shared__ double shared[kBlock / 32];
  const NormProblem& p = rows.problem;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kBlock / kLanes) + threadIdx.x / kLanes;
  const int size = row < rows.count ? static_cast<int>(p.size) : 0;  // threads without a row only keep the barriers
  const int64_t offset = row * p.size + lane;
  int left = size - lane;  // an element k lanes further is inside where k is below it
  float values[kValues];
  const float* from = x + offset;
  cuda::forget(from);
#pragma unroll
  for (int k = 0; k < kValues; ++k) values[k] = k * kLanes < left ? from[k * kLanes] : 0.0F;
  double sum = 0;
#pragma unroll 8
  for (int k = 0; k < kShared; ++k) {
    const int i = (kValues + k) * kLanes;
    const float value = i < left ? from[i] : 0.0F;
    held[k * kBlock + threadIdx.x] = value;
    sum += static_cast<double>(value);
  }
  double mean = 0;
  if (p.centred) {
#pragma unroll
    for (int k = 0; k < kValues; ++k) sum += static_cast<double>(values[k]);
    sum = cuda::reduce_neighbours<kLanes>(sum, shared, cuda::Sum());
    mean = quotient(sum, static_cast<double>(p.size), rows.share);
  }
  double squares = 0;
  cuda::forget(left);
#pragma unroll
  for (int k = 0; k < kValues; ++k) {
    cuda::forget(values[k]);
    const double deviation = static_cast<double>(values[k]) - mean;
    if (k * kLanes < left) squares += deviation * deviation;
  }
#pragma unroll 8
  for (int k = 0; k < kShared; ++k) {
    const double deviation = static_cast<double>(held[k * kBlock + threadIdx.x]) - mean;
    if ((kValues + k) * kLanes < left) squares += deviation * deviation;
  }
  squares = cuda::reduce_neighbours<kLanes>(squares, shared, cuda::Sum());
  const Statistics statistics = statistics_of(mean, squares, rows.share, p.eps);

  const float* weight = rows.weight + row % p.groups * (p.size / p.repeat);
  float* to = y + offset;
  cuda::forget(to);
  cuda::forget(left);
  // parameters(i): of the element i further than the thread's first.
  const auto store = [&](const auto& parameters) {
    const auto store_one = [&](int i, float value) {
      if (i >= left) return;
      const float2 own = parameters(i);
      to[i] = fmaf(statistics.normal(value), own.x, own.y);
    };
#pragma unroll
    for (int k = 0; k < kValues; ++k) store_one(k * kLanes, values[k]);
#pragma unroll 8
    for (int k = 0; k < kShared; ++k) store_one((kValues + k) * kLanes, held[k * kBlock + threadIdx.x]);
  };
  if (left <= 0) return;
  if (p.repeat == p.size) {  // one channel
    const float2 own = make_float2(__ldg(weight), __ldg(weight + rows.biases));
    store([own](int) { return own; });
  } else if (p.repeat == 1) {
    const float* own = weight + lane;
    const float* bias = own + rows.biases;
    cuda::forget(own);
    cuda::forget(bias);
    store([own, bias](int i) { return make_float2(__ldg(own + i), __ldg(bias + i)); });
  } else {
    const auto repeat = static_cast<uint32_t>(p.repeat);
    store([weight, repeat, lane, &rows](int i) {
      const uint32_t index = static_cast<uint32_t>(lane + i) / repeat;
      return make_float2(__ldg(weight + index), __ldg(weight + rows.biases + index));
    });
  }
}

// Rows of up to 8 kValues elements that lie `inner` apart, 32 columns by 8 lanes, a thread's elements in registers.
template <int kValues>
__global__ void __launch_bounds__(kThreads, kValues == 64   ? 2
                                            : kValues == 32 ? 4
                                                            : 6)
    held_columns_kernel(const float* __restrict__ x, float* __restrict__ y, const Rows rows) {
  __shared__ double shared[2][kLanes][kColumns];
  const NormProblem& p = rows.problem;
  const int lane = static_cast<int>(threadIdx.x) / kColumns;
  const int column = static_cast<int>(threadIdx.x) % kColumns;
  const int64_t row = blockIdx.x % rows.tiles * kColumns + column;
  const int size = row < rows.count ? static_cast<int>(p.size) : 0;  // threads without a row only keep the barriers
  const int64_t offset = (blockIdx.x / rows.tiles * p.size + lane) * p.inner + row;
  int left = size - lane;  // an element k lanes further is inside where k is below it
  const auto step = static_cast<int>(kLanes * p.inner * static_cast<int64_t>(sizeof(float)));
  const auto over_lanes = [column](const double(&values)[kLanes][kColumns]) {
    double sum = 0;
#pragma unroll
    for (int i = 0; i < kLanes; ++i) sum += values[i][column];
    return sum;
  };
  float values[kValues];
  const auto* from = reinterpret_cast<const char*>(x + offset);
  cuda::forget(from);
#pragma unroll
  for (int k = 0; k < kValues; ++k) {
    values[k] = k * kLanes < left ? *reinterpret_cast<const float*>(from + k * static_cast<int64_t>(step)) : 0.0F;
  }
  double mean = 0;
  if (p.centred) {
    double sum = 0;
#pragma unroll
    for (int k = 0; k < kValues; ++k) sum += static_cast<double>(values[k]);
    shared[0][lane][column] = sum;
    __syncthreads();
    mean = quotient(over_lanes(shared[0]), static_cast<double>(p.size), rows.share);
  }
  double squares = 0;
  cuda::forget(left);
#pragma unroll
  for (int k = 0; k < kValues; ++k) {
    cuda::forget(values[k]);
    const double deviation = static_cast<double>(values[k]) - mean;
    if (k * kLanes < left) squares += deviation * deviation;
  }
  shared[1][lane][column] = squares;
  __syncthreads();
  const Statistics statistics = statistics_of(mean, over_lanes(shared[1]), rows.share, p.eps);
  const float* weight = rows.weight + lane;
  const float* bias = weight + rows.biases;
  auto* to = reinterpret_cast<char*>(y + offset);
  cuda::forget(weight);
  cuda::forget(bias);
  cuda::forget(to);
  cuda::forget(left);
#pragma unroll
  for (int k = 0; k < kValues; ++k) {
    if (k * kLanes < left) {
      *reinterpret_cast<float*>(to + k * static_cast<int64_t>(step)) =
          fmaf(statistics.normal(values[k]), __ldg(weight + k * kLanes), __ldg(bias + k * kLanes));
    }
  }
}

void launch_held_rows(const Context& context, Rows rows, const float* x, float* y) {
  rows.count = rows.problem.outer;
  cuda::for_held_size(rows.problem.size, [&](auto held) {
    cuda::launch_held<decltype(held)>(context, "norm", rows.count, held_kernel<decltype(held)>, x, y, rows);
  });
}

void launch_columns(const Context& context, Rows rows, const float* x, float* y) {
  rows.count = rows.problem.inner;
  rows.tiles = ceil_div(rows.count, kColumns);
  const unsigned grid = cuda::grid_size(checked_mul(rows.tiles, rows.problem.outer), "norm");
  const bool narrow = rows.count <= INT32_MAX / (kLanes * int64_t{sizeof(float)});  // steps fit 32 bits
  const int64_t each = narrow ? ceil_div(rows.problem.size, kLanes) : INT64_MAX;
  const auto kernel = each <= 8    ? held_columns_kernel<8>
                      : each <= 16 ? held_columns_kernel<16>
                      : each <= 32 ? held_columns_kernel<32>
                      : each <= 64 ? held_columns_kernel<64>
                                   : columns_kernel;
  kernel<<<grid, kThreads, 0, cuda::stream(context)>>>(x, y, rows);
  cuda::check_launch("norm");
}

}  // namespace

void normalise_cuda(const Normalise& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  list.push_back(float32_implementation(args, "cuda.native", [&layer, &args] {
    const NormProblem p = layer.problem(args.inputs[0].shape);
    const bool clusters = is_cluster_problem(p);
    const bool long_rows = !clusters && p.inner == 1 && p.size > cuda::held_size();
    return function_kernel(
        [p, clusters, long_rows, packed = layer.packed(args.weights)](const Context& context,
                                                                      const Bindings& bindings) {
          if (p.elements() == 0) return;
          const auto* x = bindings.inputs[0].ptr<const float>();
          auto* y = bindings.outputs[0].ptr<float>();
          const auto* parameters = reinterpret_cast<const float*>(packed->data());
          if (clusters) return normalise_cluster_rows(context, p, parameters, x, y);
          if (long_rows) return normalise_long_rows(context, p, parameters, x, y, bindings.workspace);
          const Rows rows{p, 1 / static_cast<double>(p.size), parameters, p.parameters(), 0, 0};
          if (p.inner == 1) {
            launch_held_rows(context, rows, x, y);
          } else {
            launch_columns(context, rows, x, y);
          }
        },
        long_rows ? long_rows_workspace(p) : 0);
  }));
}

}  // namespace strand::layers
