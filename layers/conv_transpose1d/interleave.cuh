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
struct Interleave {
  uint32_t channels;  // of y
  uint32_t offset;
  int64_t out_length;
  DivideBy stride;
  DivideBy divisor;
  int64_t phases;
  int64_t positions;
  const float* z;     // [rows, phases, positions]
  const float* bias;  // or null
  float* y;           // [rows, out_length]

  int64_t fours() const { return ceil_div(out_length + 3, 4); }  // up to three places before a row's first output

  struct Outputs {
    float v[4];
    float* to;  // v[begin] to v[end - 1] are outputs
    int begin;
    int end;
  };

  template <class Row, class Index>
  __device__ Outputs load(Row row, Index column) const {
    float* start = y + static_cast<int64_t>(row) * out_length;
    const auto past_vector = static_cast<int64_t>(reinterpret_cast<uintptr_t>(start) / sizeof(float) % 4);
    const int64_t first = static_cast<int64_t>(column) * 4 - past_vector;
    Outputs result{{}, start + first, first < 0 ? static_cast<int>(-first) : 0, 4};
    if (out_length - first < 4) result.end = static_cast<int>(out_length - first);
    if (result.begin >= result.end) return result;
    const uint32_t at = static_cast<uint32_t>(first + result.begin) + offset;
    uint32_t position = stride(at);
    uint32_t phase = at - position * stride.divisor;
    uint32_t filter = divisor(phase);  // its number among those that have taps
    uint32_t past = phase - filter * divisor.divisor;
    const float* source = z + static_cast<int64_t>(row) * phases * positions;
    const float other = divisor.divisor == 1 || bias == nullptr ? 0.0F : bias[static_cast<uint32_t>(row % channels)];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (j < result.begin || j >= result.end) continue;
      result.v[j] = past == 0 ? source[filter * positions + position] : other;
      if (++phase == stride.divisor) {
        phase = filter = past = 0;
        ++position;
      } else if (++past == divisor.divisor) {
        past = 0;
        ++filter;
      }
    }
    return result;
  }
  template <class Index>
  __device__ void store(Index, const Outputs& from) const {
    if (from.begin == 0 && from.end == 4) {
      *reinterpret_cast<cuda::Float4*>(from.to) = {from.v[0], from.v[1], from.v[2], from.v[3]};
      return;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (j >= from.begin && j < from.end) from.to[j] = from.v[j];
    }
  }
};

}  // namespace strand::layers
