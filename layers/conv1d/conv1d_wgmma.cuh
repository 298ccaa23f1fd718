#pragma once
// The instructions that cuda.wgmma is made of: barriers in shared memory, bulk copies, warpgroup products. They exist
// on sm_90a alone; other architectures compile kernels that are never launched.

#include <cuda.h>

#include <cstdint>

#include "layers/conv1d/conv1d_halves.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define STRAND_WGMMA 1
#endif

namespace strand::layers::wgmma {

#ifdef STRAND_WGMMA

__device__ __forceinline__ void barrier_init(uint32_t barrier, int count) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
__device__ __forceinline__ void arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(barrier) : "memory");
}
// Lets the phase wait for so many bytes of bulk copies.
__device__ __forceinline__ void expect(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
// Arrives, and lets the phase wait for so many bytes of bulk copies too.
__device__ __forceinline__ void arrive_expecting(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ bool phase_done(uint32_t barrier, int parity) {
  uint32_t done;
  asm volatile("{\n.reg .pred p;\nmbarrier.test_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}\n"
               : "=r"(done)
               : "r"(barrier), "r"(parity)
               : "memory");
  return done != 0;
}
__device__ __forceinline__ void wait(uint32_t barrier, int parity) {
  asm volatile(
      "{\n.reg .pred p;\nwait_%=:\nmbarrier.try_wait.parity.shared.b64 p, [%0], %1;\n@!p bra wait_%=;\n}\n" ::"r"(
          barrier),
      "r"(parity)
      : "memory");
}

// From an address of shared memory: through pointers that went through structures, loads are generic.
template <typename T>
__device__ __forceinline__ T load_shared(uint32_t address) {
  uint32_t bits;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(bits) : "r"(address) : "memory");
  return *reinterpret_cast<const T*>(&bits);
}
__device__ __forceinline__ float4 load_shared4(uint32_t address) {
  float4 v;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(address)
               : "memory");
  return v;
}

__device__ __forceinline__ uint4 load_shared_bits4(uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address)
               : "memory");
  return v;
}
__device__ __forceinline__ uint2 load_shared_bits2(uint32_t address) {
  uint2 v;
  asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(address) : "memory");
  return v;
}
// 16 bits, above them zeros.
__device__ __forceinline__ uint32_t load_shared_half(uint32_t address) {
  uint16_t bits;
  asm volatile("ld.shared.b16 %0, [%1];" : "=h"(bits) : "r"(address) : "memory");
  return bits;
}

template <typename T>
__device__ __forceinline__ void store_shared_zero(uint32_t address) {
  if constexpr (sizeof(T) == 2) {
    asm volatile("st.shared.b16 [%0], %1;" ::"r"(address), "h"(uint16_t{0}) : "memory");
  } else {
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(0) : "memory");
  }
}

__device__ __forceinline__ void store_shared(uint32_t address, float value) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(value) : "memory");
}

__device__ __forceinline__ void store_shared_bits(uint32_t address, uint32_t value) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(value) : "memory");
}

__device__ __forceinline__ void store_shared2(uint32_t address, const float2& v) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(address), "f"(v.x), "f"(v.y) : "memory");
}

// Neighbours, moved from shared to global memory in one instruction each way.
template <int Width>
struct Floats;
template <>
struct Floats<1> {
  float v;
  __device__ float& operator[](int) { return v; }
  __device__ void load(uint32_t address) { v = load_shared<float>(address); }
  __device__ void store(float* to) const { asm volatile("st.global.f32 [%0], %1;" ::"l"(to), "f"(v) : "memory"); }
};
template <>
struct Floats<2> {
  float2 v;
  __device__ void load(uint32_t address) {
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(address) : "memory");
  }
  __device__ void store(float* to) const {
    asm volatile("st.global.v2.f32 [%0], {%1, %2};" ::"l"(to), "f"(v.x), "f"(v.y) : "memory");
  }
};
template <>
struct Floats<4> {
  float4 v;
  __device__ float& operator[](int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }
  __device__ void load(uint32_t address) { v = load_shared4(address); }
  __device__ void store(float* to) const {
    asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w)
                 : "memory");
  }
};

// Bits, to an address of global memory.
__device__ __forceinline__ void store_global_half(uint64_t to, uint32_t v) {
  asm volatile("st.global.b16 [%0], %1;" ::"l"(to), "h"(static_cast<uint16_t>(v)) : "memory");
}
__device__ __forceinline__ void store_global(uint64_t to, uint32_t v) {
  asm volatile("st.global.b32 [%0], %1;" ::"l"(to), "r"(v) : "memory");
}
__device__ __forceinline__ void store_global(uint64_t to, const uint2& v) {
  asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(to), "r"(v.x), "r"(v.y) : "memory");
}
__device__ __forceinline__ void store_global(uint64_t to, const uint4& v) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}

// Ordinary writes to shared memory before it are seen by the tensor cores and the copy engine after a barrier.
__device__ __forceinline__ void fence_shared_writes() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// True in one lane of the warp: the compiler knows that it is one, and starts its bulk copies without asking the
// others.
__device__ __forceinline__ bool elected() {
  uint32_t one;
  asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xFFFFFFFF;\nselp.u32 %0, 1, 0, p;\n}\n" : "=r"(one));
  return one != 0;
}

// All multiples of 16 bytes.
__device__ __forceinline__ void bulk_load(uint32_t target, uint64_t source, int bytes, uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(target),
               "l"(source), "r"(bytes), "r"(barrier)
               : "memory");
}
__device__ __forceinline__ void bulk_load(uint32_t target, const void* source, int bytes, uint32_t barrier) {
  bulk_load(target, reinterpret_cast<uint64_t>(source), bytes, barrier);
}
// A box of a tensor map, from these coordinates on; zeros where it is outside.
__device__ __forceinline__ void tensor_load(uint32_t target, const CUtensorMap* map, int position, int channel,
                                            int group, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], "
      "[%5];" ::"r"(target),
      "l"(map), "r"(position), "r"(channel), "r"(group), "r"(barrier)
      : "memory");
}
// A box from shared memory, which has the map's swizzle, to global memory.
__device__ __forceinline__ void tensor_store(const CUtensorMap* map, uint32_t source, int row, int line) {
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%1, %2, %3}], [%4];" ::"l"(map), "r"(0),
               "r"(row), "r"(line), "r"(source)
               : "memory");
}
// The same of bytes side by side, from and to multiples of 16; then, of all that one lane started, the end, and until
// they are read from shared memory.
__device__ __forceinline__ void bulk_store(uint64_t target, uint32_t source, int bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(target), "r"(source), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void commit_stores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Of what was committed, all but the last `Groups`.
template <int Groups>
__device__ __forceinline__ void await_stores_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Groups) : "memory");
}

// An operand in shared memory without swizzle: groups of 8 rows of 16 bytes lie side by side, the second octet
// `octet_bytes` after the first. `+`: so many rows on, and of step_rows the second octet so much further.
struct Operand {
  uint32_t low;
  __device__ Operand(uint32_t address, int octet_bytes)
      : low((address & 0x3FFFF) >> 4 | static_cast<uint32_t>(octet_bytes >> 4) << 16) {}
  __device__ Operand moved(int rows) const {
    Operand result = *this;
    result.low += static_cast<uint32_t>(rows);
    return result;
  }
  __device__ uint64_t operator+(int rows) const {
    constexpr uint64_t kGroupBytes = 128;
    return uint64_t{moved(rows).low} | kGroupBytes >> 4 << 32;
  }
};

__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until so many groups, or fewer, are under way.
template <int Groups>
__device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Groups) : "memory");
}

// d = a * b, or d += a * b if `add`: 64 x 128 x 16, float16 in, float32 sum.
__device__ __forceinline__ void multiply(float (&d)[64], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, "
      "%13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, "
      "%35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, "
      "%57, %58, %59, %60, %61, %62, %63}, %64, %65, p, 1, 1, 0, 0;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
        "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),
        "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
        "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]),
        "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]),
        "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
        "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),
        "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

// d = a * b, or d += a * b if `add`: 64 x Columns x 16, Columns / 2 sums a thread.
template <int Columns>
__device__ __forceinline__ void multiply(float* d, uint64_t a, uint64_t b, bool add) {
  if constexpr (Columns == 32) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, "
        "%11, %12, %13, %14, %15}, %16, %17, p, 1, 1, 0, 0; "
        "\n}\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
          "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  } else if constexpr (Columns == 16) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %10, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {%0, %1, %2, %3, %4, %5, %6, %7}, %8, %9, p, 1, "
        "1, 0, 0; "
        "\n}\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
  } else {
    static_assert(Columns == 16);
  }
}

#endif

}  // namespace strand::layers::wgmma
