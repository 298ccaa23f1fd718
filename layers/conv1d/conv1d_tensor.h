#pragma once
// How cuda.tensor cuts a convolution into matrix products: plain host code, so that it is tested without a GPU.
//
// For one group, y[o, t] is a product of weights [out channels x reduction] and gathered inputs [reduction x
// positions]. The reduction is walked in stages of `stage_channels` channels and `stage_taps` taps. A stage's raw
// input, one row a channel, is copied to shared memory and converted there to float16 pairs in octets: [octet][row][8
// values of the reduction]. Two octets feed one step of the tensor cores (16 of the reduction). Two ways to fill
// octets:
//   shared: an octet is 8 channels, a row is an input position; taps read the same rows, shifted. Positions are sorted
//   by
//           their remainder modulo the stride (a phase), so that neighbouring outputs read neighbouring rows.
//   flat:   an octet is 8 (channel, tap) pairs, a row is an output position; for few channels, which would leave shared
//           octets mostly empty.

#include <cstdint>
#include <string>
#include <vector>

#include "layers/conv1d/conv1d.h"

namespace strand::layers::tensor {

constexpr int kMaxPhases = 16;  // strides
constexpr int kMaxSteps = 256;  // tensor-core steps a stage
constexpr int kMaxRing = 4;     // stages of raw input in flight

// Output channels x positions that a block computes: m_tiles * m_warps * 16 by n_tiles * n_warps * 8.
struct BlockShape {
  int m_tiles;  // 16-row tiles a warp
  int n_tiles;  // 8-column tiles a warp
  int m_warps;
  int n_warps;

  constexpr int rows() const { return m_tiles * m_warps * 16; }
  constexpr int columns() const { return n_tiles * n_warps * 8; }
  constexpr int warps() const { return m_warps * n_warps; }
  constexpr int threads() const { return warps() * 32; }
};
constexpr BlockShape kBlockShapes[] = {{2, 4, 4, 2}, {2, 4, 2, 4}, {2, 4, 1, 8}, {1, 4, 1, 8}};

// Division of numbers below 2^31 by one that is known before the kernel starts: a multiplication and a shift.
struct Divisor {
  uint32_t value = 1;
  uint32_t factor = 1;
  uint32_t shift = 0;

  Divisor() = default;
  explicit Divisor(int64_t divisor) : value(static_cast<uint32_t>(divisor)) {
    while ((uint64_t{1} << shift) < value) ++shift;
    factor = static_cast<uint32_t>((uint64_t{1} << 32) * ((uint64_t{1} << shift) - value) / value + 1);
  }
  constexpr uint32_t divide(uint32_t number) const {
    return (static_cast<uint32_t>((uint64_t{number} * factor) >> 32) + number) >> shift;
  }
};

struct Geometry {
  int shape = 0;  // index into kBlockShapes
  bool flat = false;
  bool gathered = false;  // shared: raw rows hold only the positions that taps read, sorted by phase
  bool resident = false;  // the weights of the block's output channels stay in shared memory
  int stage_channels = 0;
  int stage_taps = 0;
  int channel_stages = 0;
  int tap_stages = 0;
  int steps = 0;          // tensor-core steps a stage
  int octets = 0;         // a stage
  int phases = 0;         // shared: remainders modulo the stride that taps read
  int phase_rows = 0;     // rows of one phase
  int rows = 0;           // of an octet: phases * phase_rows
  int pitch = 0;          // floats of a raw row, a multiple of 4
  int ring = 0;           // raw stages
  int promote_steps = 0;  // until the sum of the tensor cores, which round towards zero, is added to the float32 one
  int phase_start[kMaxPhases] = {};  // by slot: the remainder
  int64_t shared_bytes = 0;

  constexpr int stages() const { return channel_stages * tap_stages; }
  constexpr int total_steps() const { return stages() * steps; }
};

// Fills in `geometry`, or says why the problem is not for tensor cores. `shared_limit`: bytes that a block may have.
std::string choose_geometry(const Conv1dProblem& problem, int64_t shared_limit, Geometry& geometry);

// Byte offset, in one part of the converted stage, of the first octet of each step; the second follows one octet later.
std::vector<int32_t> step_offsets(const Conv1dProblem& problem, const Geometry& geometry);

// For flat octets: the (channel, tap) of each value of the reduction in a stage as channel << 16 | tap, or -1 past the
// end.
std::vector<int32_t> flat_elements(const Geometry& geometry);

// The weights as the tensor cores want them: float16 high and low parts after scaling each output channel by a power of
// two, [group][tile of 16 channels][step][high, low][lane][8 halves], then what undoes the scaling, a float an output
// channel (padded to whole tiles a group).
struct PackedWeights {
  std::vector<uint16_t> halves;
  std::vector<float> unscale;
  bool exact_only = false;  // weights that are not finite, or too far from 1 to scale: compute in float32
};
PackedWeights pack_weights(const Conv1dProblem& problem, const Geometry& geometry, std::span<const float> weights);

}  // namespace strand::layers::tensor
