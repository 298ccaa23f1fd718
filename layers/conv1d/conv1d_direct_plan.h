#pragma once
// How cuda.direct cuts a convolution: which of its kernels, which tile, and into how many parts the reduction. Plain
// host code, so that it is tested without a GPU.

#include <cstdint>

#include "layers/conv1d/conv1d.h"

namespace strand::layers {

// A tile of the tiled kernel, and the share of the multiply-add rate that it is expected to reach where all of it is
// used.
struct DirectTile {
  int outputs;
  int positions;
  int depth;  // of the reduction, a chunk
  int threads;
  double share;
  double chunk_seconds;  // that a chunk takes at least: its way from memory, some under way
  int resident_threads;  // a multiprocessor
};

// The last two are for few outputs, and for what would not fill the device; of the very last each warp of a block
// multiplies a fourth of a chunk's rows.
constexpr DirectTile kDirectTiles[] = {
    {128, 128, 16, 256, 0.68, 0.43e-6, 512}, {64, 128, 16, 128, 0.71, 1.75e-6, 512},
    {32, 256, 8, 128, 0.72, 0.94e-6, 512},   {16, 256, 8, 128, 0.71, 0.87e-6, 512},
    {32, 64, 16, 128, 0.65, 0.68e-6, 512},   {16, 32, 32, 128, 0.41, 0.44e-6, 1024},
};

// At a stride neighbouring positions lie in sectors of their own, which taps share. Four lanes then gather four rows of
// one position, of the two smallest tiles, for few outputs and few positions, where the input's way is what takes time.
constexpr bool gathers_taps(const Conv1dProblem& p, int tile) {
  constexpr int kFirstSmallTile = 4;
  return tile >= kFirstSmallTile && p.kernel_size > 1 && p.stride > 1;
}

constexpr int64_t kThinOutputs = 8;    // a group, at most, of the kernel without tiles
constexpr int kThinPositions = 4;      // a thread
constexpr int64_t kThinThreads = 256;  // a block, at most

struct DirectPlan {
  bool thin = false;        // the kernel without tiles
  int tile = 0;             // else: of kDirectTiles
  int64_t parts = 1;        // of the reduction, each summed by a block of its own; then they are added in order
  int64_t part_chunks = 0;  // of a tile's depth, a part
  double seconds = 0;       // that it is expected to take
  double work_seconds = 0;  // the same without a launch, if memory were no bound
};

// The least expected time. A reduction is cut where the outputs alone would leave multiprocessors idle; what the parts
// need stays below `workspace_limit` bytes.
DirectPlan plan_direct(const Conv1dProblem& problem, int64_t out_length, int processors, int64_t workspace_limit);

// Threads of a block of the kernel without tiles: a row's, or fewer where blocks would leave multiprocessors idle.
int64_t thin_threads(const Conv1dProblem& problem, int64_t out_length, int processors);

// Whether 32 bits count the values of all samples that a tile's positions lie in: the tiled kernel's indices do.
bool direct_indices_fit(const Conv1dProblem& problem, int64_t out_length);

// Blocks of a tile, of all parts.
int64_t direct_blocks(const Conv1dProblem& problem, int64_t out_length, const DirectTile& tile, int64_t parts = 1);

}  // namespace strand::layers
