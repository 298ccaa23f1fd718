// Contiguous rows longer than what a block holds, of any number: GroupNorm of many times, above all.
//
// A row is cut into tiles of 8192 elements. Each tile is two tasks: its sums (a mean and the squared deviations from
// it, in double), and, when those of all tiles of its row are known, its values. Tasks are in one order, which lets a
// row's sums go but a little ahead of its values: they alternate, `lead` tiles apart, so that the second read of a tile
// finds it in the L2 cache (20 MB behind, for rows of 8 MB) and memory sees each element read once and written once.
// Rows longer than the cache are read twice.
//
// Mapping: blocks stay and take tasks by a ticket, the next while they work on the last; a thread holds 32 elements of
// a tile. Whoever finishes a row's last sums merges the row's tiles in their order and publishes its statistics. To
// wait for those is safe however few blocks run at once: all tasks that they depend on have smaller tickets, and tasks
// that give sums never wait. The order of sums is fixed, so are the bits. Limits: 2^30 tiles. 16 bytes of workspace a
// tile, 28 a row.

#include <algorithm>

#include "engine/buffer.h"
#include "engine/checked.h"
#include "layers/norm/normalise_long.h"
#include "layers/norm/tiles.cuh"

namespace strand::layers {
namespace {

using namespace tiles;

struct LongRows {
  TiledRows row;
  unsigned tiles;                  // of a row
  unsigned count;                  // tiles of all rows
  unsigned lead;                   // tiles whose sums come before the first tile's values; at least a row
  double2* sums;                   // [rows, tiles]: the sum, the squared deviations from the tile's mean
  unsigned long long* statistics;  // [rows, 3]: bits of a Statistics' floats, each with a 1 above it when it is known
  unsigned* done;                  // [rows]: tiles whose sums are known
  unsigned* ticket;
};

struct Task {
  unsigned tile;
  bool sums;
};

// lead tiles' sums, then sums and values in turn, then the last tiles' values.
__device__ Task task_of(const LongRows& rows, unsigned ticket) {
  if (ticket < rows.lead) return {ticket, true};
  const unsigned pairs = rows.count - rows.lead;
  const unsigned past = ticket - rows.lead;
  if (past >= 2 * pairs) return {past - pairs, false};
  return past % 2 == 0 ? Task{rows.lead + past / 2, true} : Task{past / 2, false};
}

// Whether these were the last of their row; then all of them are seen by the block after a barrier. One thread's.
__device__ bool publish_sums(const LongRows& rows, unsigned row, unsigned tile, double2 sums) {
  rows.sums[tile] = sums;
  unsigned before = 0;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;"
               : "=r"(before)
               : "l"(__cvta_generic_to_global(rows.done + row))
               : "memory");
  return before + 1 == rows.tiles;
}

// The row's statistics from its tiles' sums, for all that wait for them. The whole block's.
__device__ void merge_row(const LongRows& rows, unsigned row, double* shared) {
  const NormProblem& p = rows.row.problem;
  const double2* tiles = rows.sums + static_cast<int64_t>(row) * rows.tiles;
  double mean = 0;
  if (p.centred) {
    double sum = 0;
    for (unsigned t = threadIdx.x; t < rows.tiles; t += kBlock) sum += __ldcg(&tiles[t].x);
    mean = cuda::reduce_neighbours<kBlock>(sum, shared, cuda::Sum()) / static_cast<double>(p.size);
  }
  double squares = 0;
  for (unsigned t = threadIdx.x; t < rows.tiles; t += kBlock) {
    const double2 tile = __ldcg(tiles + t);
    const auto count = static_cast<double>(min(p.size - static_cast<int64_t>(t) * kTile, static_cast<int64_t>(kTile)));
    const double distance = p.centred ? tile.x / count - mean : 0;
    squares += tile.y + count * distance * distance;
  }
  squares = cuda::reduce_neighbours<kBlock>(squares, shared, cuda::Sum());
  if (threadIdx.x != 0) return;
  const Statistics all = statistics_of(Moments{static_cast<double>(p.size), mean, squares}, p.eps);
  const float values[3] = {all.high, all.low, all.scale};
  unsigned long long* words = rows.statistics + static_cast<int64_t>(row) * 3;
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(__cvta_generic_to_global(words + i)),
                 "l"(1ULL << 32 | __float_as_uint(values[i]))
                 : "memory");
  }
}

// Number, and flag that it is there, are one word: nothing else has to be seen in order.
__device__ float wait_for(const unsigned long long* word) {
  unsigned long long value = 0;
  do {
    asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(value) : "l"(__cvta_generic_to_global(word)) : "memory");
  } while (value >> 32 == 0);
  return __uint_as_float(static_cast<unsigned>(value));
}

// Shared words that are written again two tasks later: a barrier of the task between keeps their readers apart from it.
template <bool kVectors>
__global__ void __launch_bounds__(kBlock, kBlocks)
    long_rows_kernel(const float* __restrict__ x, float* __restrict__ y, const LongRows rows) {
  __shared__ double shared[kBlock / 32];
  __shared__ unsigned next[2];
  __shared__ float statistics[2][3];
  __shared__ bool complete;
  const NormProblem& p = rows.row.problem;
  const bool leader = threadIdx.x == 0;
  if (leader) next[0] = atomicAdd(rows.ticket, 1U);
  __syncthreads();
  int turn = 0;
  for (unsigned ticket = next[0]; ticket < 2 * rows.count; ticket = next[turn]) {
    turn ^= 1;
    const Task task = task_of(rows, ticket);
    const unsigned row = task.tile / rows.tiles;
    const int64_t begin = static_cast<int64_t>(task.tile - row * rows.tiles) * kTile;
    const int count = static_cast<int>(min(p.size - begin, static_cast<int64_t>(kTile)));
    const int64_t offset = row * p.size + begin;
    float values[kValues];
    if (task.sums) {
      load_tile<kVectors, false>(x + offset, count, values);
      if (leader) next[turn] = atomicAdd(rows.ticket, 1U);  // arrives while the loads do
      const double share = count == kTile ? 1.0 / kTile : 1.0 / count;
      const double2 sums = sums_of<kVectors>(values, count, share, p.centred, shared);
      if (leader) complete = publish_sums(rows, row, task.tile, sums);
      __syncthreads();
      if (complete) merge_row(rows, row, shared);
    } else {
      load_tile<kVectors, true>(x + offset, count, values);
      const unsigned self = threadIdx.x;
      if (self == kBlock - 1) next[turn] = atomicAdd(rows.ticket, 1U);
      if (self < 3) statistics[turn][self] = wait_for(rows.statistics + static_cast<int64_t>(row) * 3 + self);
      __syncthreads();
      const Statistics own{statistics[turn][0], statistics[turn][1], statistics[turn][2]};
      store_tile<kVectors>(rows.row, own, row, begin, count, values, y + offset);
    }
  }
}

struct Sizes {
  int64_t tiles;  // of all rows
  int64_t sums;   // bytes; the rest are zeros at first
  int64_t zeros;
};

Sizes sizes_of(const NormProblem& p) {
  const int64_t tiles = checked_mul(p.outer, ceil_div(p.size, kTile));
  return {tiles, checked_mul(tiles, int64_t{sizeof(double2)}),
          checked_mul(p.outer, int64_t{3 * sizeof(unsigned long long) + sizeof(unsigned)}) + int64_t{sizeof(unsigned)}};
}

}  // namespace

int64_t long_rows_workspace(const NormProblem& problem) {
  const Sizes sizes = sizes_of(problem);
  return checked_add(sizes.sums, sizes.zeros);
}

void normalise_long_rows(const Context& context, const NormProblem& p, const float* parameters, const float* x,
                         float* y, std::byte* workspace) {
  const Sizes sizes = sizes_of(p);
  const unsigned tasks = cuda::grid_size(checked_mul(sizes.tiles, 2), "norm");
  int multiprocessors = 0;
  cuda::check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, context.device().index), "norm");
  const unsigned blocks = std::min(tasks, static_cast<unsigned>(multiprocessors) * kBlocks);
  LongRows rows{};
  rows.row = tiled_rows(p, parameters);
  rows.count = tasks / 2;
  rows.tiles = static_cast<unsigned>(sizes.tiles / p.outer);
  // About as many as run at once: then a row's statistics are there, more often than not, before they are waited for.
  rows.lead = std::min(rows.count, rows.tiles + blocks / 4 * 3);
  rows.sums = reinterpret_cast<double2*>(workspace);
  rows.statistics = reinterpret_cast<unsigned long long*>(workspace + sizes.sums);
  rows.done = reinterpret_cast<unsigned*>(rows.statistics + 3 * p.outer);
  rows.ticket = rows.done + p.outer;
  cuda::check(cudaMemsetAsync(rows.statistics, 0, static_cast<size_t>(sizes.zeros), cuda::stream(context)),
              "cudaMemsetAsync");
  const bool vectors = p.size % 4 == 0 && cuda::aligned16(x) && cuda::aligned16(y);
  const auto kernel = vectors ? long_rows_kernel<true> : long_rows_kernel<false>;
  kernel<<<blocks, kBlock, 0, cuda::stream(context)>>>(x, y, rows);
  cuda::check_launch("norm");
}

}  // namespace strand::layers
