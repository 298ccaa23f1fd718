#pragma once
// The end of a tile of cuda.wgmma: a warpgroup's sums through shared memory to finished rows, or all of it in float32.

#include "layers/conv1d/conv1d_wgmma_load.cuh"

namespace strand::layers::wgmma {

// What a warpgroup has of a tile.
template <Layout BlockLayout>
struct Part {
  static constexpr BlockShape kShape = block_shape(BlockLayout);
  static constexpr int kChannels = kShape.channels == 128 ? 64 : kShape.channels;
  int channel;   // the first output channel in the block
  int position;  // the first output position

  __device__ Part(const Tile& tile) {
    const int warpgroup = threadIdx.x / 128;
    channel = BlockLayout == Layout::kSplit ? warpgroup * 64 : 0;
    position = tile.position + (BlockLayout == Layout::kSplit ? 0 : warpgroup * 128);
  }
};

// y[.., o, t] before its epilogue, by FMA in the order of the formula.
inline __device__ float exact_sum(const Arguments& a, int batch, int group, int64_t o, int64_t t) {
  float sum = 0;
  for (int64_t c = 0; c < a.group_in; ++c) {
    const float* x = a.x + (int64_t{batch} * a.p.in_channels + group * a.group_in + c) * a.p.length;
    for (int64_t k = 0; k < a.p.kernel_size; ++k) {
      const int64_t from = source_index(t * a.p.stride + k * a.p.dilation - a.p.pad_left, a.p.length, a.p.padding_mode);
      sum = fmaf(a.weight[(o * a.group_in + c) * a.p.kernel_size + k], from < 0 ? 0.0F : x[from], sum);
    }
  }
  return sum;
}

// A warpgroup's part of a tile in float32: for values that can't be scaled.
template <Layout BlockLayout, bool Plain>
__device__ __noinline__ void compute_exactly(const Arguments& a, const Tile& tile) {
  using MyPart = Part<BlockLayout>;
  const MyPart part(tile);
  const int shrink = !Plain && a.store.gated ? 2 : 1;  // sums a result
  const int block_in_group = tile.block - tile.group * static_cast<int>(a.group_blocks_by.value);
  const int first = (block_in_group * MyPart::kShape.channels + part.channel) / shrink;
  for (int i = threadIdx.x % 128; i < MyPart::kChannels / shrink * 128; i += 128) {
    const int64_t row = first + i / 128;
    const int64_t t = part.position + i % 128;
    if (row >= a.group_out / shrink || t >= a.out_length) continue;
    const int64_t o = tile.group * int64_t{a.group_out} + row;
    const float sum = exact_sum(a, tile.batch, tile.group, o, t);
    float& y = a.y[(tile.batch * a.store.channels + o) * a.out_length + t];
    if (Plain) {
      y = sum + a.store.at(o).bias;
    } else if (a.store.gated) {
      y = a.store.at(tile.batch, o)(sum, exact_sum(a, tile.batch, tile.group, o + a.group_out / 2, t), t);
    } else {
      y = a.store.at(tile.batch, o)(sum, t);
    }
  }
}

#ifdef STRAND_WGMMA

// Eight rows of up to 64 staged positions to y. Each row is staged so that its 16-byte boundaries are those of y: what
// lies between them is stored 16 bytes a lane whatever the length, so that whole sectors are written, and its ends
// float by float.
inline __device__ void store_rows(float* y, int64_t row_length, int rows, int count, const float* staging) {
  constexpr int kPieces = 17;  // a row: 64 floats and up to 3 before them
  __syncwarp();
#pragma unroll
  for (int i = 0; i < (8 * kPieces + 31) / 32; ++i) {
    const int piece = i * 32 + static_cast<int>(threadIdx.x % 32);
    const int row = piece / kPieces;
    if (row >= rows) break;
    float* to = y + row * row_length;
    const int lead = static_cast<int>(reinterpret_cast<uintptr_t>(to) / 4 & 3);
    const int begin = piece % kPieces * 4;  // in staged floats
    const float* from = staging + row * kStagingPitch + begin;
    to += begin - lead;
    if (begin >= lead && begin + 4 <= lead + count) {
      *reinterpret_cast<float4*>(to) = *reinterpret_cast<const float4*>(from);
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (begin + j >= lead && begin + j < lead + count) to[j] = from[j];
      }
    }
  }
  __syncwarp();
}

// The one place where outputs are finished.
template <Layout BlockLayout, bool Plain>
__device__ __forceinline__ void store_tile(const Arguments& a, const Shared& s, const Tile& tile, float (&sum)[64]) {
  using MyPart = Part<BlockLayout>;
  constexpr bool kStack = BlockLayout == Layout::kStack;
  const MyPart part(tile);
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const bool gated = !Plain && !kStack && a.store.gated;  // rows 8 to 15 gate rows 0 to 7
  const int results = gated ? a.group_out / 2 : a.group_out;
  const int block_in_group = tile.block - tile.group * static_cast<int>(a.group_blocks_by.value);
  const int first_row = part.channel + warp % 4 * (kStack ? 8 : 16);  // of the block
  const int first_sum = block_in_group * MyPart::kShape.channels + first_row;
  const int64_t group_channel = int64_t{tile.group} * results;
  const float* unscales = a.unscale + int64_t{tile.block} * MyPart::kShape.channels + first_row;
  if constexpr (kStack) {
#pragma unroll
    for (int i = 0; i < 64; i += 4) {
      sum[i] += sum[i + 2];
      sum[i + 1] += sum[i + 3];
    }
  }
#pragma unroll
  for (int half = 0; half < (kStack ? 1 : 2); ++half) {
    const int first = gated ? first_sum / 2 : first_sum + half * 8;
    const int rows = min(8, results - first);
    if (rows <= 0 || (gated && half == 1)) break;
    const bool exists = lane / 4 < rows;
    const float unscale = unscales[half * 8 + lane / 4];
    const Conv1dStore::Channel finish = a.store.at(tile.batch, group_channel + min(first + lane / 4, results - 1));
    float* y = a.y + (tile.batch * a.store.channels + group_channel + first) * a.out_length;
#pragma unroll
    for (int window = 0; window < 2; ++window) {
      const int64_t position = part.position + window * 64;
      const int count = static_cast<int>(min(int64_t{64}, a.out_length - position));
      if (count <= 0) break;
      // This lane's positions: pairs, 8 apart.
      float even[8];
      float odd[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        even[i] = sum[(window * 8 + i) * 4 + half * 2] * unscale;
        odd[i] = sum[(window * 8 + i) * 4 + half * 2 + 1] * unscale;
      }
      const int64_t mine = position + lane % 4 * 2;
      const int64_t end = exists ? a.out_length : 0;
      if constexpr (Plain) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          even[i] += finish.bias;
          odd[i] += finish.bias;
        }
      } else if (gated) {
        const float gate_unscale = unscales[8 + lane / 4];
        float gates[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) gates[i] = sum[(window * 8 + i) * 4 + 2] * gate_unscale;
        finish(even, gates, mine, 8, end);
#pragma unroll
        for (int i = 0; i < 8; ++i) gates[i] = sum[(window * 8 + i) * 4 + 3] * gate_unscale;
        finish(odd, gates, mine + 1, 8, end);
      } else {
        finish(even, mine, 8, end);
        finish(odd, mine + 1, 8, end);
      }
      const int lead = static_cast<int>(reinterpret_cast<uintptr_t>(y + lane / 4 * a.out_length + position) / 4 & 3);
      float* to = s.staging(warp) + lane / 4 * kStagingPitch + lead + lane % 4 * 2;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        to[i * 8] = even[i];
        to[i * 8 + 1] = odd[i];
      }
      store_rows(y + position, a.out_length, rows, count, s.staging(warp));
    }
  }
}

#endif

}  // namespace strand::layers::wgmma
