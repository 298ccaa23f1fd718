#pragma once
// The end of a tile of cuda.tensor: its sums through shared memory to finished rows, or all of it in float32.

#include "layers/conv1d/conv1d_tensor_stage.cuh"

namespace strand::layers::tensor {

// A tile in float32, by FMA in the order of the formula: for values that can't be scaled.
template <int BlockShapeIndex, bool Plain>
__device__ __noinline__ void compute_exactly(const Arguments& a, const Tile& tile) {
  constexpr BlockShape kShape = kBlockShapes[BlockShapeIndex];
  for (int i = threadIdx.x; i < kShape.rows() * kShape.columns(); i += kShape.threads()) {
    const int64_t row = int64_t{tile.m_block} * kShape.rows() + i / kShape.columns();
    const int64_t t = int64_t{tile.position} * kShape.columns() + i % kShape.columns();
    if (row >= a.p.group_out() || t >= a.out_length) continue;
    const int64_t o = tile.group * a.p.group_out() + row;
    float sum = 0;
    for (int64_t c = 0; c < a.p.group_in(); ++c) {
      const float* x = a.x + (int64_t{tile.batch} * a.p.in_channels + tile.group * a.p.group_in() + c) * a.p.length;
      for (int64_t k = 0; k < a.p.kernel_size; ++k) {
        const int64_t from =
            source_index(t * a.p.stride + k * a.p.dilation - a.p.pad_left, a.p.length, a.p.padding_mode);
        sum = fmaf(a.weight[(o * a.p.group_in() + c) * a.p.kernel_size + k], from < 0 ? 0.0F : x[from], sum);
      }
    }
    a.y[(int64_t{tile.batch} * a.p.out_channels + o) * a.out_length + t] =
        Plain ? sum + a.store.at(o).bias : a.store.at(tile.batch, o)(sum, t);
  }
}

// Up to 16 staged rows of sums to y, from output channel `first` of the group and position t0 on, a lane four positions
// of a row.
inline __device__ void finish_rows(const Arguments& a, const Tile& tile, int first, int rows, int64_t t0,
                                   const float* staging) {
  const int lane = threadIdx.x % 32;
  const int64_t t = t0 + lane % 8;
#pragma unroll 1
  for (int row = lane / 8; row < rows; row += 4) {
    const int64_t o = tile.group * a.p.group_out() + first + row;
    float v[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = staging[row * kStagingPitch + lane % 8 + i * 8];
    a.store.at(tile.batch, o)(v, t, 8, a.out_length);
    float* y = a.y + (int64_t{tile.batch} * a.p.out_channels + o) * a.out_length + t;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (t + i * 8 < a.out_length) y[i * 8] = v[i];
    }
  }
}

// A warp's sums to y, 16 rows at a time through its part of shared memory. The one place where outputs are finished.
template <int BlockShapeIndex, bool Plain>
__device__ void store_tile(
    const Arguments& a, const Tile& tile, float* staging,
    float (&sum)[kBlockShapes[BlockShapeIndex].m_tiles][kBlockShapes[BlockShapeIndex].n_tiles][4]) {
  constexpr BlockShape kShape = kBlockShapes[BlockShapeIndex];
  constexpr int kColumns = kShape.n_tiles * 8;
  static_assert(kColumns == 32, "a lane a column");
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int64_t t0 = int64_t{tile.position} * kShape.columns() + warp % kShape.n_warps * kColumns;
  const int columns = static_cast<int>(min(int64_t{kColumns}, a.out_length - t0));
  const int padded_rows = a.m_blocks * kShape.rows();
  const bool vectors = a.out_length % 4 == 0;
#pragma unroll
  for (int m = 0; m < kShape.m_tiles; ++m) {
    const int first = tile.m_block * kShape.rows() + (warp / kShape.n_warps * kShape.m_tiles + m) * 16;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = lane / 4 + half * 8;
      const float unscale = a.unscale[tile.group * padded_rows + first + row];
      // What is more than a bias comes after the staging, where positions lie side by side.
      const int64_t channel = tile.group * a.p.group_out() + min(int64_t{first} + row, a.p.group_out() - 1);
      const float bias = Plain ? a.store.at(channel).bias : 0;
#pragma unroll
      for (int n = 0; n < kShape.n_tiles; ++n) {
        *reinterpret_cast<float2*>(staging + row * kStagingPitch + n * 8 + lane % 4 * 2) =
            make_float2(sum[m][n][half * 2] * unscale + bias, sum[m][n][half * 2 + 1] * unscale + bias);
      }
    }
    __syncwarp();
    const int rows = static_cast<int>(min(int64_t{16}, a.p.group_out() - first));
    if constexpr (!Plain) {
      finish_rows(a, tile, first, rows, t0, staging);
      __syncwarp();
      continue;
    }
    float* y =
        a.y + (int64_t{tile.batch} * a.p.out_channels + tile.group * a.p.group_out() + first) * a.out_length + t0;
    if (vectors) {
      const int column = lane % (kColumns / 4) * 4;
      constexpr int kRowsAtOnce = 32 / (kColumns / 4);
      float* to = y + lane / (kColumns / 4) * a.out_length + column;
#pragma unroll
      for (int i = 0; i < 16; i += kRowsAtOnce, to += kRowsAtOnce * a.out_length) {
        const int row = lane / (kColumns / 4) + i;
        const float4 v = *reinterpret_cast<const float4*>(staging + row * kStagingPitch + column);
        if (row < rows && column < columns) *reinterpret_cast<float4*>(to) = v;
      }
    } else if (lane < columns) {
      float* to = y + lane;
      const float* from = staging + lane;
      if (rows == 16) {
#pragma unroll
        for (int row = 0; row < 16; ++row, to += a.out_length) *to = from[row * kStagingPitch];
      } else {
        for (int row = 0; row < rows; ++row, to += a.out_length) *to = from[row * kStagingPitch];
      }
    }
    __syncwarp();
  }
}

}  // namespace strand::layers::tensor
