#pragma once
// How cuda.depthwise shares its work out, and what it is expected to take: plain host code, so that it is tested
// without a GPU.

#include <cstdint>

#include "layers/conv1d/conv1d.h"

namespace strand::layers {

constexpr int kDepthwiseThreads = 256;
constexpr int kDepthwiseOutputs = 8;                    // a thread, by rows
constexpr int kDepthwiseTile = 32 * kDepthwiseOutputs;  // a warp's outputs, by rows
constexpr int kWindowOutputs = 4;                       // a lane, by windows
constexpr int kWindowTile = 32 * kWindowOutputs;        // a warp's outputs, at most, by windows
constexpr int kWindowWarps = kDepthwiseThreads / 32;    // a block

enum class DepthwiseWay {
  kRows,      // a warp 256 neighbouring outputs of a row, each tap by a load an output
  kElements,  // a thread an output of any row: short rows, or few
  kWindows,   // a warp up to 128 neighbouring outputs of a row, four a lane that share what they read: long kernels
};

// By windows: a warp's piece of a row, the shared memory for it. Inputs lie apart by their residue modulo the dilation,
// so that the taps of an output are neighbours there.
struct DepthwiseWindows {
  int groups = 0;     // of four outputs, a residue
  int outputs = 0;    // a warp
  int positions = 0;  // that these read
  int pitch = 0;      // of a residue, in floats
  int input_floats = 0;
  int tap_floats = 0;

  int64_t block_bytes() const { return int64_t{kWindowWarps} * (input_floats + tap_floats) * 4; }
};

// False where a problem can't go by windows: a stride, a dilation past a warp, or more than a block's shared memory.
bool depthwise_windows(const Conv1dProblem& problem, DepthwiseWindows& windows);

// The way that is expected to be fastest on a GPU of so many multiprocessors.
DepthwiseWay depthwise_way(const Conv1dProblem& problem, int64_t out_length, int processors);

// That it is expected to take, as in conv1d_expected.h. Fitted to 190 problems on an H200: 8 % short in the mean.
double depthwise_seconds(const Conv1dProblem& problem, int64_t out_length, int processors);

}  // namespace strand::layers
