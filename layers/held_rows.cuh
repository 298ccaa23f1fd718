#pragma once
// Contiguous rows that a block holds while it works on them, so that they are read once: which threads hold what for a
// row's length, and the launch. For .cu files; no memory of its own.

#include "layers/cuda_launch.cuh"

namespace strand::cuda {

// A block of kBlock threads holds kBlock / kLanes rows. A thread has elements lane, lane + kLanes, ... of its row:
// kValues in registers, then kShared in dynamic shared memory, which no other thread reads.
template <int Block, int Lanes, int Values, int Shared = 0>
struct HeldRows {
  static constexpr int kBlock = Block;
  static constexpr int kLanes = Lanes;
  static constexpr int kValues = Values;
  static constexpr int kShared = Shared;
  static constexpr int kBytes = Shared * Block * static_cast<int>(sizeof(float));
};

// The longest row that is held: where a block may not have 136 KB of shared memory, registers alone hold it.
inline int64_t held_size() {
  int device = 0;
  int bytes = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "shared memory");
  return bytes >= (136 << 10) ? 65536 : 32768;
}

// launch(HeldRows<...>()) with the one for rows of `size` elements, at most held_size().
template <class Launch>
void for_held_size(int64_t size, const Launch& launch) {
  if (size <= 256) {
    launch(HeldRows<256, 32, 8>());
  } else if (size <= 1024) {
    launch(HeldRows<256, 32, 32>());
  } else if (size <= 8192) {
    launch(HeldRows<256, 256, 32>());
  } else if (size <= 32768) {
    launch(HeldRows<1024, 1024, 32>());
  } else {
    launch(HeldRows<1024, 1024, 32, 32>());
  }
}

// kernel(arguments...), a block for each kBlock / kLanes of the rows.
template <class Held, class... Parameters, class... Arguments>
void launch_held(const Context& context, const char* name, int64_t rows, void (*kernel)(Parameters...),
                 const Arguments&... arguments) {
  if constexpr (Held::kBytes > 0) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Held::kBytes), name);
  }
  const unsigned grid = grid_size(ceil_div(rows, Held::kBlock / Held::kLanes), name);
  kernel<<<grid, Held::kBlock, Held::kBytes, stream(context)>>>(arguments...);
  check_launch(name);
}

}  // namespace strand::cuda
