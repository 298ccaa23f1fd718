#pragma once
// Values that are stored as float16 or bfloat16 (DType) while everything is computed in float32. Kernels learn which at
// run time: the branches are the same for all threads. For this folder's .cu files only.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "layers/half_storage.h"

namespace strand::layers {

__host__ __device__ constexpr int bytes_stored(DType type) { return type == DType::kFloat32 ? 4 : 2; }

__device__ __forceinline__ float stored_value(float v) { return v; }
__device__ __forceinline__ float stored_value(__half v) { return __half2float(v); }
__device__ __forceinline__ float stored_value(__nv_bfloat16 v) { return __bfloat162float(v); }

// values[index] of an array of that type.
__device__ __forceinline__ float load_stored(const void* values, DType type, int64_t index) {
  if (type == DType::kFloat16) return stored_value(static_cast<const __half*>(values)[index]);
  if (type == DType::kBFloat16) return stored_value(static_cast<const __nv_bfloat16*>(values)[index]);
  return static_cast<const float*>(values)[index];
}

// As it is stored, rounded to nearest; past float16's range infinite.
template <class T>
__device__ __forceinline__ T to_stored(float value);
template <>
__device__ __forceinline__ float to_stored<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ __half to_stored<__half>(float value) {
  return __float2half_rn(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 to_stored<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

__device__ __forceinline__ void store_value(void* values, DType type, int64_t index, float value) {
  if (type == DType::kFloat16) {
    static_cast<__half*>(values)[index] = to_stored<__half>(value);
  } else if (type == DType::kBFloat16) {
    static_cast<__nv_bfloat16*>(values)[index] = to_stored<__nv_bfloat16>(value);
  } else {
    static_cast<float*>(values)[index] = value;
  }
}

// Two neighbours as one word, the first in its lower half.
template <class T>
__device__ __forceinline__ uint32_t to_pair(float first, float second);
template <>
__device__ __forceinline__ uint32_t to_pair<__half>(float first, float second) {
  const __half2 pair = __floats2half2_rn(first, second);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
template <>
__device__ __forceinline__ uint32_t to_pair<__nv_bfloat16>(float first, float second) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Both values of such a word.
template <class T>
__device__ __forceinline__ float2 stored_pair(uint32_t pair);
template <>
__device__ __forceinline__ float2 stored_pair<__half>(uint32_t pair) {
  return __half22float2(*reinterpret_cast<const __half2*>(&pair));
}
template <>
__device__ __forceinline__ float2 stored_pair<__nv_bfloat16>(uint32_t pair) {
  return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xFFFF0000U));
}

}  // namespace strand::layers
