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
  int tiles;           // of the whole problem
  int position_tiles;  // of a row
  int m_blocks;        // of a group
  int columns;         // of a tile
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
  Tile tile{};
  tile.m_block = index % a.m_blocks;
  index /= a.m_blocks;
  tile.position = index % a.position_tiles;
  index /= a.position_tiles;
  const auto groups = static_cast<int>(a.p.groups);
  tile.group = index % groups;
  tile.batch = index / groups;
  return tile;
}

// Shared memory, carved up. `leads` are how many floats each raw row starts before the stage's first position, which
// aligns its copies to 16 bytes.
struct Shared {
  float* staging;
  int32_t* offsets;
  int32_t* elements;
  uint32_t* largest;  // a warp
  uint8_t* high;
  uint8_t* low;
  uint4* weights;
  float* ring;
  int ring_floats;  // a stage: rows of pitch floats, then a lead a row

  __device__ Shared(uint8_t* memory, const Geometry& g, int warps) {
    staging = reinterpret_cast<float*>(memory);
    memory += warps * 16 * kStagingPitch * sizeof(float);
    offsets = reinterpret_cast<int32_t*>(memory);
    memory += kMaxSteps * sizeof(int32_t);
    elements = reinterpret_cast<int32_t*>(memory);
    memory += g.octets * 8 * sizeof(int32_t);
    largest = reinterpret_cast<uint32_t*>(memory);
    memory += warps * sizeof(uint32_t);
    // The host's sizes leave 256 bytes for this.
    memory = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(memory) + 127) / 128 * 128);
    high = memory;
    const int part = g.octets * g.rows * 16;
    low = high + part;
    memory += (2 * part + 127) / 128 * 128;
    ring = reinterpret_cast<float*>(memory);
    ring_floats = (g.stage_channels * (g.pitch + 1) * 4 + 127) / 128 * 32;
    weights = reinterpret_cast<uint4*>(memory + static_cast<size_t>(g.ring) * ring_floats * 4);
  }
};

// One float of a raw row; zero past the padding, where nothing is read that an output needs.
inline __device__ void copy_position(const Arguments& a, float* target, const float* row, int64_t position,
                                     bool exists) {
  const bool padded = position >= -a.p.pad_left && position < a.p.length + a.p.pad_right;
  const int64_t from = padded && exists ? source_index(position, a.p.length, a.p.padding_mode) : -1;
  copy4_async(shared_address(target), row + (from < 0 ? 0 : from), from >= 0);
}

// Starts the copies of one stage's raw rows. Positions outside the input are zeros or follow the padding mode.
template <int Warps>
__device__ void load_stage(const Arguments& a, const Tile& tile, int stage, float* raw) {
  const Geometry& g = a.g;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int first_channel = stage / g.tap_stages * g.stage_channels;
  const int64_t start = int64_t{tile.position} * a.p.stride * a.columns +
                        int64_t{stage % g.tap_stages} * g.stage_taps * a.p.dilation - a.p.pad_left;
  int* leads = reinterpret_cast<int*>(raw + g.stage_channels * g.pitch);
  for (int row = warp; row < g.stage_channels; row += Warps) {
    const int channel = first_channel + row;
    const bool exists = channel < a.p.group_in();
    const float* source =
        a.x + (tile.batch * a.p.in_channels + tile.group * a.p.group_in() + (exists ? channel : 0)) * a.p.length;
    float* target = raw + row * g.pitch;
    if (g.gathered) {
      if (lane == 0) leads[row] = 0;
      for (int i = lane; i < g.pitch; i += 32) {
        const int64_t position = start + g.phase_start[i / g.phase_rows % g.phases] + i % g.phase_rows * a.p.stride;
        copy_position(a, target + i, source, position, exists && i < g.rows);
      }
      continue;
    }
    const auto lead = static_cast<int>((reinterpret_cast<uintptr_t>(source) / sizeof(float) + start) & 3);
    if (lane == 0) leads[row] = lead;
    for (int chunk = lane * 4; chunk < g.pitch; chunk += 32 * 4) {
      const int64_t position = start - lead + chunk;
      if (exists && position >= 0 && position + 4 <= a.p.length) {
        copy16_async(shared_address(target + chunk), source + position);
        continue;
      }
      for (int i = 0; i < 4; ++i) copy_position(a, target + chunk + i, source, position + i, exists);
    }
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
  split(v[0] * scale, v[1] * scale, high.x, low.x);
  split(v[2] * scale, v[3] * scale, high.y, low.y);
  split(v[4] * scale, v[5] * scale, high.z, low.z);
  split(v[6] * scale, v[7] * scale, high.w, low.w);
  reinterpret_cast<uint4*>(s.high)[item] = high;
  reinterpret_cast<uint4*>(s.low)[item] = low;
}

// The raw stage to octets of float16 pairs, scaled.
template <int Warps, bool Flat>
__device__ void convert_stage(const Arguments& a, const Shared& s, const float* raw, float scale) {
  const Geometry& g = a.g;
  const int* leads = reinterpret_cast<const int*>(raw + g.stage_channels * g.pitch);
  const int stride = static_cast<int>(a.p.stride);
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int units = (g.phase_rows + 31) / 32;  // a warp's worth of rows of one phase and octet
  const int total = units * g.phases * g.octets;
  for (int unit = warp; unit < total; unit += Warps) {
    const int octet = unit / (units * g.phases);
    const int rest = unit % (units * g.phases);
    const int phase = rest / units;
    const int row = rest % units * 32 + lane;
    if (row >= g.phase_rows) continue;
    float v[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if constexpr (Flat) {
        const int element = s.elements[octet * 8 + i];
        const int channel = element >> 16;
        const int position = row * stride + (element & 0xFFFF) * static_cast<int>(a.p.dilation);
        v[i] = element < 0 ? 0.0F : raw[channel * g.pitch + leads[channel] + position];
      } else {
        const int channel = octet * 8 + i;
        const int position = g.gathered ? phase * g.phase_rows + row : g.phase_start[phase] + row * stride;
        v[i] = raw[channel * g.pitch + leads[channel] + position];
      }
    }
    store_octet(s, octet * g.rows + phase * g.phase_rows + row, v, scale);
  }
}

}  // namespace strand::layers::tensor
