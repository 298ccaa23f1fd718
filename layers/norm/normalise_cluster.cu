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

constexpr int kMost = 8;  // blocks of a cluster that every device with clusters has

struct ClusterRows {
  TiledRows row;
  double inverse;  // of the row's size
  int blocks;
  int share;             // elements of a block; the last has the rest
  double share_inverse;  // of the share
  double rest_inverse;
};

template <bool kVectors>
__global__ void __launch_bounds__(kBlock, kBlocks)
    cluster_kernel(const float* __restrict__ x, float* __restrict__ y, const ClusterRows rows) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  namespace cg = cooperative_groups;
  __shared__ double shared[kBlock / 32];
  __shared__ double2 sums[kMost];  // of all blocks
  const cg::cluster_group cluster = cg::this_cluster();
  const NormProblem& p = rows.row.problem;
  const auto size = static_cast<int>(p.size);
  const auto rank = static_cast<int>(cluster.block_rank());
  const unsigned row = blockIdx.x / static_cast<unsigned>(rows.blocks);
  const int begin = rank * rows.share;
  const int count = min(size - begin, rows.share);
  const bool last = rank == rows.blocks - 1;
  const int64_t offset = row * p.size + begin;
  cluster.barrier_arrive();
  float values[kValues];
  load_tile<kVectors, true>(x + offset, count, values);
  const double2 own =
      sums_of<kVectors>(values, count, last ? rows.rest_inverse : rows.share_inverse, p.centred, shared);
  cluster.barrier_wait();  // all blocks run, so their memory may be written
  const auto self = static_cast<int>(threadIdx.x);
  if (self < rows.blocks) *cluster.map_shared_rank(sums + rank, self) = own;
  cluster.sync();  // after it nobody touches another's memory
  double mean = 0;
  if (p.centred) {
    double sum = 0;
    for (int i = 0; i < rows.blocks; ++i) sum += sums[i].x;
    mean = quotient(sum, p.size, rows.inverse);
  }
  double squares = 0;
  for (int i = 0; i < rows.blocks; ++i) {
    const bool whole = i < rows.blocks - 1;
    const double elements = whole ? rows.share : size - i * rows.share;
    const double distance = p.centred ? fma(-elements, mean, sums[i].x) : 0;  // of the means, times the elements
    squares += sums[i].y + distance * distance * (whole ? rows.share_inverse : rows.rest_inverse);
  }
  const Statistics statistics = statistics_of(mean, squares, rows.inverse, p.eps);
  store_tile<kVectors>(rows.row, statistics, row, begin, count, values, y + offset);
#endif
}

template <bool kVectors>
void launch(const Context& context, const ClusterRows& rows, const float* x, float* y) {
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = static_cast<unsigned>(rows.blocks);
  cluster.val.clusterDim.y = 1;
  cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(cuda::grid_size(checked_mul(rows.row.problem.outer, rows.blocks), "norm"));
  config.blockDim = dim3(kBlock);
  config.stream = cuda::stream(context);
  config.attrs = &cluster;
  config.numAttrs = 1;
  cuda::check(cudaLaunchKernelEx(&config, cluster_kernel<kVectors>, x, y, rows), "norm");
}

}  // namespace

bool is_cluster_problem(const NormProblem& p) {
  if (p.inner != 1 || p.size <= kTile || p.size > kMost * kTile) return false;
  cudaFuncAttributes attributes{};
  cuda::check(cudaFuncGetAttributes(&attributes, cluster_kernel<true>), "norm");
  return attributes.ptxVersion >= 90;  // what was compiled for less has an empty kernel
}

void normalise_cluster_rows(const Context& context, const NormProblem& p, const float* parameters, const float* x,
                            float* y) {
  ClusterRows rows{};
  rows.row = tiled_rows(p, parameters);
  rows.inverse = 1 / static_cast<double>(p.size);
  rows.blocks = p.size <= 2 * kTile ? 2 : p.size <= 4 * kTile ? 4 : kMost;
  rows.share = static_cast<int>(round_up(ceil_div(p.size, rows.blocks), 4));
  rows.share_inverse = 1 / static_cast<double>(rows.share);
  rows.rest_inverse = 1 / static_cast<double>(p.size - (rows.blocks - 1) * rows.share);
  const bool vectors = p.size % 4 == 0 && cuda::aligned16(x) && cuda::aligned16(y);
  (vectors ? launch<true> : launch<false>)(context, rows, x, y);
}

}  // namespace strand::layers
