#pragma once
// ConvTranspose1d's outputs, in order, from those of the Conv1d that conv_transpose1d_conv.h makes of it. For .cu
// files; no memory of its own.

#include <algorithm>

#include "layers/cuda_launch.cuh"

namespace strand::layers {

// n / divisor of n below 2^31, by a multiplication: n * multiplier >> shift with 2^(shift - 31) >= divisor and
// multiplier = ceil(2^shift / divisor).
struct DivideBy {
  uint32_t divisor = 1;
  uint32_t multiplier = 1U << 31;
  int shift = 31;

  DivideBy() = default;
  explicit DivideBy(int64_t number) : divisor(static_cast<uint32_t>(std::min<int64_t>(number, INT32_MAX))) {
    while ((int64_t{1} << (shift - 31)) < divisor) ++shift;
    multiplier = static_cast<uint32_t>(ceil_div(int64_t{1} << shift, divisor));
  }
  __device__ uint32_t operator()(uint32_t n) const {
    return static_cast<uint32_t>(static_cast<uint64_t>(n) * multiplier >> shift);
  }
};

// A row's outputs in fours, those whose addresses share 16 bytes, so that all but a row's first and last are stored at
// once whatever its length. t + offset, a position times the stride and a phase, is below 2^31 (transpose_as_conv).
// kGaps: there are phases without taps, for divisor is above 1.
template <bool kGaps>
struct InterleaveRows {
  uint32_t channels;  // of y
  uint32_t offset;
  uint32_t out_length;
  DivideBy stride;
  DivideBy divisor;
  int64_t phases;
  int64_t positions;
  const float* z;     // [rows, phases, positions]
  const float* bias;  // or null
  float* y;           // [rows, out_length]

  int64_t fours() const { return ceil_div(int64_t{out_length} + 3, 4); }  // up to three places before a row's first

  struct Outputs {
    float v[4];
    float* to;
    uint32_t first;  // wrapped around below 0; those below out_length are outputs
  };

  template <class Row, class Index>
  __device__ Outputs load(Row row, Index column) const {
    float* start = y + static_cast<int64_t>(row) * out_length;
    const auto early = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(start) / sizeof(float) % 4);
    const uint32_t first = static_cast<uint32_t>(column) * 4 - early;
    Outputs result{{}, start + (static_cast<int64_t>(column) * 4 - early), first};
    const uint32_t at = (first < out_length ? first : 0) + offset;  // of the first that is an output
    const uint32_t position = stride(at);
    uint32_t phase = at - position * stride.divisor;
    const uint32_t filter = kGaps ? divisor(phase) : phase;  // its number among those that have taps
    uint32_t past = kGaps ? phase - filter * divisor.divisor : 0;
    const float* from = z + (static_cast<int64_t>(row) * phases + filter) * positions + position;
    const int64_t back = 1 - (phases - 1) * positions;
    const float other = kGaps && bias != nullptr ? bias[static_cast<uint32_t>(row % channels)] : 0.0F;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const bool inside = first + static_cast<uint32_t>(j) < out_length;
      result.v[j] = other;
      if (inside && past == 0) result.v[j] = *from;
      if (!inside) continue;
      bool next = true;
      if constexpr (kGaps) {
        next = ++past == divisor.divisor;  // as it is where the next position begins, whose phase is 0
        past = next ? 0 : past;
      }
      const bool begins = ++phase == stride.divisor;
      phase = begins ? 0 : phase;
      from += begins ? back : next ? positions : 0;
    }
    return result;
  }
  template <class Index>
  __device__ void store(Index, const Outputs& from) const {
    if (out_length >= 4 && from.first <= out_length - 4) {
      // Streaming: z is what the L2 cache should hold.
      __stcs(reinterpret_cast<float4*>(from.to), make_float4(from.v[0], from.v[1], from.v[2], from.v[3]));
      return;
    }
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j) {
      if (from.first + j < out_length) from.to[j] = from.v[j];
    }
  }
};

}  // namespace strand::layers
