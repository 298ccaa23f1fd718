#pragma once
// A contiguous row in tiles that a block holds in registers: loading one, its sums, and its normal values. For the
// norms' .cu files; no memory of its own.

#include "layers/cuda_launch.cuh"
#include "layers/cuda_reduce.cuh"
#include "layers/forget.cuh"
#include "layers/norm/normalise.h"
#include "layers/norm/statistics.cuh"

namespace strand::layers {

namespace tiles {

constexpr int kBlock = 256;
constexpr int kBlocks = 4;  // a multiprocessor: 64 registers a thread, 128 KB of elements in flight
constexpr int kValues = 32;
constexpr int kTile = kBlock * kValues;

struct TiledRows {
  NormProblem problem;
  const float* weight;  // [weights, biases]
  int64_t biases;       // so many floats after them
  int64_t weights;      // of a row
  unsigned multiplier;  // n / repeat is n * multiplier >> 32 for n < 2 kTile and 1 < repeat < kTile
};

inline TiledRows tiled_rows(const NormProblem& p, const float* parameters) {
  const bool divides = p.repeat > 1 && p.repeat < kTile;
  return {p, parameters, p.parameters(), p.size / p.repeat,
          divides ? static_cast<unsigned>(ceil_div(int64_t{1} << 32, p.repeat)) : 0};
}

// A thread's first element in its tile, and how much further its k-th one is.
template <bool kVectors>
__device__ int first_place() {
  return static_cast<int>(threadIdx.x) * (kVectors ? 4 : 1);
}
template <bool kVectors>
__device__ constexpr int further(int k) {
  return kVectors ? k / 4 * 4 * kBlock + k % 4 : k * kBlock;
}

// Zeros past `count`, which is a multiple of 4 where there are vectors. kLast: nobody reads them again.
template <bool kVectors, bool kLast>
__device__ void load_tile(const float* x, int count, float (&values)[kValues]) {
  const float* from = x + first_place<kVectors>();
  const int left = count - first_place<kVectors>();
  cuda::forget(from);
#pragma unroll
  for (int k = 0; k < kValues; k += kVectors ? 4 : 1) {
    const bool inside = further<kVectors>(k) < left;
    if constexpr (kVectors) {
      float4 v{0, 0, 0, 0};
      const auto* vector = reinterpret_cast<const float4*>(from + further<true>(k));
      if (inside) v = kLast ? __ldcs(vector) : __ldcg(vector);
      values[k] = v.x;
      values[k + 1] = v.y;
      values[k + 2] = v.z;
      values[k + 3] = v.w;
    } else {
      values[k] = 0;
      if (inside) values[k] = kLast ? __ldcs(from + further<false>(k)) : __ldcg(from + further<false>(k));
    }
  }
}

// Of `count` elements, whose inverse is `share`: their sum, 0 where the mean is not taken off, and the squared
// deviations.
template <bool kVectors>
__device__ double2 sums_of(float (&values)[kValues], int count, double share, bool centred, double* shared) {
  double sum = 0;
  double mean = 0;
  if (centred) {
#pragma unroll
    for (int k = 0; k < kValues; ++k) sum += static_cast<double>(values[k]);
    sum = cuda::reduce_neighbours<kBlock>(sum, shared, cuda::Sum());
    mean = quotient(sum, count, share);
  }
  double squares = 0;
  int left = count - first_place<kVectors>();
  cuda::forget(left);
#pragma unroll
  for (int k = 0; k < kValues; ++k) {
    cuda::forget(values[k]);
    const double deviation = static_cast<double>(values[k]) - mean;
    if (further<kVectors>(k) < left) squares += deviation * deviation;
  }
  return {sum, cuda::reduce_neighbours<kBlock>(squares, shared, cuda::Sum())};
}

// y from value(k) for a thread's k-th element.
template <bool kVectors, class Value>
__device__ void put_tile(float* y, int count, const Value& value) {
  float* to = y + first_place<kVectors>();
  int left = count - first_place<kVectors>();
  cuda::forget(to);
  cuda::forget(left);
#pragma unroll
  for (int k = 0; k < kValues; k += kVectors ? 4 : 1) {
    if (further<kVectors>(k) >= left) continue;
    if constexpr (kVectors) {
      __stcs(reinterpret_cast<float4*>(to + further<true>(k)),
             make_float4(value(k), value(k + 1), value(k + 2), value(k + 3)));
    } else {
      __stcs(to + further<false>(k), value(k));
    }
  }
}

// `begin`: the tile's, in its row.
template <bool kVectors>
__device__ void store_tile(const TiledRows& rows, const Statistics& own, unsigned row, int64_t begin, int count,
                           const float (&values)[kValues], float* y) {
  const NormProblem& p = rows.problem;
  const float* weight = rows.weight + static_cast<int64_t>(row % static_cast<unsigned>(p.groups)) * rows.weights;
  const int64_t first = p.size <= INT32_MAX
                            ? static_cast<int64_t>(static_cast<uint32_t>(begin) / static_cast<uint32_t>(p.repeat))
                            : begin / p.repeat;
  const int64_t rest = begin - first * p.repeat;
  const auto index_of = [&](int i) {  // of the tile's i-th element
    if (p.repeat >= kTile) return first + (i >= p.repeat - rest ? 1 : 0);
    const auto from = static_cast<unsigned>(rest) + static_cast<unsigned>(i);
    return first + (p.repeat == 1 ? from : __umulhi(from, rows.multiplier));
  };
  if (index_of(count - 1) == first) {  // as in most tiles of many times
    const float factor = __ldg(weight + first);
    const float shift = __ldg(weight + rows.biases + first);
    put_tile<kVectors>(y, count, [&](int k) { return fmaf(own.normal(values[k]), factor, shift); });
  } else {
    put_tile<kVectors>(y, count, [&](int k) {
      const int64_t index = index_of(first_place<kVectors>() + further<kVectors>(k));
      return fmaf(own.normal(values[k]), __ldg(weight + index), __ldg(weight + rows.biases + index));
    });
  }
}

}  // namespace tiles

}  // namespace strand::layers
