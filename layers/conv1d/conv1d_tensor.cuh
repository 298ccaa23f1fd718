#pragma once
// The instructions that cuda.tensor is made of: asynchronous copies, ldmatrix, mma.sync, and float16 splitting.

#include <cuda_fp16.h>

#include <cstdint>

namespace strand::layers::tensor {

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Floats copied together, both sides aligned to all of them; zeros where not `valid` (the source is not read then).
template <int Floats>
__device__ __forceinline__ void copy_async(uint32_t target, const float* source, bool valid) {
  const int bytes = valid ? Floats * 4 : 0;
  if constexpr (Floats == 4) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(source), "r"(bytes) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(target), "l"(source), "n"(Floats * 4), "r"(bytes)
                 : "memory");
  }
}

__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `Pending` of the newest groups are under way.
template <int Pending>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// d += a * b, 16 x 8 x 16, float16 in, float32 sum.
__device__ __forceinline__ void multiply(float (&d)[4], const uint4& a, uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
}

// Two floats times a power of two as float16 pairs: high parts in `high`, what they miss in `low`.
__device__ __forceinline__ void split(float a, float b, float scale, uint32_t& high, uint32_t& low) {
  const __half2 h = __floats2half2_rn(a * scale, b * scale);
  const float2 back = __half22float2(h);
  const __half2 l = __floats2half2_rn(fmaf(a, scale, -back.x), fmaf(b, scale, -back.y));
  high = *reinterpret_cast<const uint32_t*>(&h);
  low = *reinterpret_cast<const uint32_t*>(&l);
}

}  // namespace strand::layers::tensor
