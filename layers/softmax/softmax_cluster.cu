// Softmax and LogSoftmax over contiguous rows of 8193 to 65536 elements, where the device has clusters: 2, 4 or 8
// blocks hold a row together (layers/held_tiles.cuh), so that four blocks at different stages share a multiprocessor;
// one block that held such a row would be alone on its own, and nothing would load while it sums or stores.
//
// Each block writes its largest value, then its sum, into the shared memory of all blocks of its cluster, and each
// block combines them in the order of the blocks. Read once, written once. Limits: compute capability 9.0; 64-bit
// sizes, the grid rides on x.

#include <cooperative_groups.h>

#include "layers/cuda_reduce.cuh"
#include "layers/held_tiles.cuh"
#include "layers/softmax/softmax_cluster.h"

namespace strand::layers {
namespace {

using namespace cuda::tiles;

template <bool kLog, bool kVectors>
__global__ void __launch_bounds__(kBlock, kBlocks)
    cluster_kernel(const float* __restrict__ x, float* __restrict__ y, const cuda::ClusterRow row) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  namespace cg = cooperative_groups;
  __shared__ float shared[kBlock / 32];
  __shared__ float largest[cuda::kClusterBlocks];  // of all blocks
  __shared__ float sums[cuda::kClusterBlocks];
  const cg::cluster_group cluster = cg::this_cluster();
  const auto rank = static_cast<int>(cluster.block_rank());
  const auto self = static_cast<int>(threadIdx.x);
  const int begin = rank * row.share;
  const int count = min(row.size - begin, row.share);
  const int64_t offset = static_cast<int64_t>(blockIdx.x / static_cast<unsigned>(row.blocks)) * row.size + begin;
  cluster.barrier_arrive();
  float values[kValues];
  load_tile<kVectors, true>(x + offset, count, values, -INFINITY);
  float max = -INFINITY;
#pragma unroll
  for (int k = 0; k < kValues; ++k) max = fmaxf(max, values[k]);
  max = cuda::reduce_neighbours<kBlock>(max, shared, cuda::Max());
  cluster.barrier_wait();  // all blocks run, so their memory may be written
  if (self < row.blocks) *cluster.map_shared_rank(largest + rank, self) = max;
  cluster.sync();
  for (int i = 0; i < row.blocks; ++i) max = fmaxf(max, largest[i]);
  // From here on they are exp(x - max), or x - max for the logarithm. What lies beyond the row's end adds nothing;
  // where it would, max is -Inf and all of the row is NaN.
  float sum = 0;
#pragma unroll
  for (int k = 0; k < kValues; ++k) {
    const float distance = values[k] - max;
    const float e = expf(distance);
    sum += e;
    values[k] = kLog ? distance : e;
  }
  sum = cuda::reduce_neighbours<kBlock>(sum, shared, cuda::Sum());
  if (self < row.blocks) *cluster.map_shared_rank(sums + rank, self) = sum;
  cluster.sync();  // after it nobody touches another's memory
  sum = 0;
  for (int i = 0; i < row.blocks; ++i) sum += sums[i];
  // sum is 1 to 65536, so its inverse loses no more than a rounding.
  const float last = kLog ? logf(sum) : 1 / sum;
  put_tile<kVectors>(y + offset, count, [&](int k) { return kLog ? values[k] - last : values[k] * last; });
#endif
}

}  // namespace

bool is_cluster_softmax(const AxisSplit& split) {
  return split.inner == 1 && cuda::fits_cluster(split.size) &&
         cuda::runs_in_clusters(cluster_kernel<false, true>, "Softmax");
}

void cluster_softmax(const Context& context, bool log, const AxisSplit& split, const float* x, float* y) {
  const cuda::ClusterRow row(split.size);
  const bool vectors = split.size % 4 == 0 && cuda::aligned16(x) && cuda::aligned16(y);
  const auto kernel = log ? (vectors ? cluster_kernel<true, true> : cluster_kernel<true, false>)
                          : (vectors ? cluster_kernel<false, true> : cluster_kernel<false, false>);
  cuda::launch_clusters(context, "Softmax", split.outer, row.blocks, kernel, x, y, row);
}

}  // namespace strand::layers
