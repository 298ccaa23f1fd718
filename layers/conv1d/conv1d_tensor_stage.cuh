#pragma once
// One stage of cuda.tensor's input on its way from global memory to octets of float16 pairs in shared memory.

#include <cstdint>

#include "layers/conv1d/conv1d_cuda.cuh"
#include "layers/conv1d/conv1d_tensor.cuh"
#include "layers/conv1d/conv1d_tensor.h"

namespace strand::layers::tensor {

constexpr int kStagingPitch = 40;  // floats: 8 * n_tiles plus what spreads four rows over all banks

struct Arguments {
  const float* x;
  float* y;
  const float* weight;  // as PyTorch has it, for tiles that are computed in float32
  Conv1dStore store;
  const uint4* packed;
  const float* unscale;
  const int32_t* step_offsets;
  const int32_t* flat_elements;
  Conv1dProblem p;
  Geometry g;
  int64_t out_length;
  int tiles;  // of the whole problem
  Divisor m_blocks_by;
  Divisor position_tiles_by;  // of a row
  Divisor groups_by;
  Divisor phase_rows_by;
  Divisor copies_by;  // of a raw row
  int m_blocks;       // of a group
  int columns;        // of a tile
  int vector;         // floats that one copy brings: 4, 2 or 1, which divides the length
  bool exact_only;
};

struct Tile {
  int batch;
  int group;
  int m_block;
  int position;  // in tiles
};

// Output channels run fastest, so that blocks that read the same input run at the same time.
inline __device__ Tile tile_at(const Arguments& a, int index) {
  const auto i = static_cast<uint32_t>(index);
  const uint32_t above_m = a.m_blocks_by.divide(i);
  const uint32_t above_position = a.position_tiles_by.divide(above_m);
  const uint32_t batch = a.groups_by.divide(above_position);
  Tile tile{};
  tile.m_block = static_cast<int>(i - above_m * a.m_blocks_by.value);
  tile.position = static_cast<int>(above_m - above_position * a.position_tiles_by.value);
  tile.group = static_cast<int>(above_position - batch * a.groups_by.value);
  tile.batch = static_cast<int>(batch);
  return tile;
}

// Shared memory, carved up by offsets from its start: pointers made of them are seen to be shared memory's.
struct Shared {
  uint8_t* memory;  // aligned to 128 bytes
  int offsets_at;
  int elements_at;
  int largest_at;
  int octets_at;
  int part_bytes;  // of the high or the low octets
  int ring_at;
  int stage_bytes;
  int weights_at;

  __device__ Shared(uint8_t* start, const Geometry& g, int warps) : memory(start) {
    const auto aligned = [](int bytes) { return (bytes + 127) / 128 * 128; };
    offsets_at = warps * 16 * kStagingPitch * static_cast<int>(sizeof(float));
    elements_at = offsets_at + kMaxSteps * static_cast<int>(sizeof(int32_t));
    largest_at = elements_at + g.octets * 8 * static_cast<int>(sizeof(int32_t));
    // The host's sizes leave 256 bytes for this and the rounding.
    octets_at = aligned(largest_at + warps * static_cast<int>(sizeof(uint32_t)));
    part_bytes = g.octets * g.rows * 16;
    ring_at = octets_at + aligned(2 * part_bytes);
    stage_bytes = aligned(g.stage_channels * g.pitch * static_cast<int>(sizeof(float)));
    weights_at = ring_at + g.ring * stage_bytes;
  }

  __device__ float* staging(int warp) const { return reinterpret_cast<float*>(memory) + warp * 16 * kStagingPitch; }
  __device__ int32_t* offsets() const { return reinterpret_cast<int32_t*>(memory + offsets_at); }
  __device__ int32_t* elements() const { return reinterpret_cast<int32_t*>(memory + elements_at); }
  __device__ uint32_t* largest() const { return reinterpret_cast<uint32_t*>(memory + largest_at); }  // a warp
  __device__ uint8_t* high() const { return memory + octets_at; }
  __device__ uint8_t* low() const { return memory + octets_at + part_bytes; }
  __device__ float* raw(int slot) const { return reinterpret_cast<float*>(memory + ring_at + slot * stage_bytes); }
  __device__ uint4* weights() const { return reinterpret_cast<uint4*>(memory + weights_at); }
};

// One float of a raw row; zero past the padding, where nothing is read that an output needs.
inline __device__ void copy_position(const Arguments& a, float* target, const float* row, int64_t position,
                                     bool exists) {
  const bool padded = position >= -a.p.pad_left && position < a.p.length + a.p.pad_right;
  const int64_t from = padded && exists ? source_index(position, a.p.length, a.p.padding_mode) : -1;
  copy_async<1>(shared_address(target), row + (from < 0 ? 0 : from), from >= 0);
}

// A stage's first channel, and the position that its raw rows begin with: `lead` before what is needed, so that copies
// are aligned.
struct StagePlace {
  int channel;
  int lead;
  int64_t start;

  __device__ StagePlace(const Arguments& a, const Tile& tile, int stage) {
    const bool one_tap_stage = a.g.tap_stages == 1;
    const int tap_stage = one_tap_stage ? 0 : stage % a.g.tap_stages;
    channel = (one_tap_stage ? stage : stage / a.g.tap_stages) * a.g.stage_channels;
    start = int64_t{tile.position} * a.columns * a.p.stride + int64_t{tap_stage} * a.g.stage_taps * a.p.dilation -
            a.p.pad_left;
    lead = a.g.gathered ? 0 : static_cast<int>(start & (a.vector - 1));
    start -= lead;
  }
};

// One lane copies `Vector` floats at a time, wherever in the rows they lie.
template <int Warps, int Vector>
__device__ void load_rows(const Arguments& a, const float* source, int rows, int64_t start, float* raw) {
  const Geometry& g = a.g;
  const uint32_t target = shared_address(raw);
  const auto length = static_cast<int>(a.p.length);
  const int count = g.stage_channels * static_cast<int>(a.copies_by.value);
  if (start >= 0 && start + g.pitch <= a.p.length && rows >= g.stage_channels) {
    const float* from = source + start;
    for (int i = threadIdx.x; i < count; i += Warps * 32) {
      const auto row = static_cast<int>(a.copies_by.divide(i));
      const int column = (i - row * static_cast<int>(a.copies_by.value)) * Vector;
      copy_async<Vector>(target + (row * g.pitch + column) * 4, from + int64_t{row} * length + column, true);
    }
    return;
  }
  for (int i = threadIdx.x; i < count; i += Warps * 32) {
    const auto row = static_cast<int>(a.copies_by.divide(i));
    const int column = (i - row * static_cast<int>(a.copies_by.value)) * Vector;
    const bool exists = row < rows;
    const float* from = source + (exists ? int64_t{row} * length : 0);
    const int64_t position = start + column;
    if (position >= 0 && position + Vector <= length) {
      copy_async<Vector>(target + (row * g.pitch + column) * 4, from + position, exists);
    } else {
      for (int j = 0; j < Vector; ++j) copy_position(a, raw + row * g.pitch + column + j, from, position + j, exists);
    }
  }
}

// Only the positions that taps read, sorted by phase.
template <int Warps>
__device__ void gather_rows(const Arguments& a, const float* source, int rows, int64_t start, float* raw) {
  const Geometry& g = a.g;
  for (int row = threadIdx.x / 32; row < g.stage_channels; row += Warps) {
    const float* from = source + (row < rows ? row * a.p.length : 0);
    for (int i = threadIdx.x % 32; i < g.pitch; i += 32) {
      const int64_t position = start + g.phase_start[i / g.phase_rows % g.phases] + i % g.phase_rows * a.p.stride;
      copy_position(a, raw + row * g.pitch + i, from, position, row < rows && i < g.rows);
    }
  }
}

// Starts the copies of one stage's raw rows. Positions outside the input are zeros or follow the padding mode.
template <int Warps>
__device__ void load_stage(const Arguments& a, const Tile& tile, int stage, float* raw) {
  const StagePlace place(a, tile, stage);
  const auto group_in = static_cast<int>(a.p.group_in());
  const float* source =
      a.x + (tile.batch * a.p.in_channels + int64_t{tile.group} * group_in + place.channel) * a.p.length;
  const int rows = group_in - place.channel;
  if (a.g.gathered) {
    gather_rows<Warps>(a, source, rows, place.start, raw);
  } else if (a.vector == 4) {
    load_rows<Warps, 4>(a, source, rows, place.start, raw);
  } else if (a.vector == 2) {
    load_rows<Warps, 2>(a, source, rows, place.start, raw);
  } else {
    load_rows<Warps, 1>(a, source, rows, place.start, raw);
  }
}

// The bits of the largest magnitude of the raw stage, the same on every thread. Contains a barrier.
template <int Warps>
__device__ uint32_t find_largest(const Geometry& g, const float* raw, uint32_t* by_warp) {
  uint32_t largest = 0;
  const int count = g.stage_channels * g.pitch / 4;
  for (int i = threadIdx.x; i < count; i += Warps * 32) {
    const float4 v = reinterpret_cast<const float4*>(raw)[i];
    largest = max(largest, max(max(__float_as_uint(v.x) & 0x7FFFFFFFU, __float_as_uint(v.y) & 0x7FFFFFFFU),
                               max(__float_as_uint(v.z) & 0x7FFFFFFFU, __float_as_uint(v.w) & 0x7FFFFFFFU)));
  }
  largest = __reduce_max_sync(~0U, largest);
  if (threadIdx.x % 32 == 0) by_warp[threadIdx.x / 32] = largest;
  __syncthreads();
  return __reduce_max_sync(~0U, by_warp[threadIdx.x % Warps]);
}

__device__ __forceinline__ void store_octet(const Shared& s, int item, const float (&v)[8], float scale) {
  uint4 high;
  uint4 low;
  split(v[0], v[1], scale, high.x, low.x);
  split(v[2], v[3], scale, high.y, low.y);
  split(v[4], v[5], scale, high.z, low.z);
  split(v[6], v[7], scale, high.w, low.w);
  reinterpret_cast<uint4*>(s.high())[item] = high;
  reinterpret_cast<uint4*>(s.low())[item] = low;
}

// The raw stage, whose needed positions begin `lead` floats into its rows, to octets of float16 pairs, scaled.
template <int Warps, bool Flat>
__device__ void convert_stage(const Arguments& a, const Shared& s, const float* raw, int lead, float scale) {
  const Geometry& g = a.g;
  const auto stride = static_cast<int>(a.p.stride);
  int octet = 0;
  int row = threadIdx.x;
  for (int item = threadIdx.x; item < g.octets * g.rows; item += Warps * 32, row += Warps * 32) {
    while (row >= g.rows) {
      row -= g.rows;
      ++octet;
    }
    float v[8];
    if constexpr (Flat) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int element = s.elements()[octet * 8 + i];
        const int position = lead + row * stride + (element & 0xFFFF) * static_cast<int>(a.p.dilation);
        v[i] = element < 0 ? 0.0F : raw[(element >> 16) * g.pitch + position];
      }
    } else {
      int position = lead + row * stride;
      if (g.gathered) {
        position = row;
      } else if (g.phases > 1) {
        const auto phase = static_cast<int>(a.phase_rows_by.divide(row));
        position = lead + g.phase_start[phase] + (row - phase * g.phase_rows) * stride;
      }
      const float* from = raw + octet * 8 * g.pitch + position;
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] = from[i * g.pitch];
    }
    store_octet(s, item, v, scale);
  }
}

}  // namespace strand::layers::tensor
