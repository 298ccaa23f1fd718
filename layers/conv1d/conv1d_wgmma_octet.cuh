#pragma once
// Eight values of the reduction on their way from raw rows to an octet's row, a thread's.

#include <type_traits>

#include "layers/conv1d/conv1d_wgmma_load.cuh"

namespace strand::layers::wgmma {

#ifdef STRAND_WGMMA

// The larger magnitude; a NaN where either is one.
__device__ __forceinline__ float larger(float a, float b) {
  float result;
  asm("{\n.reg .f32 m;\nabs.f32 m, %2;\nmax.NaN.f32 %0, %1, m;\n}\n" : "=f"(result) : "f"(a), "f"(b));
  return result;
}

// Pairs of halves, times zero, on top of a sum of such: a NaN where one is not finite.
__device__ __forceinline__ uint32_t not_finite(uint32_t sum, uint32_t pair) {
  uint32_t result;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(pair), "r"(0), "r"(sum));
  return result;
}
__device__ __forceinline__ bool is_not_finite(uint32_t sum) { return (sum & 0x7FFF7FFFU) != 0; }

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
  static constexpr bool kScales = true;
  float v[8];

  // What find_scale asks for: of many, the largest magnitude.
  using Largest = float;
  static __device__ __forceinline__ Largest larger_of(Largest a, Largest b) { return larger(a, b); }
  __device__ __forceinline__ Largest largest() const {
    float result = fabsf(v[0]);
#pragma unroll
    for (int i = 1; i < 8; ++i) result = larger(result, v[i]);
    return result;
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
  // From an address of 8 bytes.
  __device__ __forceinline__ void read_pieces(uint32_t address) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint2 two = load_shared_bits2(address + i * 8);
      v[2 * i] = __uint_as_float(two.x);
      v[2 * i + 1] = __uint_as_float(two.y);
    }
  }
  template <int Products>
  __device__ __forceinline__ void store(uint8_t* octets, int part_bytes, uint32_t at, float scale) const {
    store_octet<Products>(octets, part_bytes, at, v, scale);
  }
};

// Halves stay pairs of bits. float16 needs no scale, and so is copied as it is.
template <class X>
requires(sizeof(X) == 2) struct Octet<X> {
  static constexpr bool kIsFloat16 = std::is_same_v<X, __half>;
  static constexpr bool kScales = !kIsFloat16;
  uint32_t v[4];

  // Of bfloat16 magnitudes' bits, two at a time; of float16 just whether all are finite: see not_finite.
  using Largest = uint32_t;
  static __device__ __forceinline__ Largest of_pair(Largest largest, uint32_t pair) {
    return kIsFloat16 ? not_finite(largest, pair) : __vmaxu2(largest, pair & 0x7FFF7FFFU);
  }
  static __device__ __forceinline__ Largest larger_of(Largest a, Largest b) { return __vmaxu2(a, b); }
  __device__ __forceinline__ Largest largest() const {
    Largest result = 0;
#pragma unroll
    for (const uint32_t pair : v) result = of_pair(result, pair);
    return result;
  }
  static __device__ __forceinline__ Largest of_raw(Largest largest, uint32_t address) {
    const uint4 eight = load_shared_bits4(address);
    return of_pair(of_pair(of_pair(of_pair(largest, eight.x), eight.y), eight.z), eight.w);
  }
  static __device__ __forceinline__ float magnitude(Largest largest) {
    return __uint_as_float(max(largest & 0xFFFF, largest >> 16) << 16);
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
  __device__ __forceinline__ void read_pieces(uint32_t address) {
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

#endif

}  // namespace strand::layers::wgmma
