#pragma once
// Launching one thread an element: `launch_flat` calls body.load(i) and body.store(i, value) for all i in [0, count),
// four independent elements a thread where there are enough, all loads before the first store, so that a kernel of a
// few lines comes near the bandwidth of a copy. For .cu files; no memory of its own.
//
// `launch_rows` is that for bodies that ask where in a row an element lies: body.load(row, column), and body.store(i,
// value) with i = row * length + column. A block keeps to one row where rows are long, so that a thread divides once.
//
// Index is 32 bits where the count allows it, since bodies often divide by sizes. The grid rides on x alone.

#include <cstdint>
#include <string>

#include "engine/checked.h"
#include "engine/cuda_check.h"

namespace strand::cuda {

constexpr int kThreads = 256;

// 16 bytes of floats, and what a body may move at once.
struct alignas(16) Float4 {
  float v[4];
};

inline bool aligned16(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

// The x size of a grid; Error(kLimit) naming the kernel past CUDA's 2^31 - 1.
inline unsigned grid_size(int64_t blocks, const char* kernel) {
  if (blocks > INT32_MAX) {
    throw Error(ErrorCategory::kLimit,
                std::string(kernel) + ": " + std::to_string(blocks) + " blocks, at most 2^31 - 1");
  }
  return static_cast<unsigned>(blocks);
}

template <int kItems, class Index, class Body>
__global__ void __launch_bounds__(kThreads) flat_kernel(Index count, Body body) {
  const Index first = static_cast<Index>(blockIdx.x) * (kThreads * kItems) + threadIdx.x;
  decltype(body.load(first)) values[kItems];
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const Index i = first + static_cast<Index>(item * kThreads);
    if (i < count) values[item] = body.load(i);
  }
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const Index i = first + static_cast<Index>(item * kThreads);
    if (i < count) body.store(i, values[item]);
  }
}

template <class Body>
void launch_flat(const Context& context, const char* name, int64_t count, const Body& body) {
  constexpr int kItems = 4;
  constexpr int64_t kEnough = int64_t{1} << 20;  // below, parallelism is worth more than items a thread
  if (count <= 0) return;
  if (count < kEnough) {
    flat_kernel<1, uint32_t><<<grid_size(ceil_div(count, kThreads), name), kThreads, 0, stream(context)>>>(
        static_cast<uint32_t>(count), body);
  } else if (count <= INT32_MAX) {
    flat_kernel<kItems, uint32_t>
        <<<grid_size(ceil_div(count, kThreads * kItems), name), kThreads, 0, stream(context)>>>(
            static_cast<uint32_t>(count), body);
  } else {
    flat_kernel<kItems, uint64_t>
        <<<grid_size(ceil_div(count, kThreads * kItems), name), kThreads, 0, stream(context)>>>(
            static_cast<uint64_t>(count), body);
  }
  check_launch(name);
}

// A thread's items lie in one row: what a body reads of the row alone is read once.
template <int kItems, class Index, class Body>
__global__ void __launch_bounds__(kThreads) rows_kernel(unsigned tiles, Index length, Body body) {
  const unsigned row = blockIdx.x / tiles;
  const Index first = static_cast<Index>(blockIdx.x - row * tiles) * (kThreads * kItems) + threadIdx.x;
  const Index begin = static_cast<Index>(row) * length;
  decltype(body.load(row, first)) values[kItems];
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const Index column = first + static_cast<Index>(item * kThreads);
    if (column < length) values[item] = body.load(row, column);
  }
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const Index column = first + static_cast<Index>(item * kThreads);
    if (column < length) body.store(begin + column, values[item]);
  }
}

// Rows too short to fill blocks, by launch_flat.
template <class Body>
struct RowsOfFlat {
  Body body;
  int64_t length;
  template <class Index>
  __device__ auto load(Index i) const {
    const Index row = i / static_cast<Index>(length);
    return body.load(row, i - row * static_cast<Index>(length));
  }
  template <class Index, class Value>
  __device__ void store(Index i, const Value& value) const {
    body.store(i, value);
  }
};

template <int kItems, class Body>
void launch_long_rows(const Context& context, const char* name, int64_t rows, int64_t length, const Body& body) {
  const int64_t tiles = ceil_div(length, kThreads * kItems);
  const unsigned grid = grid_size(checked_mul(rows, tiles), name);
  if (rows * length <= INT32_MAX) {
    rows_kernel<kItems, uint32_t>
        <<<grid, kThreads, 0, stream(context)>>>(static_cast<unsigned>(tiles), static_cast<uint32_t>(length), body);
  } else {
    rows_kernel<kItems, uint64_t>
        <<<grid, kThreads, 0, stream(context)>>>(static_cast<unsigned>(tiles), static_cast<uint64_t>(length), body);
  }
  check_launch(name);
}

template <class Body>
void launch_rows(const Context& context, const char* name, int64_t rows, int64_t length, const Body& body) {
  constexpr int kItems = 4;
  constexpr int64_t kEnough = int64_t{1} << 20;
  const int64_t count = checked_mul(rows, length);
  if (count >= kEnough && length >= 2 * kThreads * kItems) {
    launch_long_rows<kItems>(context, name, rows, length, body);
  } else if (count > 0 && count < kEnough && length >= 2 * kThreads) {
    launch_long_rows<1>(context, name, rows, length, body);
  } else {
    launch_flat(context, name, count, RowsOfFlat<Body>{body, length});
  }
}

// y[i] = function(x[i]) with 16-byte loads and stores where both are aligned, and scalars for the rest.
template <class Function>
struct UnaryVectorBody {
  const Float4* x;
  Float4* y;
  Function function;
  template <class Index>
  __device__ Float4 load(Index i) const {
    return x[i];
  }
  template <class Index>
  __device__ void store(Index i, Float4 value) const {
#pragma unroll
    for (float& v : value.v) v = function(v);
    y[i] = value;
  }
};

template <class Function>
struct UnaryBody {
  const float* x;
  float* y;
  Function function;
  template <class Index>
  __device__ float load(Index i) const {
    return x[i];
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = function(value);
  }
};

template <class Function>
void launch_unary(const Context& context, const char* name, const float* x, float* y, int64_t count,
                  const Function& function) {
  const int64_t vectors = aligned16(x) && aligned16(y) ? count / 4 : 0;
  launch_flat(context, name, vectors,
              UnaryVectorBody<Function>{reinterpret_cast<const Float4*>(x), reinterpret_cast<Float4*>(y), function});
  launch_flat(context, name, count - vectors * 4, UnaryBody<Function>{x + vectors * 4, y + vectors * 4, function});
}

}  // namespace strand::cuda
