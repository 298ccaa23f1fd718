// Mean, Sum, Max and Std over one axis on CUDA, x seen as [outer, size, inner].
//
// Two mappings: for the last axis (inner 1) a block a row, whose threads take every kThreads-th element and meet in a
// tree; for another axis a thread an output, neighbours along the inner axis, so that all loads coalesce.
// Sums are kept in double by each thread. Std goes twice over its input, all in double, the second time mostly out of
// the L2 cache. Limits: 64-bit sizes; few outputs over a long outer axis leave the device
// half empty.

#include "layers/cuda_launch.cuh"
#include "layers/cuda_reduce.cuh"
#include "layers/implementation_list.h"
#include "layers/reduce/reduce.h"

namespace strand::layers {
namespace {

constexpr int kThreads = cuda::kThreads;

struct SumOf {
  double total = 0;
  __device__ void take(float x) { total += static_cast<double>(x); }
  __device__ float operator()(float a, float b) const { return a + b; }
};

struct MaxOf {
  float total = -INFINITY;
  __device__ void take(float x) { total = (*this)(total, x); }
  __device__ float operator()(float a, float b) const { return b > a || b != b ? b : a; }  // a NaN stays
};

template <class Of>
struct ColumnReduction {
  AxisSplit split;
  double divisor;
  const float* x;
  float* y;
  template <class Index>
  __device__ float load(Index i) const {
    const Index outer = i / static_cast<Index>(split.inner);
    const int64_t inner = static_cast<int64_t>(i - outer * static_cast<Index>(split.inner));
    const float* column = x + static_cast<int64_t>(outer) * split.size * split.inner + inner;
    Of of;
#pragma unroll 4
    for (int64_t j = 0; j < split.size; ++j) of.take(column[j * split.inner]);
    return static_cast<float>(static_cast<double>(of.total) / divisor);
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

struct ColumnDeviation {
  AxisSplit split;
  double divisor;
  const float* x;
  float* y;
  template <class Index>
  __device__ float load(Index i) const {
    const Index outer = i / static_cast<Index>(split.inner);
    const int64_t inner = static_cast<int64_t>(i - outer * static_cast<Index>(split.inner));
    const float* column = x + static_cast<int64_t>(outer) * split.size * split.inner + inner;
    double mean = 0;
#pragma unroll 4
    for (int64_t j = 0; j < split.size; ++j) mean += static_cast<double>(column[j * split.inner]);
    mean /= static_cast<double>(split.size);
    double squares = 0;
#pragma unroll 4
    for (int64_t j = 0; j < split.size; ++j) {
      const double deviation = static_cast<double>(column[j * split.inner]) - mean;
      squares += deviation * deviation;
    }
    return static_cast<float>(sqrt(squares / divisor));
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

template <class Of>
__global__ void __launch_bounds__(kThreads)
    reduce_rows(int64_t size, double divisor, const float* __restrict__ x, float* __restrict__ y) {
  __shared__ float shared[kThreads];
  const float* row = x + blockIdx.x * size;
  Of of;
  for (int64_t j = threadIdx.x; j < size; j += kThreads) of.take(row[j]);
  const float total =
      cuda::reduce_lanes<kThreads>(static_cast<float>(of.total), shared, static_cast<int>(threadIdx.x), 1, Of());
  if (threadIdx.x == 0) y[blockIdx.x] = static_cast<float>(static_cast<double>(total) / divisor);
}

struct AddDoubles {
  __device__ double operator()(double a, double b) const { return a + b; }
};

__global__ void __launch_bounds__(kThreads)
    deviation_rows(int64_t size, double divisor, const float* __restrict__ x, float* __restrict__ y) {
  __shared__ double shared[kThreads];
  const float* row = x + blockIdx.x * size;
  const int lane = static_cast<int>(threadIdx.x);
  double sum = 0;
  for (int64_t j = lane; j < size; j += kThreads) sum += static_cast<double>(row[j]);
  const double mean = cuda::reduce_lanes<kThreads>(sum, shared, lane, 1, AddDoubles()) / static_cast<double>(size);
  double squares = 0;
  for (int64_t j = lane; j < size; j += kThreads) {
    const double deviation = static_cast<double>(row[j]) - mean;
    squares += deviation * deviation;
  }
  squares = cuda::reduce_lanes<kThreads>(squares, shared, lane, 1, AddDoubles());
  if (lane == 0) y[blockIdx.x] = static_cast<float>(sqrt(squares / divisor));
}

void launch_deviation(const Context& context, const AxisSplit& split, double divisor, const float* x, float* y) {
  if (split.inner > 1) {
    return cuda::launch_flat(context, "deviation", split.outer * split.inner, ColumnDeviation{split, divisor, x, y});
  }
  if (split.outer * split.inner == 0) return;
  deviation_rows<<<cuda::grid_size(split.outer, "deviation"), kThreads, 0, cuda::stream(context)>>>(split.size, divisor,
                                                                                                    x, y);
  cuda::check_launch("deviation");
}

template <class Of>
void launch(const Context& context, const AxisSplit& split, double divisor, const float* x, float* y) {
  if (split.inner > 1) {
    return cuda::launch_flat(context, "reduction", split.outer * split.inner,
                             ColumnReduction<Of>{split, divisor, x, y});
  }
  if (split.outer * split.inner == 0) return;
  reduce_rows<Of>
      <<<cuda::grid_size(split.outer, "reduction"), kThreads, 0, cuda::stream(context)>>>(split.size, divisor, x, y);
  cuda::check_launch("reduction");
}

}  // namespace

void reduce_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const auto& reduce = static_cast<const Reduce&>(layer);
  const AxisSplit split = reduce.split(args.inputs[0].shape);
  list.push_back(float32_implementation(args, "cuda.native", [split, &reduce] {
    const ReduceKind kind = reduce.kind();
    const double divisor = reduce_divisor(kind, split.size, reduce.correction());
    const auto run = kind == ReduceKind::kMax   ? launch<MaxOf>
                     : kind == ReduceKind::kStd ? launch_deviation
                                                : launch<SumOf>;
    return function_kernel([split, divisor, run](const Context& context, const Bindings& bindings) {
      run(context, split, divisor, bindings.inputs[0].ptr<const float>(), bindings.outputs[0].ptr<float>());
    });
  }));
}

}  // namespace strand::layers
