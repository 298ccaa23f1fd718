#pragma once
// A tile of cuda.wgmma in float32, for values that can't be scaled.

#include "layers/conv1d/conv1d_wgmma_staging.cuh"

namespace strand::layers::wgmma {

// What a warpgroup has of a tile, if turned two of its warps, or of each half of a tall one: these are blocks of
// channels as kSplit has.
template <Layout BlockLayout>
struct Part {
  static constexpr int kHalves = BlockLayout == Layout::kTall ? 2 : 1;
  static constexpr BlockShape kShape = block_shape(kHalves == 2 ? Layout::kSplit : BlockLayout);
  static constexpr int kChannels = kShape.channels == 128 ? 64 : kShape.channels;
  static constexpr int kThreads = 128 / parts_of(BlockLayout);  // that have kPartColumns positions

  // Output channel in the block, and output position.
  static __device__ int first_channel() { return is_split(BlockLayout) ? static_cast<int>(threadIdx.x) / 128 * 64 : 0; }
  // A tile of tile_at, or its first or second half.
  static __device__ Tile half_of(Tile tile, int half) {
    tile.block = tile.block * kHalves + half;
    return tile;
  }
  // Of its group's output channels, the first one of the tile's.
  static __device__ int first_of_block(const Arguments& a, const Tile& tile) {
    return (tile.block - tile.group * static_cast<int>(a.group_blocks_by.value) * kHalves) * kShape.channels;
  }
  static __device__ int first_position(const Arguments& a, const Tile& tile) {
    const int part = static_cast<int>(threadIdx.x) / kThreads;
    return tile.position + (is_split(BlockLayout) ? 0 : part * a.g.stored_columns);
  }
};

// y[.., o, t] before its epilogue, by FMA in the order of the formula. `Halves`: x may be stored as such.
template <bool Halves>
__device__ float exact_sum(const Arguments& a, int batch, int group, int64_t o, int64_t t) {
  float sum = 0;
  for (int64_t c = 0; c < a.group_in; ++c) {
    const int64_t row = (int64_t{batch} * a.p.in_channels + group * a.group_in + c) * a.p.length;
    for (int64_t k = 0; k < a.p.kernel_size; ++k) {
      const int64_t from = source_index(t * a.p.stride + k * a.p.dilation - a.p.pad_left, a.p.length, a.p.padding_mode);
      const float x = from < 0 ? 0.0F : load_stored(a.x, Halves ? a.x_type : DType::kFloat32, row + from);
      sum = fmaf(a.weight[(o * a.group_in + c) * a.p.kernel_size + k], x, sum);
    }
  }
  return sum;
}

// z[.., o, t] and the biases up to the next phase, where they belong in y.
inline __device__ void store_exactly(const Arguments& a, int batch, int64_t o, int64_t t, float sum) {
  const Interleave& between = a.p.interleave;
  const int phases = between.phases();
  const float bias = a.store.at(o).bias;
  float* y = static_cast<float*>(a.y) + (batch * (a.store.channels / phases) + o / phases) * between.length;
  const int64_t first = t * between.stride + o % phases * between.divisor - between.offset;
  for (int64_t i = 0; i < between.divisor; ++i) {
    if (first + i >= 0 && first + i < between.length) y[first + i] = i == 0 ? sum + bias : bias;
  }
}

// A warpgroup's part of a tile in float32: for values that can't be scaled.
template <Layout BlockLayout, bool Plain, bool Halves>
__device__ __forceinline__ void compute_exactly(const Arguments& a, const Tile& tile) {
  using MyPart = Part<BlockLayout>;
  const int shrink = !Plain && a.store.gated ? 2 : 1;  // sums a result
  const int first = (MyPart::first_of_block(a, tile) + MyPart::first_channel()) / shrink;
#pragma unroll 1
  for (int i = threadIdx.x % MyPart::kThreads; i < MyPart::kChannels / shrink * 128; i += MyPart::kThreads) {
    const int64_t row = first + i / 128;
    const int64_t position = MyPart::first_position(a, tile);
    const int64_t t = position + i % 128;
    if (row >= a.group_out / shrink || t >= a.out_length) continue;
    const int64_t o = tile.group * int64_t{a.group_out} + row;
    const int64_t y_row = (tile.batch * a.store.channels + o) * a.out_length;
    const Stored stored(a, reinterpret_cast<uint64_t>(a.y) + (y_row + position) * 4, position);
    if (i % 128 < stored.first || i % 128 >= stored.last) continue;
    const float sum = exact_sum<Halves>(a, tile.batch, tile.group, o, t);
    if (Plain && a.p.interleave.length > 0) {
      store_exactly(a, tile.batch, o, t, sum);
      continue;
    }
    float y = 0;
    if (Plain) {
      y = sum + a.store.at(o).bias;
    } else if (a.store.gated) {
      const float gate = exact_sum<Halves>(a, tile.batch, tile.group, o + a.group_out / 2, t);
      y = a.store.at<Halves>(tile.batch, o)(sum, gate, t);
    } else {
      y = a.store.at<Halves>(tile.batch, o)(sum, t);
    }
    store_value(a.y, Halves ? a.y_type : DType::kFloat32, y_row + t, y);
  }
}

// The same apart: what a kernel with three products has in registers would be spilled around it.
template <Layout BlockLayout, bool Plain, bool Halves>
__device__ __noinline__ void call_compute_exactly(const Arguments& a, const Tile& tile) {
  compute_exactly<BlockLayout, Plain, Halves>(a, tile);
}

}  // namespace strand::layers::wgmma
