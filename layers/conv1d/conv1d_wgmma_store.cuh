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

// z[.., o, t] and the biases up to the next phase, where they belong in y.
inline __device__ void store_exactly(const Arguments& a, int batch, int64_t o, int64_t t, float sum) {
  const Interleave& between = a.p.interleave;
  const int phases = between.phases();
  const float bias = a.store.at(o).bias;
  float* y = a.y + (batch * (a.store.channels / phases) + o / phases) * between.length;
  const int64_t first = t * between.stride + o % phases * between.divisor - between.offset;
  for (int64_t i = 0; i < between.divisor; ++i) {
    if (first + i >= 0 && first + i < between.length) y[first + i] = i == 0 ? sum + bias : bias;
  }
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
    if (Plain && a.p.interleave.length > 0) {
      store_exactly(a, tile.batch, o, t, sum);
      continue;
    }
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

// Eight rows of 128 outputs on their way to y, a warp's own. Pieces of 16 bytes are permuted a row, against bank
// conflicts.
struct Staging {
  uint32_t memory;
  int lane;

  static __device__ uint32_t permuted(int row, int column) {
    return static_cast<uint32_t>((column ^ (row & 3) * 8) * 4 + row * kStagedColumns * 4);
  }

  // This lane's outputs are positions 8 i + lane % 4 * 2 and the next one of row lane / 4: outputs(i).
  template <typename Outputs>
  __device__ __forceinline__ void put(const Outputs& outputs) const {
    uint32_t to[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) to[i] = memory + permuted(lane / 4, i * 8 + lane % 4 * 2);
#pragma unroll
    for (int i = 0; i < 16; ++i) store_shared2(to[i % 4] + i / 4 * 128, outputs(i));
  }

  // Up to 8 rows of `count` outputs, so many floats at once as all rows' beginnings allow: a warp stores what lies side
  // by side, in whole sectors but for the ends.
  __device__ __forceinline__ void store(float* y, int64_t row_length, int rows, int count) const {
    const auto alignment = reinterpret_cast<uintptr_t>(y) / 4 | static_cast<uintptr_t>(row_length);
    __syncwarp();
    if (alignment % 4 == 0) {
      store_rows<4>(y, row_length, rows, count);
    } else if (alignment % 2 == 0) {
      store_rows<2>(y, row_length, rows, count);
    } else {
      store_rows<1>(y, row_length, rows, count);
    }
    __syncwarp();
  }

  // Rows that are phases. `y`: the tile's first output of the first channel, which may lie before or after what there
  // is of y: [begin, end) from there. A lane's outputs are of the same phases in all its pieces.
  template <int Width>
  __device__ __forceinline__ void interleave(const Arguments& a, float* y, int begin, int end, int rows,
                                             const float* bias) const {
    constexpr int kPieces = kStagedColumns / 32 / Width;  // times the stride
    const Interleave& between = a.p.interleave;
    const bool whole = begin == 0 && end == kStagedColumns * between.stride;
    const uint32_t step = (32 * Width >> a.stride_shift) * 4;
    for (int first_row = 0; first_row < rows; first_row += between.phases(), y += between.length) {
      uint32_t row_at[Width];
      uint32_t swap[Width];  // as permuted() does
      uint32_t at[Width];
      bool has_taps[Width];
#pragma unroll
      for (int i = 0; i < Width; ++i) {
        const int within = (lane * Width + i) & (between.stride - 1);
        const int row = first_row + (within >> a.divisor_shift);
        row_at[i] = memory + row * kStagedColumns * 4;
        swap[i] = (row & 3) * 32;
        at[i] = (lane * Width + i) >> a.stride_shift << 2;
        has_taps[i] = (within & (between.divisor - 1)) == 0;
      }
      const float other = between.divisor > 1 && bias != nullptr ? bias[first_row] : 0.0F;
      float* to = y + lane * Width;
      int first = lane * Width;
      for (int turn = 0; turn < between.stride; ++turn, to += kStagedColumns) {
        Floats<Width> v[kPieces];
#pragma unroll
        for (int piece = 0; piece < kPieces; ++piece) {
#pragma unroll
          for (int i = 0; i < Width; ++i) {
            const float z = load_shared<float>(row_at[i] + (at[i] ^ swap[i]));
            v[piece][i] = has_taps[i] ? z : other;
            at[i] += step;
          }
        }
#pragma unroll
        for (int piece = 0; piece < kPieces; ++piece, first += 32 * Width) {
          if (whole || (first >= begin && first < end)) v[piece].store(to + piece * 32 * Width);
        }
      }
    }
  }

  template <int Width>
  __device__ __forceinline__ void store_rows(float* y, int64_t row_length, int rows, int count) const {
    constexpr int kPieces = kStagedColumns / 32 / Width;  // of a row, a lane's
    const int mine = lane * Width;
    uint32_t from[4];
#pragma unroll
    for (int row = 0; row < 4; ++row) from[row] = memory + permuted(row, mine);
    float* to = y + mine;
#pragma unroll
    for (int half = 0; half < kStagedRows; half += 4) {
      Floats<Width> v[4][kPieces];
#pragma unroll
      for (int row = 0; row < 4; ++row) {
#pragma unroll
        for (int i = 0; i < kPieces; ++i) v[row][i].load(from[row] + (half * kStagedColumns + i * 32 * Width) * 4);
      }
#pragma unroll
      for (int row = 0; row < 4; ++row, to += row_length) {
#pragma unroll
        for (int i = 0; i < kPieces; ++i) {
          if (half + row < rows && mine + i * 32 * Width < count) v[row][i].store(to + i * 32 * Width);
        }
      }
    }
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
      const Staging staging{s.staging(threadIdx.x / 32), lane};
      if constexpr (Plain) {
        staging.put([&](int i) {
          return make_float2(fmaf(sum[i * 4 + half * 2], unscale[half], bias[half]),
                             fmaf(sum[i * 4 + half * 2 + 1], unscale[half], bias[half]));
        });
      } else {
        const int64_t channel = int64_t{tile.group} * results + min(first + lane / 4, results - 1);
        const Conv1dStore::Channel finish = a.store.at(tile.batch, channel);
        const int64_t mine = position + lane % 4 * 2;
        const int64_t end = lane / 4 < rows ? a.out_length : 0;
        float even[16];
        float odd[16];
#pragma unroll
        for (int i = 0; i < 16; ++i) {
          even[i] = sum[i * 4 + half * 2] * unscale[half];
          odd[i] = sum[i * 4 + half * 2 + 1] * unscale[half];
        }
        if (gated) {
          float gates[16];
#pragma unroll
          for (int i = 0; i < 16; ++i) gates[i] = sum[i * 4 + 2] * unscale[kHalves - 1];
          finish(even, gates, mine, 8, end);
#pragma unroll
          for (int i = 0; i < 16; ++i) gates[i] = sum[i * 4 + 3] * unscale[kHalves - 1];
          finish(odd, gates, mine + 1, 8, end);
        } else {
          finish(even, mine, 8, end);
          finish(odd, mine + 1, 8, end);
        }
        staging.put([&](int i) { return make_float2(even[i], odd[i]); });
      }
      if (Plain && a.p.interleave.length > 0) {
        interleave(staging, first, rows);
      } else {
        staging.store(y, a.out_length, rows, count);
      }
    }
  }

  // Rows from the group's `first` on, staged: eight, or as many as there are; whole sets of phases.
  __device__ __forceinline__ void interleave(const Staging& staging, int first, int rows) const {
    const Interleave& between = a.p.interleave;
    const int64_t channel = int64_t{tile.group} * results + first;
    const int64_t row = (tile.batch * a.store.channels + channel) / between.phases();
    // Of y, what position 0 of the tile is, and how far y reaches before and after it.
    const int64_t start = int64_t{part.position} * between.stride - between.offset;
    float* y = a.y + row * between.length + start;
    const auto begin = static_cast<int>(max(int64_t{0}, -start));
    const auto end = static_cast<int>(min(int64_t{kStagedColumns} * between.stride, between.length - start));
    const float* bias = a.store.bias == nullptr ? nullptr : a.store.bias + channel;
    // Fours are stored or not as a whole, so their ends have to be those of rows too.
    const auto alignment = reinterpret_cast<uintptr_t>(a.y) / 4 | static_cast<uintptr_t>(start | between.length);
    __syncwarp();
    if (alignment % 4 == 0) {
      staging.interleave<4>(a, y, begin, end, rows, bias);
    } else {
      staging.interleave<1>(a, y, begin, end, rows, bias);
    }
    __syncwarp();
  }
};

#endif

}  // namespace strand::layers::wgmma
