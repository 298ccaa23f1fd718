#pragma once
// A contiguous row in tiles that a block holds in registers: loading one, its sums, and its normal values. For the
// norms' .cu files; no memory of its own.

#include "layers/cuda_reduce.cuh"
#include "layers/held_tiles.cuh"
#include "layers/norm/normalise.h"
#include "layers/norm/statistics.cuh"

namespace strand::layers {

namespace tiles {

using namespace cuda::tiles;

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
