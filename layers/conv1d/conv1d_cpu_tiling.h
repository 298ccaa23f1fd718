#pragma once
// How cpu.eigen cuts a convolution up: tiles of positions, and for each the segments of input that its taps read. Plain
// values, made once a problem.

#include <vector>

#include "layers/conv1d/conv1d.h"

namespace strand::layers {

constexpr int64_t kBufferFloats = 12288;  // of a tile's input: 48 KB on the thread's stack

struct Segment {
  int64_t start = 0;  // padded input position of its first element, from the tile's
  int64_t count = 0;
  int64_t base = 0;  // where it lies in a channel's row of the buffer
};

struct TapChunk {
  int64_t first_tap = 0;
  int64_t taps = 0;
  std::vector<Segment> segments;
  int64_t width = 0;  // floats a channel
};

struct Tiling {
  int64_t positions = 0;  // a tile
  std::vector<TapChunk> chunks;
  std::vector<int64_t> offsets;         // a tap: where its operand begins in a channel's row of the buffer
  std::vector<int64_t> direct_offsets;  // a tap: the same in the input itself
};

// The one that moves the least memory.
Tiling best_tiling(const Conv1dProblem& problem);

}  // namespace strand::layers
