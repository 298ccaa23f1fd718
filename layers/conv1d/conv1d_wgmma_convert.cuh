#pragma once
// The seven warps of cuda.wgmma that turn raw rows into octets of float16 pairs.

#include <type_traits>

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

// Eight values of the reduction on their way from raw rows, stored as `X`, to an octet's row.
template <class X>
struct Octet {
  float v[8];

  // What stage_scale asks for: of many, the largest magnitude.
  using Largest = float;
  __device__ __forceinline__ void raise(Largest& largest) const {
#pragma unroll
    for (const float value : v) largest = larger(largest, value);
  }
  static __device__ __forceinline__ Largest of_raw(Largest largest, uint32_t address) {
    const float4 four = load_shared4(address);
    return larger(larger(larger(larger(largest, four.x), four.y), four.z), four.w);
  }
  static __device__ __forceinline__ float magnitude(Largest largest) { return largest; }

  // From these addresses, or from eight values side by side.
  template <class Address>
  __device__ __forceinline__ void gather(const Address& address) {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = load_shared<float>(address(i));
  }
  __device__ __forceinline__ void read(uint32_t address) {
    const float4 low = load_shared4(address);
    const float4 high = load_shared4(address + 16);
    v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
    v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
  }
  __device__ __forceinline__ void read_in_two(uint32_t address) { read(address); }
  template <int Products>
  __device__ __forceinline__ void store(uint8_t* octets, int part_bytes, uint32_t at, float scale) const {
    store_octet<Products>(octets, part_bytes, at, v, scale);
  }
};

// Halves stay pairs of bits. float16 needs no scale, and so is copied as it is.
template <class X>
requires(sizeof(X) == 2) struct Octet<X> {
  static constexpr bool kIsFloat16 = std::is_same_v<X, __half>;
  uint32_t v[4];

  using Largest = uint32_t;  // magnitudes' bits, two at a time
  static __device__ __forceinline__ Largest of_pair(Largest largest, uint32_t pair) {
    return __vmaxu2(largest, pair & 0x7FFF7FFFU);
  }
  __device__ __forceinline__ void raise(Largest& largest) const {
#pragma unroll
    for (const uint32_t pair : v) largest = of_pair(largest, pair);
  }
  static __device__ __forceinline__ Largest of_raw(Largest largest, uint32_t address) {
    const uint4 eight = load_shared_bits4(address);
    return of_pair(of_pair(of_pair(of_pair(largest, eight.x), eight.y), eight.z), eight.w);
  }
  // Of float16 just whether they are finite.
  static __device__ __forceinline__ float magnitude(Largest largest) {
    const uint32_t bits = max(largest & 0xFFFF, largest >> 16);
    if (kIsFloat16) return bits < 0x7C00 ? 0.0F : __int_as_float(0x7F800000);
    return __uint_as_float(bits << 16);
  }

  template <class Address>
  __device__ __forceinline__ void gather(const Address& address) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      v[i] = __byte_perm(load_shared_half(address(2 * i)), load_shared_half(address(2 * i + 1)), 0x5410);
    }
  }
  __device__ __forceinline__ void read(uint32_t address) {
    const uint4 eight = load_shared_bits4(address);
    v[0] = eight.x, v[1] = eight.y, v[2] = eight.z, v[3] = eight.w;
  }
  // From an address of 8 bytes, as where a stride of 8 is padded by 4.
  __device__ __forceinline__ void read_in_two(uint32_t address) {
    const uint2 low = load_shared_bits2(address);
    const uint2 high = load_shared_bits2(address + 8);
    v[0] = low.x, v[1] = low.y, v[2] = high.x, v[3] = high.y;
  }
  template <int Products>
  __device__ __forceinline__ void store(uint8_t* octets, int part_bytes, uint32_t at, float scale) const {
    static_assert(Products == 1);
    if constexpr (kIsFloat16) {
      *reinterpret_cast<uint4*>(octets + at) = make_uint4(v[0], v[1], v[2], v[3]);
    } else {
      float values[8];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        values[2 * i] = __uint_as_float(v[i] << 16);
        values[2 * i + 1] = __uint_as_float(v[i] & 0xFFFF0000U);
      }
      store_octet<1>(octets, part_bytes, at, values, scale);
    }
  }
};

// Octets of 8 channels at a position, or if folded of 8 neighbours in a channel, over the raw rows that they are made
// of. A thread has the same ones in all stages, so that where each comes from and goes to is found once.
template <class X, bool Folded>
struct SharedItems {
  static constexpr int kBytes = sizeof(X);
  int count;
  uint32_t places[kItemsPerThread];  // the first raw value, and above it the octet's row

  __device__ explicit SharedItems(const Arguments& a) {
    const Geometry& g = a.g;
    const int thread = threadIdx.x - 256;
    count = (g.items() - thread + kConverterThreads - 1) / kConverterThreads;
#pragma unroll
    for (int i = 0; i < kItemsPerThread; ++i) {
      const int item = thread + i * kConverterThreads;
      const auto octet = static_cast<int>(a.positions_by.divide(static_cast<uint32_t>(item)));
      if constexpr (Folded) {
        const int from = g.raw_place(octet * 8 / g.fold, octet * 8 % g.fold + (item - octet * g.octet_rows) * g.fold);
        places[i] = static_cast<uint32_t>(from) | static_cast<uint32_t>(item) << 16;
      } else {
        const int position = item - octet * g.positions;
        const auto within = static_cast<int>(a.stride_by.divide(static_cast<uint32_t>(position)));
        const int phase = position - within * static_cast<int>(a.stride_by.value);
        const int row = phase * g.phase_rows + octet * g.octet_rows + within;
        places[i] = static_cast<uint32_t>(g.raw_place(octet * 8, position)) | static_cast<uint32_t>(row) << 16;
      }
    }
  }

  using Values = Octet<X>[kItemsPerThread];

  __device__ __forceinline__ void read_folded(const Arguments& a, uint32_t raw, const Leads<X>& lead, Values& v) const {
#pragma unroll
    for (int i = 0; i < kItemsPerThread; ++i) {
      if (i >= count) continue;
      const uint32_t from = raw + (places[i] & 0xFFFF) * kBytes;
      const uint32_t leads = lead.first | lead.step;
      if (leads == 0) {
        v[i].read(from);
      } else if (kBytes == 2 && (leads & 3) == 0) {
        const uint32_t channel = a.positions_by.divide(places[i] >> 16) * 8 / a.g.fold;
        v[i].read_in_two(from + lead(channel) * kBytes);
      } else {
        const uint32_t channel = a.positions_by.divide(places[i] >> 16) * 8 / a.g.fold;
        v[i].gather([&](int c) { return from + (lead(channel) + c) * kBytes; });
      }
    }
  }

  __device__ __forceinline__ void read_rows(const Arguments& a, uint32_t raw, const Leads<X>& lead, Values& v) const {
    uint32_t rows[8];
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      rows[c] = raw + (c * a.g.row_values + lead(c)) * kBytes;
      asm volatile("" : "+r"(rows[c]));  // once a stage, not once an item
    }
#pragma unroll
    for (int i = 0; i < kItemsPerThread; ++i) {
      if (i >= count) continue;
      const uint32_t from = (places[i] & 0xFFFF) * kBytes;
      v[i].gather([&](int c) { return rows[c] + from; });
    }
  }

  // All raw values are read before the first octet is written: there is a barrier in stage_scale.
  template <int Products>
  __device__ __forceinline__ void convert(const Arguments& a, const Shared& s, const Leads<X>& lead, int slot,
                                          int parity) const {
    const Geometry& g = a.g;
    Values v;
    if constexpr (Folded) {
      read_folded(a, shared_address(s.slot(slot)), lead, v);
    } else {
      read_rows(a, shared_address(s.slot(slot)), lead, v);
    }
    typename Octet<X>::Largest largest{};
#pragma unroll
    for (int i = 0; i < kItemsPerThread; ++i) {
      if (i < count) v[i].raise(largest);
    }
    const float scale = stage_scale(s, slot, parity, Octet<X>::magnitude(largest));
#pragma unroll
    for (int i = 0; i < kItemsPerThread; ++i) {
      if (i < count) v[i].template store<Products>(s.slot(slot), g.part_bytes, (places[i] >> 16) * 16, scale);
    }
  }
};

// Octets of 8 (channel, tap) pairs. A warp makes four octets of eight rows each: at large strides its lanes would all
// read from few banks if they went along the rows.
template <class X, int Products>
__device__ __forceinline__ void convert_flat(const Arguments& a, const Shared& s, const Leads<X>& lead, int slot,
                                             int parity) {
  const Geometry& g = a.g;
  const int thread = threadIdx.x - 256;
  const uint32_t raw = shared_address(s.slot(slot));
  // With what lies between rows, which are their neighbours.
  typename Octet<X>::Largest largest{};
  for (int i = thread; i < g.stage_channels * g.row_values / kPiece<X>; i += kConverterThreads) {
    largest = Octet<X>::of_raw(largest, raw + i * 16);
  }
  const float scale = stage_scale(s, slot, parity, Octet<X>::magnitude(largest));
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
      from[i] = raw + (channel * g.row_values + lead(channel) + (element & 0xFFFF) * static_cast<int>(a.p.dilation)) *
                          static_cast<int>(sizeof(X));
    }
    for (int group = warp; group < row_groups; group += kConverterThreads / 32) {
      const int row = group * 8 + lane % 8;
      const uint32_t position = row * static_cast<uint32_t>(a.p.stride) * static_cast<uint32_t>(sizeof(X));
      Octet<X> v;
      v.gather([&](int i) { return from[i] + position; });
      v.template store<Products>(s.slot(slot) + g.raw_bytes, g.part_bytes, (octet * g.octet_rows + row) * 16, scale);
    }
  }
}

// Walks over all stages of this block's tiles: convert(lead, slot, parity).
template <class X, typename Convert>
__device__ __forceinline__ void convert_stages(const Arguments& a, const Shared& s, const Convert& convert) {
  const auto grid = static_cast<int>(gridDim.x);
  const int stages = (a.tiles - static_cast<int>(blockIdx.x) + grid - 1) / grid * a.g.stages();
  Cursor cursor;
  for (int stage = 0; stage < stages; ++stage) {
    wait(s.raw_full(cursor.slot), cursor.parity);
    const uint32_t first_lead = s.first_lead(cursor.slot);
    const Leads<X> lead{first_lead & Leads<X>::kMask, static_cast<uint32_t>(a.p.length) & Leads<X>::kMask};
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

template <class X, int Products, bool Folded>
__device__ __forceinline__ void convert_shared(const Arguments& a, const Shared& s) {
  const SharedItems<X, Folded> items(a);
  convert_stages<X>(a, s, [&](const Leads<X>& lead, int slot, int parity) {
    items.template convert<Products>(a, s, lead, slot, parity);
  });
}

template <class X, int Products>
__device__ __forceinline__ void convert(const Arguments& a, const Shared& s) {
  if (a.g.flat) {
    convert_stages<X>(
        a, s, [&](const Leads<X>& lead, int slot, int parity) { convert_flat<X, Products>(a, s, lead, slot, parity); });
  } else if (a.g.fold > 1) {
    convert_shared<X, Products, true>(a, s);
  } else {
    convert_shared<X, Products, false>(a, s);
  }
}

template <int Products, bool Halves>
__device__ __forceinline__ void convert(const Arguments& a, const Shared& s) {
  if constexpr (Halves) {
    if (a.x_type == DType::kFloat16) return convert<__half, 1>(a, s);
    if (a.x_type == DType::kBFloat16) return convert<__nv_bfloat16, 1>(a, s);
  }
  convert<float, Products>(a, s);
}

#endif

}  // namespace strand::layers::wgmma
