#pragma once
// Reductions inside one block, as trees: the same order, and so the same bits, each run. For .cu files.

namespace strand::cuda {

struct Max {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }  // a NaN loses
};
struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

// The values of kLanes threads combined, for each of them; their threadIdx.x are `lane_stride` apart and this one is
// number `lane`. kLanes is a power of two; `shared` has an element a thread. Every thread of the block must call it.
template <int kLanes, class T, class Combine>
__device__ T reduce_lanes(T value, T* shared, int lane, int lane_stride, Combine combine) {
  const int self = static_cast<int>(threadIdx.x);
  __syncthreads();
  shared[self] = value;
  __syncthreads();
#pragma unroll
  for (int half = kLanes / 2; half > 0; half /= 2) {
    if (lane < half) shared[self] = combine(shared[self], shared[self + half * lane_stride]);
    __syncthreads();
  }
  return shared[self - lane * lane_stride];
}

// The same for lanes that are consecutive threads, the first a multiple of kLanes, by shuffles: no barrier up to a
// warp, two above it. combine(a, b) is combine(b, a), so that all lanes get the same bits. `shared` has an element a
// warp. Every thread of the block, which is whole warps, must call it.
template <int kLanes, class T, class Combine>
__device__ T reduce_neighbours(T value, T* shared, Combine combine) {
  constexpr int kWarp = 32;
  static_assert(kLanes <= kWarp * kWarp && (kLanes & (kLanes - 1)) == 0);
#pragma unroll
  for (int half = min(kLanes, kWarp) / 2; half > 0; half /= 2) {
    value = combine(value, __shfl_xor_sync(~0U, value, half));
  }
  if constexpr (kLanes > kWarp) {
    constexpr int kWarps = kLanes / kWarp;
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int self = static_cast<int>(threadIdx.x) % kWarp;
    __syncthreads();  // the last reduction's values have been read
    if (self == 0) shared[warp] = value;
    __syncthreads();
    value = shared[warp / kWarps * kWarps + self % kWarps];
#pragma unroll
    for (int half = kWarps / 2; half > 0; half /= 2) value = combine(value, __shfl_xor_sync(~0U, value, half));
  }
  return value;
}

}  // namespace strand::cuda
