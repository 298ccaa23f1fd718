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

  __device__ explicit Part(const Tile& tile) {
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

// Eight rows of 128 outputs on their way to y, a warp's own. Column 0 of a staged row is the first output that lies on
// a boundary of 16 bytes in y, and those before it follow after the last one, so that what lies between boundaries is
// stored 16 bytes a lane whatever the length, in whole sectors. Pieces of 16 bytes are permuted a row, against bank
// conflicts.
struct Staging {
  float* memory;
  int lane;
  int skip;  // outputs before the boundary, in the first row
  int step;  // by how many fewer in each row after it

  // `y`: of the first row and position.
  __device__ Staging(float* staging, const float* y, int64_t row_length, int my_lane)
      : memory(staging),
        lane(my_lane),
        skip(static_cast<int>(-(reinterpret_cast<uintptr_t>(y) / 4) & 3)),
        step(static_cast<int>(row_length & 3)) {}

  __device__ int skip_of(int row) const { return (skip - row * step) & 3; }
  static __device__ int permuted(int row, int piece) { return piece ^ (row & 3) * 2; }

  // This lane's outputs are positions 8 i + lane % 4 * 2 and the next one of row lane / 4. For i = 0 to 3: where i,
  // i + 4, i + 8, ... are, 32 floats apart, but for the very first, which may be the one after the last.
  struct Places {
    int first;
    int at[4];
    __device__ int operator[](int i) const { return i == 0 ? first : at[i % 4] + i / 4 * 32; }
  };
  __device__ Places places(int odd) const {
    const int row = lane / 4;
    const int column = lane % 4 * 2 + odd - skip_of(row);
    Places places{};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int shifted = column + i * 8;
      const int piece = (shifted >> 2 & ~7) | permuted(row, shifted >> 2 & 7);
      places.at[i] = row * kStagedColumns + piece * 4 + (shifted & 3);
    }
    places.first = places.at[0] + (column < 0 ? kStagedColumns : 0);
    return places;
  }

  // All of it, where all rows begin at boundaries.
  __device__ __forceinline__ void store_whole(float* y, int64_t row_length) const {
    const uint32_t from = shared_address(memory);
    float4 v[kStagedRows];
#pragma unroll
    for (int row = 0; row < kStagedRows; ++row)
      v[row] = load_shared4(from + (row * kStagedColumns + permuted(row, lane) * 4) * 4);
    float* to = y + lane * 4;
#pragma unroll
    for (int row = 0; row < kStagedRows; ++row, to += row_length) store_global4(to, v[row]);
    __syncwarp();
  }
  // Up to 8 rows of `count` outputs.
  __device__ __forceinline__ void store(float* y, int64_t row_length, int rows, int count) const {
    __syncwarp();
    const uint32_t from = shared_address(memory);
    const auto staged = [&](int row) {
      return load_shared4(from + (row * kStagedColumns + permuted(row, lane) * 4) * 4);
    };
    if ((skip | step) == 0 && rows == kStagedRows && count == kStagedColumns) return store_whole(y, row_length);
    // What shares 16 bytes with other rows or tiles lies in the last piece of a row: its end, and its beginning. All
    // are read before the first is waited for.
    constexpr int kLast = kStagedColumns / 4 - 1;
    const int my_row = lane / 4;
    const float last =
        load_shared<float>(from + (my_row * kStagedColumns + permuted(my_row, kLast) * 4 + lane % 4) * 4);
    float* to = y + lane * 4;
    if (rows == kStagedRows) {
      float4 v[kStagedRows];
#pragma unroll
      for (int row = 0; row < kStagedRows; ++row) v[row] = staged(row);
#pragma unroll
      for (int row = 0; row < kStagedRows; ++row, to += row_length) {
        const int before = skip_of(row);
        if (before + lane * 4 + 4 <= count) store_global4(to + before, v[row]);
      }
    } else {
      for (int row = 0; row < rows; ++row, to += row_length) {
        const int before = skip_of(row);
        if (before + lane * 4 + 4 <= count) store_global4(to + before, staged(row));
      }
    }
    const int before = skip_of(my_row);
    const int position = (before + kLast * 4 + lane % 4) & (kStagedColumns - 1);
    if (my_row < rows && position < count && (before > 0 || count < kStagedColumns))
      y[my_row * row_length + position] = last;
    // And where the end of a shorter row cuts a piece.
    const int cut = (count - before) >> 2;
    if (count < kStagedColumns && cut >= 0 && cut < kLast) store_one(y, row_length, rows, count, my_row, before, cut);
    __syncwarp();
  }
  __device__ void store_one(float* y, int64_t row_length, int rows, int count, int row, int before, int piece) const {
    const int column = piece * 4 + lane % 4;
    const int position = (before + column) & (kStagedColumns - 1);
    if (row >= rows || position >= count) return;
    y[row * row_length + position] = memory[row * kStagedColumns + permuted(row, piece) * 4 + column % 4];
  }
};

// The one place where outputs are finished. What it reads of its rows it reads when it is made, before the products, so
// that nothing waits for memory after them.
template <Layout BlockLayout, bool Plain>
struct TileEnd {
  using MyPart = Part<BlockLayout>;
  static constexpr bool kStack = BlockLayout == Layout::kStack;
  static constexpr int kHalves = kStack ? 1 : 2;  // rows lane / 4 and, but in a stack, 8 more
  const Arguments& a;
  int lane;
  Tile tile;
  MyPart part;
  bool gated;     // rows 8 to 15 gate rows 0 to 7
  int results;    // of the group
  int first_sum;  // this warp's first row, in the group's
  float unscale[kHalves];
  float bias[kHalves];

  __device__ TileEnd(const Arguments& arguments, int index, int my_lane)
      : a(arguments), lane(my_lane), tile(tile_at(arguments, index)), part(tile) {
    const int warp = threadIdx.x / 32;
    gated = !Plain && !kStack && a.store.gated;
    results = gated ? a.group_out / 2 : a.group_out;
    const int first_row = part.channel + warp % 4 * (kStack ? 8 : 16);
    const int block_in_group = tile.block - tile.group * static_cast<int>(a.group_blocks_by.value);
    first_sum = block_in_group * MyPart::kShape.channels + first_row;
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      unscale[half] = a.unscale[int64_t{tile.block} * MyPart::kShape.channels + first_row + half * 8 + lane / 4];
      bias[half] = 0;
      const int row = first_sum + half * 8 + lane / 4;
      if (Plain && a.store.bias != nullptr && row < a.group_out)
        bias[half] = a.store.bias[tile.group * a.group_out + row];
    }
  }

  __device__ __forceinline__ void store(const Shared& s, float (&sum)[64]) const {
    const int64_t position = part.position;
    const int count = static_cast<int>(min(int64_t{kStagedColumns}, a.out_length - position));
    if (count <= 0) return;
    if constexpr (kStack) {
#pragma unroll
      for (int i = 0; i < 64; i += 4) {
        sum[i] += sum[i + 2];
        sum[i + 1] += sum[i + 3];
      }
    }
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const int first = gated ? first_sum / 2 : first_sum + half * 8;
      const int rows = min(kStagedRows, results - first);
      if (rows <= 0 || (gated && half == 1)) break;
      const int64_t row = tile.batch * a.store.channels + int64_t{tile.group} * results + first;
      float* y = a.y + row * a.out_length + position;
      const Staging staging(s.staging(threadIdx.x / 32), y, a.out_length, lane);
      const Staging::Places even_at = staging.places(0);
      if constexpr (Plain) {
        // Neighbours are neighbours in y too where all its rows begin at multiples of 8 bytes.
        if ((staging.skip | staging.step) % 2 == 0) {
#pragma unroll
          for (int i = 0; i < 16; ++i) {
            *reinterpret_cast<float2*>(staging.memory + even_at[i]) =
                make_float2(fmaf(sum[i * 4 + half * 2], unscale[half], bias[half]),
                            fmaf(sum[i * 4 + half * 2 + 1], unscale[half], bias[half]));
          }
        } else {
          const Staging::Places odd_at = staging.places(1);
#pragma unroll
          for (int i = 0; i < 16; ++i) {
            staging.memory[even_at[i]] = fmaf(sum[i * 4 + half * 2], unscale[half], bias[half]);
            staging.memory[odd_at[i]] = fmaf(sum[i * 4 + half * 2 + 1], unscale[half], bias[half]);
          }
        }
      } else {
        const Staging::Places odd_at = staging.places(1);
        const int64_t channel = int64_t{tile.group} * results + min(first + lane / 4, results - 1);
        const Conv1dStore::Channel finish = a.store.at(tile.batch, channel);
        const int64_t mine = position + lane % 4 * 2;
        const int64_t end = lane / 4 < rows ? a.out_length : 0;
#pragma unroll
        for (int window = 0; window < 2; ++window) {
          // This lane's positions: pairs, 8 apart.
          float even[8];
          float odd[8];
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            even[i] = sum[(window * 8 + i) * 4 + half * 2] * unscale[half];
            odd[i] = sum[(window * 8 + i) * 4 + half * 2 + 1] * unscale[half];
          }
          if (gated) {
            float gates[8];
#pragma unroll
            for (int i = 0; i < 8; ++i) gates[i] = sum[(window * 8 + i) * 4 + 2] * unscale[kHalves - 1];
            finish(even, gates, mine + window * 64, 8, end);
#pragma unroll
            for (int i = 0; i < 8; ++i) gates[i] = sum[(window * 8 + i) * 4 + 3] * unscale[kHalves - 1];
            finish(odd, gates, mine + window * 64 + 1, 8, end);
          } else {
            finish(even, mine + window * 64, 8, end);
            finish(odd, mine + window * 64 + 1, 8, end);
          }
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            staging.memory[even_at[window * 8 + i]] = even[i];
            staging.memory[odd_at[window * 8 + i]] = odd[i];
          }
        }
      }
      staging.store(y, a.out_length, rows, count);
    }
  }
};

#endif

}  // namespace strand::layers::wgmma
