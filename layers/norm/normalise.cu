// LayerNorm, GroupNorm, InstanceNorm1d and RMSNorm on CUDA, on rows as in normalise.h.
//
// Mapping: as softmax's. A block has (columns, lanes) threads, 256 in all; the lanes of a row share its elements, and
// run along x where rows are contiguous (32, or 256 where a row is long), else columns do. A thread takes 16 elements
// at a time into registers, their moments in two passes there, and merges those into its own in double; lanes are
// merged as a tree in shared memory. The second read, to normalise, comes from the cache while rows fit there. Few long
// rows (GroupNorm with one group) would leave most of the chip idle: there a block takes a chunk, one launch writes the
// chunks' moments to the workspace, the next merges those of its row and normalises. 12 bytes an element instead of 8.
// Contiguous rows of up to 65536 elements are read once: a thread holds 8 or 32 in registers, and as many as it holds
// there in shared memory where a row is longer than 1024 threads' registers. Mean first, then deviations from it.
// Limits: 64-bit sizes; the grid rides on x. The same order, and so the same bits, each run.

#include "layers/cuda_launch.cuh"
#include "layers/cuda_reduce.cuh"
#include "layers/held_rows.cuh"
#include "layers/implementation_list.h"
#include "layers/norm/moments.h"
#include "layers/norm/normalise.h"
#include "layers/norm/statistics.cuh"

namespace strand::layers {
namespace {

constexpr int kThreads = cuda::kThreads;
constexpr int kBatch = 16;
constexpr int64_t kChunk = 32768;
constexpr int64_t kFewRows = 1024;

struct Rows {
  NormProblem problem;
  double share;         // 1 / problem.size
  const float* weight;  // [weights, biases]
  int64_t biases;       // so many floats after them
  int64_t tiles;        // of an outer index, or of all rows where they are contiguous; of a row that is chunks
  int64_t count;        // rows in them
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

__device__ void normalise(const Rows& rows, const Statistics& statistics, int64_t outer, const float* x, float* y,
                          int64_t stride, int64_t begin, int64_t end, int64_t step) {
  const NormProblem& p = rows.problem;
  const float* weight = rows.weight + outer % p.groups * (p.size / p.repeat);
  const bool small = p.size <= INT32_MAX;  // division is cheaper in 32 bits
  for (int64_t i = begin; i < end; i += step) {
    int64_t index = i;
    if (p.repeat > 1) {
      index = small ? static_cast<int64_t>(static_cast<uint32_t>(i) / static_cast<uint32_t>(p.repeat)) : i / p.repeat;
    }
    y[i * stride] = fmaf(statistics.normal(x[i * stride]), __ldg(weight + index), __ldg(weight + rows.biases + index));
  }
}

// kContiguous: lanes run along x and rows are `size` apart. Otherwise columns do.
template <bool kContiguous, int kLanes>
__global__ void __launch_bounds__(kThreads)
    rows_kernel(const float* __restrict__ x, float* __restrict__ y, const Rows rows) {
  constexpr int kColumns = kThreads / kLanes;
  constexpr int kLaneStride = kContiguous ? 1 : kColumns;
  __shared__ Moments shared[kThreads];
  const NormProblem& p = rows.problem;
  const int lane = kContiguous ? threadIdx.x % kLanes : threadIdx.x / kColumns;
  const int column = kContiguous ? threadIdx.x / kLanes : threadIdx.x % kColumns;
  const int64_t row = blockIdx.x % rows.tiles * kColumns + column;
  const int64_t outer = kContiguous ? row : blockIdx.x / rows.tiles;
  const int64_t size = row < rows.count ? p.size : 0;  // threads without a row only keep the barriers
  const int64_t offset = outer * p.size * p.inner + (kContiguous ? 0 : row);
  const int64_t stride = kContiguous ? 1 : p.inner;
  const Moments own = moments_of(x + offset, stride, lane, size, kLanes, p.centred);
  const Moments moments = cuda::reduce_lanes<kLanes>(own, shared, lane, kLaneStride, Merge());
  normalise(rows, statistics_of(moments, p.eps), outer, x + offset, y + offset, stride, lane, size, kLanes);
}

__global__ void __launch_bounds__(kThreads)
    chunk_moments_kernel(const float* __restrict__ x, Moments* __restrict__ chunks, const Rows rows) {
  __shared__ Moments shared[kThreads];
  const int64_t row = blockIdx.x / rows.tiles;
  const int64_t begin = blockIdx.x % rows.tiles * kChunk;
  const int64_t end = min(begin + kChunk, rows.problem.size);
  const int lane = static_cast<int>(threadIdx.x);
  const Moments own = moments_of(x + row * rows.problem.size, 1, begin + lane, end, kThreads, rows.problem.centred);
  const Moments moments = cuda::reduce_lanes<kThreads>(own, shared, lane, 1, Merge());
  if (lane == 0) chunks[blockIdx.x] = moments;
}

__global__ void __launch_bounds__(kThreads)
    chunk_normalise_kernel(const float* __restrict__ x, float* __restrict__ y, const Moments* __restrict__ chunks,
                           const Rows rows) {
  __shared__ Moments shared[kThreads];
  const int64_t row = blockIdx.x / rows.tiles;
  const int64_t begin = blockIdx.x % rows.tiles * kChunk;
  const int64_t end = min(begin + kChunk, rows.problem.size);
  const int lane = static_cast<int>(threadIdx.x);
  Moments own{0, 0, 0};
  for (int64_t i = lane; i < rows.tiles; i += kThreads) own = merge(own, chunks[row * rows.tiles + i]);
  const Moments moments = cuda::reduce_lanes<kThreads>(own, shared, lane, 1, Merge());
  const int64_t offset = row * rows.problem.size;
  normalise(rows, statistics_of(moments, rows.problem.eps), row, x + offset, y + offset, 1, begin + lane, end,
            kThreads);
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
  if (size > 0) {
    x += row * p.size;
    y += row * p.size;
  }
  float values[kValues];
#pragma unroll
  for (int k = 0; k < kValues; ++k) values[k] = lane + k * kLanes < size ? x[lane + k * kLanes] : 0.0F;
  double sum = 0;
#pragma unroll 8
  for (int k = 0; k < kShared; ++k) {
    const int i = lane + (kValues + k) * kLanes;
    const float value = i < size ? x[i] : 0.0F;
    held[k * kBlock + threadIdx.x] = value;
    sum += static_cast<double>(value);
  }
#pragma unroll
  for (int k = 0; k < kValues; ++k) sum += static_cast<double>(values[k]);
  double mean = 0;
  if (p.centred) {
    sum = cuda::reduce_neighbours<kLanes>(sum, shared, cuda::Sum());
    mean = quotient(sum, static_cast<double>(p.size), rows.share);
  }
  double squares = 0;
#pragma unroll
  for (int k = 0; k < kValues; ++k) {
    const double deviation = static_cast<double>(values[k]) - mean;
    if (lane + k * kLanes < size) squares += deviation * deviation;
  }
#pragma unroll 8
  for (int k = 0; k < kShared; ++k) {
    const double deviation = static_cast<double>(held[k * kBlock + threadIdx.x]) - mean;
    if (lane + (kValues + k) * kLanes < size) squares += deviation * deviation;
  }
  squares = cuda::reduce_neighbours<kLanes>(squares, shared, cuda::Sum());
  const Statistics statistics = statistics_of(mean, squares, rows.share, p.eps);
  const float* weight = rows.weight + row % p.groups * (p.size / p.repeat);
  const auto repeat = static_cast<uint32_t>(p.repeat);
  const auto store = [&](int i, float value) {
    if (i >= size) return;
    const uint32_t index = repeat > 1 ? static_cast<uint32_t>(i) / repeat : static_cast<uint32_t>(i);
    y[i] = fmaf(statistics.normal(value), __ldg(weight + index), __ldg(weight + rows.biases + index));
  };
#pragma unroll
  for (int k = 0; k < kValues; ++k) store(lane + k * kLanes, values[k]);
#pragma unroll 8
  for (int k = 0; k < kShared; ++k) store(lane + (kValues + k) * kLanes, held[k * kBlock + threadIdx.x]);
}

// Rows of up to 256 elements that lie `inner` apart, 32 columns by 8 lanes, a thread's elements in registers.
__global__ void __launch_bounds__(kThreads, 3)
    held_columns_kernel(const float* __restrict__ x, float* __restrict__ y, const Rows rows) {
  constexpr int kLanes = 8;
  constexpr int kColumns = kThreads / kLanes;
  constexpr int kValues = 32;
  __shared__ double shared[kThreads];
  const NormProblem& p = rows.problem;
  const int lane = static_cast<int>(threadIdx.x) / kColumns;
  const int64_t row = blockIdx.x % rows.tiles * kColumns + threadIdx.x % kColumns;
  const int64_t offset = blockIdx.x / rows.tiles * p.size * p.inner + row;
  const int size = row < rows.count ? static_cast<int>(p.size) : 0;  // threads without a row only keep the barriers
  float values[kValues];
  double sum = 0;
#pragma unroll
  for (int k = 0; k < kValues; ++k) {
    const int i = lane + k * kLanes;
    values[k] = i < size ? x[offset + i * p.inner] : 0.0F;
  }
#pragma unroll
  for (int k = 0; k < kValues; ++k) sum += static_cast<double>(values[k]);
  double mean = 0;
  if (p.centred) {
    sum = cuda::reduce_lanes<kLanes>(sum, shared, lane, kColumns, cuda::Sum());
    mean = quotient(sum, static_cast<double>(p.size), rows.share);
  }
  double squares = 0;
#pragma unroll
  for (int k = 0; k < kValues; ++k) {
    const double deviation = static_cast<double>(values[k]) - mean;
    if (lane + k * kLanes < size) squares += deviation * deviation;
  }
  squares = cuda::reduce_lanes<kLanes>(squares, shared, lane, kColumns, cuda::Sum());
  const Statistics statistics = statistics_of(mean, squares, rows.share, p.eps);
#pragma unroll
  for (int k = 0; k < kValues; ++k) {
    const int i = lane + k * kLanes;
    if (i < size) {
      y[offset + i * p.inner] =
          fmaf(statistics.normal(values[k]), __ldg(rows.weight + i), __ldg(rows.weight + rows.biases + i));
    }
  }
}

void launch_held_columns(const Context& context, Rows rows, const float* x, float* y) {
  rows.count = rows.problem.inner;
  rows.tiles = ceil_div(rows.count, 32);
  const unsigned grid = cuda::grid_size(checked_mul(rows.tiles, rows.problem.outer), "norm");
  held_columns_kernel<<<grid, kThreads, 0, cuda::stream(context)>>>(x, y, rows);
  cuda::check_launch("norm");
}

bool in_chunks(const NormProblem& p) { return p.inner == 1 && p.size > kChunk && p.outer < kFewRows; }

void launch_held_rows(const Context& context, Rows rows, const float* x, float* y) {
  rows.count = rows.problem.outer;
  cuda::for_held_size(rows.problem.size, [&](auto held) {
    cuda::launch_held<decltype(held)>(context, "norm", rows.count, held_kernel<decltype(held)>, x, y, rows);
  });
}

template <bool kContiguous, int kLanes>
void launch_rows(const Context& context, Rows rows, const float* x, float* y) {
  const NormProblem& p = rows.problem;
  rows.count = kContiguous ? p.outer : p.inner;
  rows.tiles = ceil_div(rows.count, kThreads / kLanes);
  const unsigned grid = cuda::grid_size(checked_mul(rows.tiles, kContiguous ? 1 : p.outer), "norm");
  rows_kernel<kContiguous, kLanes><<<grid, kThreads, 0, cuda::stream(context)>>>(x, y, rows);
  cuda::check_launch("norm");
}

void launch_chunks(const Context& context, Rows rows, const float* x, float* y, Moments* chunks) {
  const NormProblem& p = rows.problem;
  rows.count = p.outer;
  rows.tiles = ceil_div(p.size, kChunk);
  const unsigned grid = cuda::grid_size(checked_mul(rows.tiles, p.outer), "norm");
  chunk_moments_kernel<<<grid, kThreads, 0, cuda::stream(context)>>>(x, chunks, rows);
  cuda::check_launch("norm's moments");
  chunk_normalise_kernel<<<grid, kThreads, 0, cuda::stream(context)>>>(x, y, chunks, rows);
  cuda::check_launch("norm");
}

}  // namespace

void normalise_cuda(const Normalise& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  list.push_back(float32_implementation(args, "cuda.native", [&layer, &args] {
    const NormProblem p = layer.problem(args.inputs[0].shape);
    const int64_t held = cuda::held_size();
    const int64_t chunks = p.size > held && in_chunks(p) ? p.outer * ceil_div(p.size, kChunk) : 0;
    return function_kernel(
        [p, held, packed = layer.packed(args.weights)](const Context& context, const Bindings& bindings) {
          if (p.elements() == 0) return;
          const auto* x = bindings.inputs[0].ptr<const float>();
          auto* y = bindings.outputs[0].ptr<float>();
          const Rows rows{
              p, 1 / static_cast<double>(p.size), reinterpret_cast<const float*>(packed->data()), p.parameters(), 0, 0};
          if (p.inner == 1 && p.size <= held) {
            launch_held_rows(context, rows, x, y);
          } else if (in_chunks(p)) {
            launch_chunks(context, rows, x, y, reinterpret_cast<Moments*>(bindings.workspace));
          } else if (p.inner > 1 && p.size <= 256) {
            launch_held_columns(context, rows, x, y);
          } else if (p.inner > 1) {
            launch_rows<false, 8>(context, rows, x, y);
          } else {
            launch_rows<true, 256>(context, rows, x, y);
          }
        },
        chunks * static_cast<int64_t>(sizeof(Moments)));
  }));
}

}  // namespace strand::layers
