#pragma once
// The seven warps of cuda.wgmma that turn raw rows into octets of float16 pairs.

#include "layers/conv1d/conv1d_wgmma_load.cuh"

namespace strand::layers::wgmma {

#ifdef STRAND_WGMMA

// The seven warps that convert, and nobody else.
__device__ __forceinline__ void converters_meet() {
  asm volatile("bar.sync 1, %0;" ::"n"(kConverterThreads) : "memory");
}

// The larger magnitude; a NaN where either is one.
__device__ __forceinline__ float larger(float a, float b) {
  float result;
  asm("{\n.reg .f32 m;\nabs.f32 m, %2;\nmax.NaN.f32 %0, %1, m;\n}\n" : "=f"(result) : "f"(a), "f"(b));
  return result;
}

// The power of two that brings the largest magnitude into [2^14, 2^15), where float16 pairs keep the most bits; 0 where
// it is not finite or too far from 1. Contains a barrier of the converters.
inline __device__ float stage_scale(const Shared& s, int slot, int parity, float largest_magnitude) {
  constexpr int kMaxScaleExponent = 90;
  const int warp = threadIdx.x / 32 - 8;
  uint32_t* by_warp = s.largest(parity);
  uint32_t largest = __reduce_max_sync(~0U, __float_as_uint(largest_magnitude));
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
__device__ __forceinline__ void store_octet(uint8_t* octets, int part_bytes, uint32_t at, const float (&v)[8],
                                            float scale) {
  uint4 high;
  uint4 low;
  split(v[0], v[1], scale, high.x, low.x);
  split(v[2], v[3], scale, high.y, low.y);
  split(v[4], v[5], scale, high.z, low.z);
  split(v[6], v[7], scale, high.w, low.w);
  *reinterpret_cast<uint4*>(octets + at) = high;
  if constexpr (Products > 1) *reinterpret_cast<uint4*>(octets + part_bytes + at) = low;
}

// Octets of 8 channels at a position, or if folded of 8 neighbours in a channel, over the raw rows that they are made
// of. A thread has the same ones in all stages, so that where each comes from and goes to is found once.
template <bool Folded>
struct SharedItems {
  int count;
  uint32_t places[kItemsPerThread];  // the first raw float, and above it the octet's row

  __device__ explicit SharedItems(const Arguments& a) {
    const Geometry& g = a.g;
    const int thread = threadIdx.x - 256;
    count = (g.items() - thread + kConverterThreads - 1) / kConverterThreads;
#pragma unroll
    for (int i = 0; i < kItemsPerThread; ++i) {
      const int item = thread + i * kConverterThreads;
      const auto octet = static_cast<int>(a.positions_by.divide(static_cast<uint32_t>(item)));
      if constexpr (Folded) {
        const int from = octet * 8 / g.fold * g.pitch + octet * 8 % g.fold + (item - octet * g.octet_rows) * g.fold;
        places[i] = static_cast<uint32_t>(from) | static_cast<uint32_t>(item) << 16;
      } else {
        const int position = item - octet * g.positions;
        const auto within = static_cast<int>(a.stride_by.divide(static_cast<uint32_t>(position)));
        const int phase = position - within * static_cast<int>(a.stride_by.value);
        const int row = phase * g.phase_rows + octet * g.octet_rows + within;
        places[i] = static_cast<uint32_t>(octet * 8 * g.pitch + position) | static_cast<uint32_t>(row) << 16;
      }
    }
  }

  using Values = float[kItemsPerThread][8];

  __device__ __forceinline__ void read_folded(const Arguments& a, uint32_t raw, const Leads& lead, Values& v) const {
#pragma unroll
    for (int i = 0; i < kItemsPerThread; ++i) {
      if (i >= count) continue;
      const uint32_t from = raw + (places[i] & 0xFFFF) * 4;
      if ((lead.first | lead.step) == 0) {
        const float4 low = load_shared4(from);
        const float4 high = load_shared4(from + 16);
        v[i][0] = low.x, v[i][1] = low.y, v[i][2] = low.z, v[i][3] = low.w;
        v[i][4] = high.x, v[i][5] = high.y, v[i][6] = high.z, v[i][7] = high.w;
      } else {
        const uint32_t channel = a.positions_by.divide(places[i] >> 16) * 8 / a.g.fold;
#pragma unroll
        for (int c = 0; c < 8; ++c) v[i][c] = load_shared<float>(from + (lead(channel) + c) * 4);
      }
    }
  }

  __device__ __forceinline__ void read_rows(const Arguments& a, uint32_t raw, const Leads& lead, Values& v) const {
    uint32_t rows[8];
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      rows[c] = raw + (c * a.g.pitch + lead(c)) * 4;
      asm volatile("" : "+r"(rows[c]));  // once a stage, not once an item
    }
#pragma unroll
    for (int i = 0; i < kItemsPerThread; ++i) {
      if (i >= count) continue;
      const uint32_t from = (places[i] & 0xFFFF) * 4;
#pragma unroll
      for (int c = 0; c < 8; ++c) v[i][c] = load_shared<float>(rows[c] + from);
    }
  }

  // All raw values are read before the first octet is written: there is a barrier in stage_scale.
  template <int Products>
  __device__ __forceinline__ void convert(const Arguments& a, const Shared& s, const Leads& lead, int slot,
                                          int parity) const {
    const Geometry& g = a.g;
    Values v;
    if constexpr (Folded) {
      read_folded(a, shared_address(s.slot(slot)), lead, v);
    } else {
      read_rows(a, shared_address(s.slot(slot)), lead, v);
    }
    float largest = 0;
#pragma unroll
    for (int i = 0; i < kItemsPerThread; ++i) {
      if (i < count) {
#pragma unroll
        for (int c = 0; c < 8; ++c) largest = larger(largest, v[i][c]);
      }
    }
    const float scale = stage_scale(s, slot, parity, largest);
#pragma unroll
    for (int i = 0; i < kItemsPerThread; ++i) {
      if (i < count) store_octet<Products>(s.slot(slot), g.part_bytes, (places[i] >> 16) * 16, v[i], scale);
    }
  }
};

// Octets of 8 (channel, tap) pairs. A warp makes four octets of eight rows each: at large strides its lanes would all
// read from few banks if they went along the rows.
template <int Products>
__device__ __forceinline__ void convert_flat(const Arguments& a, const Shared& s, const Leads& lead, int slot,
                                             int parity) {
  const Geometry& g = a.g;
  const int thread = threadIdx.x - 256;
  const uint32_t raw = shared_address(s.slot(slot));
  // With what lies between rows, which are their neighbours.
  float largest = 0;
  for (int i = thread; i < g.stage_channels * g.pitch / 4; i += kConverterThreads) {
    const float4 v = load_shared4(raw + i * 16);
    largest = larger(larger(larger(larger(largest, v.x), v.y), v.z), v.w);
  }
  const float scale = stage_scale(s, slot, parity, largest);
  const int32_t* elements = s.elements(g);
  const int row_groups = g.octet_rows / 8;
  const int lane = thread % 32;
  const int warp = thread / 32;
  for (int first_octet = 0; first_octet < g.octets; first_octet += 4) {
    const int octet = first_octet + lane / 8;
    if (octet >= g.octets) break;
    uint32_t from[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int element = elements[octet * 8 + i];
      const int channel = element >> 16;
      from[i] = raw + (channel * g.pitch + lead(channel) + (element & 0xFFFF) * static_cast<int>(a.p.dilation)) * 4;
    }
    for (int group = warp; group < row_groups; group += kConverterThreads / 32) {
      const int row = group * 8 + lane % 8;
      const uint32_t position = row * static_cast<uint32_t>(a.p.stride) * 4;
      float v[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] = load_shared<float>(from[i] + position);
      store_octet<Products>(s.slot(slot) + g.raw_bytes, g.part_bytes, (octet * g.octet_rows + row) * 16, v, scale);
    }
  }
}

// Walks over all stages of this block's tiles: convert(lead, slot, parity).
template <typename Convert>
__device__ __forceinline__ void convert_stages(const Arguments& a, const Shared& s, const Convert& convert) {
  const auto grid = static_cast<int>(gridDim.x);
  const int stages = (a.tiles - static_cast<int>(blockIdx.x) + grid - 1) / grid * a.g.stages();
  Cursor cursor;
  for (int stage = 0; stage < stages; ++stage) {
    wait(s.raw_full(cursor.slot), cursor.parity);
    const uint32_t first_lead = s.first_lead(cursor.slot);
    const Leads lead{first_lead & 3, static_cast<uint32_t>(a.p.length) & 3};
    if ((first_lead & kEdge) != 0) {
      fill_edge_rows(a.g, s.edge(cursor.slot), lead, shared_address(s.slot(cursor.slot)));
      converters_meet();
    }
    convert(lead, cursor.slot, stage % 2);
    fence_shared_writes();
    __syncwarp();
    if (threadIdx.x % 32 == 0) arrive(s.full(cursor.slot));
    cursor.advance(a.g.slots);
  }
}

template <int Products, bool Folded>
__device__ __forceinline__ void convert_shared(const Arguments& a, const Shared& s) {
  const SharedItems<Folded> items(a);
  convert_stages(a, s, [&](const Leads& lead, int slot, int parity) {
    items.template convert<Products>(a, s, lead, slot, parity);
  });
}

template <int Products>
__device__ __forceinline__ void convert(const Arguments& a, const Shared& s) {
  if (a.g.flat) {
    convert_stages(a, s,
                   [&](const Leads& lead, int slot, int parity) { convert_flat<Products>(a, s, lead, slot, parity); });
  } else if (a.g.fold > 1) {
    convert_shared<Products, true>(a, s);
  } else {
    convert_shared<Products, false>(a, s);
  }
}

#endif

}  // namespace strand::layers::wgmma
