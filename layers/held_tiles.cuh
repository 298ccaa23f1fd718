#pragma once
// Long contiguous rows in tiles, each of which a block holds in registers: loading and storing one, and the launch of
// clusters of blocks that hold a row together. For .cu files; no memory of its own.

#include <type_traits>

#include "layers/cuda_launch.cuh"
#include "layers/forget.cuh"

namespace strand::cuda {

namespace tiles {

constexpr int kBlock = 256;
constexpr int kBlocks = 4;  // a multiprocessor: 64 registers a thread, 128 KB of elements in flight
constexpr int kValues = 32;
constexpr int kTile = kBlock * kValues;

// A thread's first element in its tile, and how much further its k-th one is.
template <bool kVectors>
__device__ int first_place() {
  return static_cast<int>(threadIdx.x) * (kVectors ? 4 : 1);
}
template <bool kVectors>
__device__ constexpr int further(int k) {
  return kVectors ? k / 4 * 4 * kBlock + k % 4 : k * kBlock;
}

// `beyond` past `count`, which is a multiple of 4 where there are vectors. kLast: nobody reads them again.
template <bool kVectors, bool kLast>
__device__ void load_tile(const float* x, int count, float (&values)[kValues], float beyond = 0) {
  const float* from = x + first_place<kVectors>();
  const int left = count - first_place<kVectors>();
  forget(from);
#pragma unroll
  for (int k = 0; k < kValues; k += kVectors ? 4 : 1) {
    const bool inside = further<kVectors>(k) < left;
    if constexpr (kVectors) {
      float4 v{beyond, beyond, beyond, beyond};
      const auto* vector = reinterpret_cast<const float4*>(from + further<true>(k));
      if (inside) v = kLast ? __ldcs(vector) : __ldcg(vector);
      values[k] = v.x;
      values[k + 1] = v.y;
      values[k + 2] = v.z;
      values[k + 3] = v.w;
    } else {
      values[k] = beyond;
      if (inside) values[k] = kLast ? __ldcs(from + further<false>(k)) : __ldcg(from + further<false>(k));
    }
  }
}

// y from value(k) for a thread's k-th element.
template <bool kVectors, class Value>
__device__ void put_tile(float* y, int count, const Value& value) {
  float* to = y + first_place<kVectors>();
  int left = count - first_place<kVectors>();
  forget(to);
  forget(left);
#pragma unroll
  for (int k = 0; k < kValues; k += kVectors ? 4 : 1) {
    if (further<kVectors>(k) >= left) continue;
    if constexpr (kVectors) {
      __stcs(reinterpret_cast<float4*>(to + further<true>(k)),
             make_float4(value(k), value(k + 1), value(k + 2), value(k + 3)));
    } else {
      __stcs(to + further<false>(k), value(k));
    }
  }
}

}  // namespace tiles

// Whether a kernel was compiled for devices with clusters, where it runs; for less its body is empty.
template <class... Parameters>
bool runs_in_clusters(void (*kernel)(Parameters...), const char* name) {
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, kernel), name);
  return attributes.ptxVersion >= 90;
}

constexpr int kClusterBlocks = 8;  // that every device with clusters has

// How a row lies in a cluster: 2, 4 or 8 blocks, each with `share` elements, a multiple of 4, and the last with the
// rest.
struct ClusterRow {
  int size;
  int blocks;
  int share;

  // size: above a tile, at most kClusterBlocks of them.
  explicit ClusterRow(int64_t length)
      : size(static_cast<int>(length)),
        blocks(size <= 2 * tiles::kTile   ? 2
               : size <= 4 * tiles::kTile ? 4
                                          : kClusterBlocks),
        share(static_cast<int>(round_up(ceil_div(size, blocks), 4))) {}
};

inline bool fits_cluster(int64_t size) { return size > tiles::kTile && size <= kClusterBlocks * tiles::kTile; }

// kernel(arguments...), a cluster a row.
template <class... Parameters>
void launch_clusters(const Context& context, const char* name, int64_t rows, int blocks, void (*kernel)(Parameters...),
                     const std::type_identity_t<Parameters>&... arguments) {
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = static_cast<unsigned>(blocks);
  cluster.val.clusterDim.y = 1;
  cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(grid_size(checked_mul(rows, blocks), name));
  config.blockDim = dim3(tiles::kBlock);
  config.stream = stream(context);
  config.attrs = &cluster;
  config.numAttrs = 1;
  check(cudaLaunchKernelEx(&config, kernel, arguments...), name);
}

}  // namespace strand::cuda
