#pragma once
// The seven warps of cuda.wgmma that turn raw rows into octets of float16 pairs.

#include "layers/conv1d/conv1d_wgmma_load.cuh"

namespace strand::layers::wgmma {

#ifdef STRAND_WGMMA

// The seven warps that convert, and nobody else.
__device__ __forceinline__ void converters_meet() {
  asm volatile("bar.sync 1, %0;" ::"n"(kConverterThreads) : "memory");
}

// Raw rows whose positions padding or a row's end touches: zeros or what the padding mode says.
inline __device__ void gather_rows(const Arguments& a, const StagePlace& place, float* raw) {
  const int count = place.rows * a.g.positions;
  const int thread = threadIdx.x - 256;
  for (int i = thread; i < count; i += kConverterThreads) {
    const auto row = static_cast<int>(a.positions_by.divide(static_cast<uint32_t>(i)));
    const int column = i - row * a.g.positions;
    const int64_t position = place.start + column;
    const bool padded = position >= -a.p.pad_left && position < a.p.length + a.p.pad_right;
    const int64_t from = padded ? source_index(position, a.p.length, a.p.padding_mode) : -1;
    tensor::copy_async<1>(shared_address(raw + row * a.g.pitch + column),
                          place.source + row * a.p.length + (from < 0 ? 0 : from), from >= 0);
  }
  tensor::commit_copies();
  tensor::wait_copies<0>();
  converters_meet();
}

// From an address of shared memory: through pointers that went through structures, loads are generic.
__device__ __forceinline__ float load_shared(uint32_t address) {
  float value;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(address) : "memory");
  return value;
}

__device__ __forceinline__ uint32_t magnitude(float value) { return __float_as_uint(value) & 0x7FFFFFFFU; }

// The power of two that brings the largest magnitude into [2^14, 2^15), where float16 pairs keep the most bits; 0 where
// it is not finite or too far from 1. Contains a barrier of the converters.
inline __device__ float stage_scale(const Shared& s, int slot, int parity, uint32_t largest) {
  constexpr int kMaxScaleExponent = 90;
  const int warp = threadIdx.x / 32 - 8;
  uint32_t* by_warp = s.largest(parity);
  largest = __reduce_max_sync(~0U, largest);
  if (threadIdx.x % 32 == 0) by_warp[warp] = largest;
  converters_meet();
  largest = __reduce_max_sync(~0U, by_warp[min(static_cast<int>(threadIdx.x) % 8, 6)]);
  const int exponent = largest == 0 ? 14 : static_cast<int>(largest >> 23) - 127;
  const bool scalable = exponent >= -kMaxScaleExponent && exponent <= kMaxScaleExponent;
  const int shift = scalable ? 14 - exponent : 0;
  if (threadIdx.x == 256) s.unscale(slot) = scalable ? __int_as_float((127 - shift) << 23) : 0.0F;
  return __int_as_float((127 + shift) << 23);
}

template <int Products>
__device__ __forceinline__ void store_octet(uint8_t* octets, int part_bytes, int row, const float (&v)[8],
                                            float scale) {
  uint4 high;
  uint4 low;
  split(v[0], v[1], scale, high.x, low.x);
  split(v[2], v[3], scale, high.y, low.y);
  split(v[4], v[5], scale, high.z, low.z);
  split(v[6], v[7], scale, high.w, low.w);
  *reinterpret_cast<uint4*>(octets + row * 16) = high;
  if constexpr (Products > 1) *reinterpret_cast<uint4*>(octets + part_bytes + row * 16) = low;
}

// A converter thread's items: eight channels at one position each. `Whole`: no channel is missing, and all rows have
// the same lead.
template <bool Whole>
__device__ __forceinline__ void read_items(const Arguments& a, const StagePlace& place, uint32_t raw, int first,
                                           float (&v)[kItemsPerThread][8]) {
  const Geometry& g = a.g;
  const int items = g.items();
  const int pitch = g.pitch * 4;
#pragma unroll
  for (int i = 0; i < kItemsPerThread; ++i) {
    const int item = first + i * kConverterThreads;
    if (item < items) {
      const auto octet = static_cast<int>(a.positions_by.divide(static_cast<uint32_t>(item)));
      const int row = octet * 8;
      uint32_t from = raw + row * pitch + (item - octet * g.positions + (Whole ? place.lead(0) : 0)) * 4;
#pragma unroll
      for (int c = 0; c < 8; ++c, from += pitch) {
        if constexpr (Whole) {
          v[i][c] = load_shared(from);
        } else {
          v[i][c] = row + c < place.rows ? load_shared(from + place.lead(row + c) * 4) : 0.0F;
        }
      }
    }
  }
}

// Octets of 8 channels, over the raw rows that they are made of: all are read before the first is written.
template <int Products>
__device__ __forceinline__ void convert_shared(const Arguments& a, const Shared& s, const StagePlace& place, int slot,
                                               int parity, int first) {
  const Geometry& g = a.g;
  const uint32_t raw = shared_address(s.slot(slot));
  const int items = g.items();
  float v[kItemsPerThread][8];
  uint32_t largest = 0;
  if (place.lead_step == 0 && place.rows == g.stage_channels) {
    read_items<true>(a, place, raw, first, v);
  } else {
    read_items<false>(a, place, raw, first, v);
  }
#pragma unroll
  for (int i = 0; i < kItemsPerThread; ++i) {
    if (first + i * kConverterThreads < items) {
#pragma unroll
      for (int c = 0; c < 8; ++c) largest = max(largest, magnitude(v[i][c]));
    }
  }
  const float scale = stage_scale(s, slot, parity, largest);
  uint8_t* octets = s.slot(slot);
#pragma unroll
  for (int i = 0; i < kItemsPerThread; ++i) {
    const int item = first + i * kConverterThreads;
    if (item < items) {
      const auto octet = static_cast<int>(a.positions_by.divide(static_cast<uint32_t>(item)));
      const int position = item - octet * g.positions;
      const auto within = static_cast<int>(a.stride_by.divide(static_cast<uint32_t>(position)));
      const int phase = position - within * static_cast<int>(a.stride_by.value);
      store_octet<Products>(octets, g.part_bytes, phase * g.phase_rows + octet * g.octet_rows + within, v[i], scale);
    }
  }
}

// Octets of 8 (channel, tap) pairs. A warp makes four octets of eight rows each: at large strides its lanes would all
// read from few banks if they went along the rows.
template <int Products>
__device__ __forceinline__ void convert_flat(const Arguments& a, const Shared& s, const StagePlace& place, int slot,
                                             int parity, int first) {
  const Geometry& g = a.g;
  const uint32_t raw = shared_address(s.slot(slot));
  uint32_t largest = 0;
  for (int row = 0; row < place.rows; ++row) {
    const uint32_t from = raw + (row * g.pitch + place.lead(row)) * 4;
    for (int i = first; i < g.positions; i += kConverterThreads) {
      largest = max(largest, magnitude(load_shared(from + i * 4)));
    }
  }
  const float scale = stage_scale(s, slot, parity, largest);
  uint8_t* octets = s.slot(slot) + g.raw_bytes;
  const int32_t* elements = s.elements(g);
  const int row_groups = g.octet_rows / 8;
  const int groups = row_groups * ((g.octets + 3) / 4);
  const int lane = first % 32;
  for (int group = first / 32; group < groups; group += kConverterThreads / 32) {
    const int octet = group / row_groups * 4 + lane / 8;
    const int row = group % row_groups * 8 + lane % 8;
    if (octet >= g.octets) continue;
    const int position = row * static_cast<int>(a.p.stride);
    float v[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int element = elements[octet * 8 + i];
      const int channel = element >> 16;
      const bool exists = element >= 0 && channel < place.rows;
      const int offset = position + (element & 0xFFFF) * static_cast<int>(a.p.dilation);
      v[i] = exists ? load_shared(raw + (channel * g.pitch + place.lead(channel) + offset) * 4) : 0.0F;
    }
    store_octet<Products>(octets, g.part_bytes, octet * g.octet_rows + row, v, scale);
  }
}

template <int Products>
__device__ __forceinline__ void convert(const Arguments& a, const Shared& s) {
  const Geometry& g = a.g;
  const int thread = threadIdx.x - 256;
  Cursor cursor;
  int parity = 0;
  int rotation = 0;
  for (int index = blockIdx.x; index < a.tiles; index += static_cast<int>(gridDim.x)) {
    const Tile tile = tile_at(a, index);
    for (int stage = 0; stage < g.stages(); ++stage) {
      const StagePlace place(a, tile, stage);
      wait(s.raw_full(cursor.slot), cursor.parity);
      if (!place.copied) gather_rows(a, place, reinterpret_cast<float*>(s.slot(cursor.slot)));
      // The warps take turns in having a round more than the others.
      const int first =
          thread + rotation < kConverterThreads ? thread + rotation : thread + rotation - kConverterThreads;
      if (g.flat) {
        convert_flat<Products>(a, s, place, cursor.slot, parity, first);
      } else {
        convert_shared<Products>(a, s, place, cursor.slot, parity, first);
      }
      fence_shared_writes();
      __syncwarp();
      if (thread % 32 == 0) arrive(s.full(cursor.slot));
      cursor.advance(g.slots);
      parity ^= 1;
      rotation = rotation + 96 < kConverterThreads ? rotation + 96 : rotation + 96 - kConverterThreads;
    }
  }
}

#endif

}  // namespace strand::layers::wgmma
