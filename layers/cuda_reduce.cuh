#pragma once
// Reductions inside one block, as trees in shared memory: the same order, and so the same bits, each run. For .cu
// files.

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

}  // namespace strand::cuda
