#pragma once
// A convolution that is ready for cpu.eigen: conv1d_cpu_prepare.cc makes it, conv1d_cpu.cc runs it. A plain value,
// which shares its packed weights.

#include <array>
#include <memory>
#include <vector>

#include "layers/conv1d/conv1d_cpu_tiling.h"
#include "layers/conv1d/conv1d_strip_cpu.h"

namespace strand::layers {

// Up to as many outputs a group, or floats of input (a stream's window, near the core anyway), copying the input costs
// more than it saves.
constexpr int64_t kDirectRows = 4;
constexpr int64_t kDirectFloats = 65536;
constexpr std::array<float, kRows> kNoBias{};

// Up to kRows outputs of a group.
struct Block {
  const float* weight;  // [C_in / groups, K, rows]
  int64_t rows;
  Last last;     // but for the residual
  Strips whole;  // all products at once, and what is done to their sums in registers
};

// What a run needs, the parts that a short one touches first.
struct Conv {
  // Of one tile that is read where it lies, in one batch element and group.
  int64_t short_outputs = -1;  // at most; -1: there is none such
  int64_t short_inputs = 0;    // at most
  int64_t pad_left = 0;
  int64_t reach = 0;  // from the first tap to the last
  const int64_t* offsets = nullptr;
  int64_t taps = 0;
  int64_t group_in = 0;
  int64_t group_out = 0;
  std::vector<Block> blocks;            // by group
  int64_t group_blocks = 0;             // in each
  const float* coefficients = nullptr;  // [2, channels] of the epilogue, or null
  bool has_residual = false;            // a second input
  Added added = Added::kNothing;        // to the sums by the strips
  bool finishes = false;                // `rest` does something
  bool direct = false;                  // the input may be read where it lies
  std::vector<float> slopes;            // LeakyReLU's, of a block
  Epilogue rest;                        // what the strips leave of the epilogue
  Conv1dProblem problem;
  Tiling tiling;
  std::vector<std::shared_ptr<const Buffer>> owners;

  const float* own(std::shared_ptr<const Buffer> buffer) {
    owners.push_back(std::move(buffer));
    return reinterpret_cast<const float*>(owners.back()->data());
  }
};

std::unique_ptr<Kernel> conv_kernel(Conv conv);

}  // namespace strand::layers
