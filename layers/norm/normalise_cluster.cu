// Contiguous rows of 8193 to 65536 elements, where the device has clusters: 2, 4 or 8 blocks hold a row together.
//
// Why: one block of 1024 threads takes a multiprocessor's registers and shared memory for such a row, and while it
// sums, waits or stores, nothing loads. Here four blocks of 256 threads share a multiprocessor and are at different
// stages.
//
// Mapping: a block holds an even share of the row, at most 8192 elements, 32 a thread; it writes its sums into the
// shared memory of all blocks of its cluster, and each merges them in the order of the blocks. Read once, written once.
// Limits: compute capability 9.0; 64-bit sizes, the grid rides on x.

#include <cooperative_groups.h>

#include "engine/checked.h"
#include "layers/norm/normalise_long.h"
#include "layers/norm/tiles.cuh"

namespace strand::layers {
namespace {

using namespace tiles;

struct ClusterRows {
  TiledRows row;
  cuda::ClusterRow cluster;
  double inverse;        // of the row's size
  double share_inverse;  // of the cluster's share
  double rest_inverse;
};

template <bool kVectors>
__global__ void __launch_bounds__(kBlock, kBlocks)
    cluster_kernel(const float* __restrict__ x, float* __restrict__ y, const ClusterRows rows) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  namespace cg = cooperative_groups;
  __shared__ double shared[kBlock / 32];
  __shared__ double2 sums[cuda::kClusterBlocks];  // of all blocks
  const cg::cluster_group cluster = cg::this_cluster();
  const NormProblem& p = rows.row.problem;
  const auto [size, blocks, share] = rows.cluster;
  const auto rank = static_cast<int>(cluster.block_rank());
  const unsigned row = blockIdx.x / static_cast<unsigned>(blocks);
  const int begin = rank * share;
  const int count = min(size - begin, share);
  const bool last = rank == blocks - 1;
  const int64_t offset = row * p.size + begin;
  cluster.barrier_arrive();
  float values[kValues];
  load_tile<kVectors, true>(x + offset, count, values);
  const double2 own =
      sums_of<kVectors>(values, count, last ? rows.rest_inverse : rows.share_inverse, p.centred, shared);
  cluster.barrier_wait();  // all blocks run, so their memory may be written
  const auto self = static_cast<int>(threadIdx.x);
  if (self < blocks) *cluster.map_shared_rank(sums + rank, self) = own;
  cluster.sync();  // after it nobody touches another's memory
  double mean = 0;
  if (p.centred) {
    double sum = 0;
    for (int i = 0; i < blocks; ++i) sum += sums[i].x;
    mean = quotient(sum, p.size, rows.inverse);
  }
  double squares = 0;
  for (int i = 0; i < blocks; ++i) {
    const bool whole = i < blocks - 1;
    const double elements = whole ? share : size - i * share;
    const double distance = p.centred ? fma(-elements, mean, sums[i].x) : 0;  // of the means, times the elements
    squares += sums[i].y + distance * distance * (whole ? rows.share_inverse : rows.rest_inverse);
  }
  const Statistics statistics = statistics_of(mean, squares, rows.inverse, p.eps);
  store_tile<kVectors>(rows.row, statistics, row, begin, count, values, y + offset);
#endif
}

}  // namespace

bool is_cluster_problem(const NormProblem& p) {
  return p.inner == 1 && cuda::fits_cluster(p.size) && cuda::runs_in_clusters(cluster_kernel<true>, "norm");
}

void normalise_cluster_rows(const Context& context, const NormProblem& p, const float* parameters, const float* x,
                            float* y) {
  const cuda::ClusterRow cluster(p.size);
  const int rest = cluster.size - (cluster.blocks - 1) * cluster.share;
  const ClusterRows rows{tiled_rows(p, parameters), cluster, 1.0 / cluster.size, 1.0 / cluster.share, 1.0 / rest};
  const bool vectors = p.size % 4 == 0 && cuda::aligned16(x) && cuda::aligned16(y);
  cuda::launch_clusters(context, "norm", p.outer, cluster.blocks,
                        vectors ? cluster_kernel<true> : cluster_kernel<false>, x, y, rows);
}

}  // namespace strand::layers
