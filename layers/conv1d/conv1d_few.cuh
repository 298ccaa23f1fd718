#pragma once
// How the two kernels of cuda.few_channels store: a thread four neighbouring outputs of a row at a time, a warp 128.
// Kernels with `Halves` take y's type, and the residual's, at run time.

#include <algorithm>
#include <type_traits>

#include "layers/conv1d/conv1d_cuda.cuh"
#include "layers/conv1d/conv1d_few.h"

namespace strand::layers {

// A lane's values with the last `Past` of the lane before it in front.
template <int Past>
__device__ __forceinline__ float4 moved_by(const float (&values)[4]) {
  float moved[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) moved[i] = i < Past ? __shfl_up_sync(~0U, values[4 - Past + i], 1) : values[i - Past];
  return make_float4(moved[0], moved[1], moved[2], moved[3]);
}

// Stores a warp's 128 neighbours, all of which are there, by whole 16 bytes, whatever the alignment of the row.
// `target`: of the thread's first, Past floats past 16 bytes.
template <int Past>
__device__ __forceinline__ void store_past(float* target, const float (&values)[4]) {
  const unsigned lane = threadIdx.x % 32;
  const float4 moved = moved_by<Past>(values);
  if (Past == 0 || lane > 0) {
    *reinterpret_cast<float4*>(target - Past) = moved;
  } else {
#pragma unroll
    for (int i = 0; i < 4 - Past; ++i) target[i] = values[i];
  }
  if (Past > 0 && lane == 31) {
#pragma unroll
    for (int i = 4 - Past; i < 4; ++i) target[i] = values[i];
  }
}

// `room`: outputs of the row from the thread's first on; may be below 1.
__device__ __forceinline__ void store_four(float* target, const float (&values)[4], int64_t room) {
  // The warp's last lane has the least room; the address modulo 16 is the same on all.
  if (room < 4 * (32 - static_cast<int>(threadIdx.x % 32))) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < room) target[i] = values[i];
    }
    return;
  }
  switch (reinterpret_cast<uintptr_t>(target) / 4 % 4) {
    case 0:
      return store_past<0>(target, values);
    case 1:
      return store_past<1>(target, values);
    case 2:
      return store_past<2>(target, values);
    default:
      return store_past<3>(target, values);
  }
}

// y's row, or a place in it, where it is stored as halves of a type that is known at run time.
struct HalvesTarget {
  uint16_t* at;
  DType type;

  __device__ HalvesTarget operator+(int64_t values) const { return {at + values, type}; }
  // As one word of 8 bytes.
  __device__ uint2 rounded(const float (&values)[4]) const {
    if (type == DType::kFloat16) {
      return make_uint2(to_pair<__half>(values[0], values[1]), to_pair<__half>(values[2], values[3]));
    }
    return make_uint2(to_pair<__nv_bfloat16>(values[0], values[1]), to_pair<__nv_bfloat16>(values[2], values[3]));
  }
};

// How many halves past 8 bytes it lies: the same on all lanes.
__device__ __forceinline__ int halves_past(const uint16_t* target) {
  return static_cast<int>(reinterpret_cast<uintptr_t>(target) / 2 % 4);
}

// A lane's values with the last `past` of the lane before it in front.
__device__ __forceinline__ uint2 moved_by(int past, uint2 values) {
  const uint2 before = make_uint2(__shfl_up_sync(~0U, values.x, 1), __shfl_up_sync(~0U, values.y, 1));
  if (past == 0) return values;
  const uint32_t first = past == 3 ? before.x : before.y;
  const uint32_t second = past == 3 ? before.y : values.x;
  const uint32_t third = past == 3 ? values.x : values.y;
  const int shift = past % 2 * 16;
  return make_uint2(__funnelshift_r(first, second, shift), __funnelshift_r(second, third, shift));
}

// Those of a thread's four for which `where` is true, by 2 bytes each: what lies beside them is other threads'.
template <class Where>
__device__ __forceinline__ void store_singles(uint16_t* target, uint2 values, const Where& where) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (where(i)) target[i] = static_cast<uint16_t>((i < 2 ? values.x : values.y) >> i % 2 * 16);
  }
}

__device__ __forceinline__ void store_four(HalvesTarget target, const float (&values)[4], int64_t room) {
  const auto lane = static_cast<int>(threadIdx.x % 32);
  const uint2 rounded = target.rounded(values);
  if (room < 4 * (32 - lane)) return store_singles(target.at, rounded, [room](int i) { return i < room; });
  const int past = halves_past(target.at);
  const uint2 moved = moved_by(past, rounded);
  if (past == 0 || lane > 0) *reinterpret_cast<uint2*>(target.at - past) = moved;
  if (past == 0 || (lane > 0 && lane < 31)) return;
  store_singles(target.at, rounded, [past, lane](int i) { return (i < 4 - past) == (lane == 0); });
}

// y's row, or a place in it, of any type.
struct StoredTarget {
  char* at;
  DType type;

  __device__ StoredTarget operator+(int64_t values) const { return {at + values * bytes_stored(type), type}; }
};

__device__ __forceinline__ void store_four(StoredTarget target, const float (&values)[4], int64_t room) {
  if (target.type == DType::kFloat32) return store_four(reinterpret_cast<float*>(target.at), values, room);
  store_four(HalvesTarget{reinterpret_cast<uint16_t*>(target.at), target.type}, values, room);
}

// What y is to a kernel.
template <bool Halves>
using FewStored = std::conditional_t<Halves, void, float>;

__device__ __forceinline__ float* few_target(float* y, DType) { return y; }
__device__ __forceinline__ StoredTarget few_target(void* y, DType type) { return {static_cast<char*>(y), type}; }

// Where rows begin within a sector of 32 bytes, a warp stores the 15 whole ones of its 128 outputs, and the next warp
// begins 120 further (of halves 7, and 112): what two warps write of one sector, memory would read first. `room`: as
// above; `begins`: the warp's first output is the row's.
constexpr int kSectorBytes = 32;
constexpr int kSectorFloats = 8;
constexpr int kSectorHalves = 16;
constexpr int kWarpOutputs = 32 * kFewPositions;

template <int Past>
__device__ __forceinline__ void store_sectors_past(float* target, const float (&values)[4], int first) {
  const float4 moved = moved_by<Past>(values);
  const int column = static_cast<int>(threadIdx.x % 32) * kFewPositions - Past;
  if (column >= first && column < first + kWarpOutputs - kSectorFloats) {
    *reinterpret_cast<float4*>(target - Past) = moved;
  }
}

__device__ __forceinline__ void store_sectors(float* target, const float (&values)[4], int64_t room, bool begins) {
  const int column = static_cast<int>(threadIdx.x % 32) * kFewPositions;
  const int64_t left = room + column;
  const auto from = reinterpret_cast<uintptr_t>(target) / 4;
  const int first = static_cast<int>(column - from) & (kSectorFloats - 1);
  if (!begins && left > kWarpOutputs) {
    switch (from % 4) {
      case 0:
        return store_sectors_past<0>(target, values, first);
      case 1:
        return store_sectors_past<1>(target, values, first);
      case 2:
        return store_sectors_past<2>(target, values, first);
      default:
        return store_sectors_past<3>(target, values, first);
    }
  }
  // The row's ends, which no other warp has.
  const int64_t last = left > kWarpOutputs ? first + kWarpOutputs - kSectorFloats : left;
  if (!begins && left <= kSectorFloats) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (column + i >= (begins ? 0 : first) && column + i < last) target[i] = values[i];
  }
}

__device__ __forceinline__ void store_sectors(HalvesTarget target, const float (&values)[4], int64_t room,
                                              bool begins) {
  const int column = static_cast<int>(threadIdx.x % 32) * kFewPositions;
  const int64_t left = room + column;
  const auto from = reinterpret_cast<uintptr_t>(target.at) / 2;
  const int first = static_cast<int>(column - from) & (kSectorHalves - 1);
  const uint2 rounded = target.rounded(values);
  if (!begins && left > kWarpOutputs) {
    const int past = halves_past(target.at);
    const uint2 moved = moved_by(past, rounded);
    if (column - past >= first && column - past < first + kWarpOutputs - kSectorHalves) {
      *reinterpret_cast<uint2*>(target.at - past) = moved;
    }
    return;
  }
  const int64_t last = left > kWarpOutputs ? first + kWarpOutputs - kSectorHalves : left;
  if (!begins && left <= kSectorHalves) return;
  store_singles(target.at, rounded, [&](int i) { return column + i >= (begins ? 0 : first) && column + i < last; });
}

// Stores a thread's four of [0, length) from t on, the first of which lies at a multiple of 16 bytes (of halves, of 8).
__device__ __forceinline__ void store_aligned(float* target, const float (&values)[4], int64_t t, int64_t length) {
  if (t >= 0 && t + kFewPositions <= length) {
    *reinterpret_cast<float4*>(target) = make_float4(values[0], values[1], values[2], values[3]);
    return;
  }
#pragma unroll
  for (int i = 0; i < kFewPositions; ++i) {
    if (t + i >= 0 && t + i < length) target[i] = values[i];
  }
}

__device__ __forceinline__ void store_aligned(HalvesTarget target, const float (&values)[4], int64_t t,
                                              int64_t length) {
  const uint2 rounded = target.rounded(values);
  if (t >= 0 && t + kFewPositions <= length) {
    *reinterpret_cast<uint2*>(target.at) = rounded;
    return;
  }
  store_singles(target.at, rounded, [t, length](int i) { return t + i >= 0 && t + i < length; });
}

template <class Target>
constexpr bool kTakesHalves = std::is_same_v<Target, StoredTarget>;

// Stores a thread's sums. What is more than a bias is long code: those sums go through the thread's own part of shared
// memory, so that it stands here once.
template <int Outputs, bool Plain, class Target>
__device__ __forceinline__ void store_sums(const Conv1dStore& store, int64_t n, int64_t channel, int outputs, int64_t t,
                                           int64_t length, float (&sums)[Outputs][kFewPositions], float4* staging,
                                           Target target) {
  if constexpr (Plain) {
#pragma unroll
    for (int o = 0; o < Outputs; ++o) {
      if (o >= outputs) break;
      store.at<kTakesHalves<Target>>(n, channel + o)(sums[o], t, 1, length);
      store_four(target + o * length, sums[o], length - t);
    }
  } else {
    const auto threads = static_cast<int>(blockDim.x);
    staging += threadIdx.x;
#pragma unroll
    for (int o = 0; o < Outputs; ++o) {
      staging[o * threads] = make_float4(sums[o][0], sums[o][1], sums[o][2], sums[o][3]);
    }
#pragma unroll 1
    for (int o = 0; o < outputs; ++o, target = target + length) {
      const float4 four = staging[o * threads];
      float values[kFewPositions] = {four.x, four.y, four.z, four.w};
      store.at<kTakesHalves<Target>>(n, channel + o)(values, t, 1, length);
      store_four(target, values, length - t);
    }
  }
}

// The sums of a single output, many a thread: all threads meet, and store each four that lie side by side.
template <int Positions, class Target>
__device__ __forceinline__ void store_many(const Conv1dStore& store, int64_t n, int64_t channel, int64_t first,
                                           int64_t length, const float (&sums)[Positions], float4* staging, Target y) {
#pragma unroll
  for (int i = 0; i < Positions / 4; ++i) {
    staging[threadIdx.x * (Positions / 4) + i] =
        make_float4(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]);
  }
  __syncthreads();
#pragma unroll 1
  for (int i = 0; i < Positions / 4; ++i) {
    const auto at = static_cast<int>(threadIdx.x + i * blockDim.x);
    const float4 four = staging[at];
    float values[kFewPositions] = {four.x, four.y, four.z, four.w};
    const int64_t t = first + at * kFewPositions;
    store.at<kTakesHalves<Target>>(n, channel)(values, t, 1, length);
    store_four(y + t, values, length - t);
  }
}

// Whether any edge is stored as halves.
inline bool has_halves(const PrepareArgs& args) {
  const auto half = [](const TensorType& edge) { return is_half(edge.dtype); };
  return std::ranges::any_of(args.inputs, half) || std::ranges::any_of(args.outputs, half);
}

struct FewLaunch {
  const void* kernel;  // (a, x, weights, store, y), whatever the types of x and y
  unsigned blocks;
  unsigned threads;
  size_t bytes;  // of dynamic shared memory
};

template <class Parameters>
std::unique_ptr<Kernel> few_kernel(const Parameters& a, const FewLaunch& launch, const Conv1dWeights& weights) {
  return function_kernel([a, launch, weights](const Context& context, const Bindings& bindings) {
    if (launch.blocks == 0) return;
    Parameters parameters = a;
    const void* x = bindings.inputs[0].data;
    const float* weight = weights.data();
    Conv1dStore store = weights.store(bindings);
    void* y = bindings.outputs[0].data;
    void* arguments[] = {&parameters, &x, &weight, &store, &y};
    cuda::check(cudaLaunchKernel(launch.kernel, dim3(launch.blocks), dim3(launch.threads), arguments, launch.bytes,
                                 cuda::stream(context)),
                "conv1d cuda.few_channels");
  });
}

std::unique_ptr<Kernel> conv1d_few_inputs_kernel(const Conv1dProblem& problem, const PrepareArgs& args);
std::unique_ptr<Kernel> conv1d_few_outputs_kernel(const Conv1dProblem& problem, const PrepareArgs& args);
// Blocks of each, for grid.x; Error(kLimit) past 64 bits.
int64_t conv1d_few_inputs_blocks(const Conv1dProblem& problem, int64_t out_length, DType y_type);
int64_t conv1d_few_outputs_blocks(const Conv1dProblem& problem, int64_t out_length);

}  // namespace strand::layers
