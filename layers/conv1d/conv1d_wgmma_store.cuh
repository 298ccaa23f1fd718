#pragma once
// The end of a tile of cuda.wgmma: a warpgroup's sums through shared memory to finished rows, or all of it in float32.

#include "layers/conv1d/conv1d_wgmma_staging.cuh"

namespace strand::layers::wgmma {

// What a warpgroup has of a tile.
template <Layout BlockLayout>
struct Part {
  static constexpr BlockShape kShape = block_shape(BlockLayout);
  static constexpr int kChannels = kShape.channels == 128 ? 64 : kShape.channels;

  // Output channel in the block, and output position.
  static __device__ int first_channel() {
    return BlockLayout == Layout::kSplit ? static_cast<int>(threadIdx.x) / 128 * 64 : 0;
  }
  static __device__ int first_position(const Arguments& a, const Tile& tile) {
    const int warpgroup = static_cast<int>(threadIdx.x) / 128;
    return tile.position + (BlockLayout == Layout::kSplit ? 0 : warpgroup * a.g.stored_columns);
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
__device__ __noinline__ void compute_exactly(const Arguments& a, const Tile& tile) {
  using MyPart = Part<BlockLayout>;
  const int shrink = !Plain && a.store.gated ? 2 : 1;  // sums a result
  const int block_in_group = tile.block - tile.group * static_cast<int>(a.group_blocks_by.value);
  const int first = (block_in_group * MyPart::kShape.channels + MyPart::first_channel()) / shrink;
  for (int i = threadIdx.x % 128; i < MyPart::kChannels / shrink * 128; i += 128) {
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

#ifdef STRAND_WGMMA

// The one place where outputs are finished. What it reads of its rows it reads when their block of channels begins,
// before the products, so that nothing waits for memory after them.
template <Layout BlockLayout, bool Plain, bool Halves>
struct TileEnd {
  using MyPart = Part<BlockLayout>;
  static constexpr bool kStack = BlockLayout == Layout::kStack;
  static constexpr int kInner = 256;
  static constexpr int kCopied = 512;             // all rows are whole, and go by tensor copies
  static constexpr int kHalves = kStack ? 1 : 2;  // rows row_of(lane) and, but in a stack, 8 more
  const Arguments& a;
  Staging staging;
  int lane;
  Tile tile{};
  bool gated;         // rows 8 to 15 gate rows 0 to 7
  int results;        // of the group
  int first_row = 0;  // this warp's, in the block
  int first_sum = 0;  // the same in the group
  float unscale[kHalves];
  float bias[kHalves];
  int ends = 0;    // how many outputs there are in a row, and kInner if it goes on before and after them; or kCopied
  uint64_t y = 0;  // where the warp's first one is; if kCopied its row of all batches, and below it its line

  __device__ TileEnd(const Arguments& arguments, const Shared& s, int my_lane)
      : a(arguments),
        staging{__shfl_sync(~0U, s.staging(static_cast<int>(threadIdx.x) / 32), 0), my_lane},
        lane(my_lane) {
    gated = !Plain && !kStack && a.store.gated;
    results = gated ? a.group_out / 2 : a.group_out;
    first_row = Part<BlockLayout>::first_channel() + static_cast<int>(threadIdx.x) / 32 % 4 * (kStack ? 8 : 16);
  }

  __device__ __forceinline__ void begin(int index) {
    tile = tile_at(a, index);
    // Where weights are resident, the grid is a multiple of their blocks.
    const bool same_block = a.g.resident || a.blocks_by.value == 1;
    if (!same_block || index == static_cast<int>(blockIdx.x)) begin_block();
    const int position = MyPart::first_position(a, tile);
    const bool whole_rows = first_result() + kStagedRows * (gated ? 1 : kHalves) <= results;
    if (a.copies_lines && whole_rows && position + kPartColumns <= static_cast<int>(a.out_length)) {
      ends = kCopied;
      const int row = tile.batch * static_cast<int>(a.store.channels) + tile.group * results + first_result();
      y = static_cast<uint64_t>(row) << 32 | static_cast<uint32_t>(position * y_bytes() / 128);
    } else {
      find_ends();
    }
  }

  __device__ __forceinline__ void find_ends() {
    const int64_t row = tile.batch * a.store.channels + int64_t{tile.group} * results + first_result();
    const int64_t position = MyPart::first_position(a, tile);
    const int64_t left = a.out_length - position;
    const int has = static_cast<int>(max(min(int64_t{kPartColumns}, left), int64_t{0}));
    const bool goes_on = position > 0 && left > kPartColumns;
    // By a shuffle, so that they are found now, and not once more after the products.
    ends = __shfl_sync(~0U, has | (goes_on ? kInner : 0), 0);
    y = reinterpret_cast<uint64_t>(a.y) + (row * a.out_length + position) * y_bytes();
    asm volatile("" : "+l"(y));
  }

  __device__ __forceinline__ void begin_block() {
    const int block_in_group = tile.block - tile.group * static_cast<int>(a.group_blocks_by.value);
    first_sum = block_in_group * MyPart::kShape.channels + first_row;
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      unscale[half] = a.unscale[int64_t{tile.block} * MyPart::kShape.channels + first_row + half * 8 + row_of(lane)];
      bias[half] = 0;
      const int row = first_sum + half * 8 + row_of(lane);
      if (Plain && a.store.bias != nullptr && row < a.group_out)
        bias[half] = a.store.bias[tile.group * a.group_out + row];
    }
  }

  __device__ int y_bytes() const { return Halves ? bytes_stored(a.y_type) : 4; }
  __device__ int first_result() const { return gated ? first_sum / 2 : first_sum; }

  __device__ __forceinline__ void store(float (&sum)[64]) const {
    if constexpr (kStack) {
#pragma unroll
      for (int i = 0; i < 64; i += 4) {
        sum[i] += sum[i + 2];
        sum[i + 1] += sum[i + 3];
      }
    }
    if (ends == 0) return;
    if (ends == kCopied) {
      each_half([&](int half) {
        await_copies();
        finish_rows(sum, half, kStagedRows, [&](const auto& outputs) { put(outputs); });
        copy_staged([&] {
          const int row = static_cast<int>(y >> 32) + half * kStagedRows;
          tensor_store(&a.y_map, staging.memory, row, static_cast<int>(y));
        });
      });
      return;
    }
    const bool whole_rows = first_result() + kStagedRows * (gated ? 1 : kHalves) <= results;
    if (a.g.stored_columns < kPartColumns && (ends & kInner) != 0 && whole_rows) {
      OutputRows out(y, a.out_length, 4);
      each_half([&](int half) {
        await_copies();
        const int first = -static_cast<int>(static_cast<uint32_t>(out.row(row_of(lane))) / 4) & (kSector - 1);
        finish_rows(sum, half, kStagedRows, [&](const auto& outputs) { staging.put_sectors(outputs, first); });
        copy_staged([&] { staging.copy_sectors(out); });
        out.at += kStagedRows * out.pitch;
      });
      return;
    }
    await_copies();
    store_ends(sum);
  }

  template <class Each>
  __device__ __forceinline__ void each_half(const Each& each) const {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      if (half == 0 || !gated) each(half);
    }
  }

  // Rows that end within the tile, or can't be copied.
  __device__ __forceinline__ void store_ends(float (&sum)[64]) const {
    const bool sectors = a.g.stored_columns < kPartColumns;  // of each row other columns
    const bool interleaves = Plain && a.p.interleave.length > 0;
    OutputRows out(y, a.out_length, y_bytes());
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const int first = first_result() + half * 8;
      const int rows = min(kStagedRows, results - first);
      if (rows <= 0 || (gated && half == 1)) break;
      finish_rows(sum, half, rows, [&](const auto& outputs) { put(outputs); });
      if (interleaves) {
        interleave(first, rows);
      } else {
        __syncwarp();
        const bool whole = rows == kStagedRows && (ends & kPartColumns) != 0;
        if (Halves && a.y_type == DType::kFloat16) {
          store_halves<__half>(out, rows, whole);
        } else if (Halves && a.y_type == DType::kBFloat16) {
          store_halves<__nv_bfloat16>(out, rows, whole);
        } else if (!whole || sectors) {
          staging.store_some(a, out, rows, MyPart::first_position(a, tile));
        } else {
          staging.store_rows(out);
        }
        __syncwarp();
        out.at += kStagedRows * out.pitch;
      }
    }
  }

  template <class Outputs>
  __device__ __forceinline__ void put(const Outputs& outputs) const {
    if (Halves && a.y_type == DType::kFloat16) return HalfStaging<__half>{staging.memory, lane}.put(outputs);
    if (Halves && a.y_type == DType::kBFloat16) return HalfStaging<__nv_bfloat16>{staging.memory, lane}.put(outputs);
    staging.put(outputs);
  }

  // put(outputs) with what this lane has of the first or second eight rows, of which there are `rows`, finished.
  template <class Put>
  __device__ __forceinline__ void finish_rows(float (&sum)[64], int half, int rows, const Put& put) const {
    if constexpr (Plain) {
      put([&](int i) {
        return make_float2(fmaf(sum[i * 4 + half * 2], unscale[half], bias[half]),
                           fmaf(sum[i * 4 + half * 2 + 1], unscale[half], bias[half]));
      });
    } else {
      const int first = first_result() + half * 8;
      const int64_t channel = int64_t{tile.group} * results + min(first + row_of(lane), results - 1);
      const auto finish = a.store.at<Halves>(tile.batch, channel);
      const int64_t mine = MyPart::first_position(a, tile) + lane % 4 * 2;
      const int64_t end = row_of(lane) < rows ? a.out_length : 0;
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
      put([&](int i) { return make_float2(even[i], odd[i]); });
    }
  }

  // Until what this warp has staged before is on its way.
  __device__ __forceinline__ void await_copies() const {
    if (elected()) await_stores_read();
    __syncwarp();
  }

  // What is staged, by copies that one lane starts.
  template <class Start>
  __device__ __forceinline__ void copy_staged(const Start& start) const {
    fence_shared_writes();
    __syncwarp();
    if (elected()) {
      start();
      commit_stores();
    }
    __syncwarp();
  }

  template <class Y>
  __device__ __forceinline__ void store_halves(const OutputRows& out, int rows, bool whole) const {
    const HalfStaging<Y> halves{staging.memory, lane};
    if (whole) return halves.store_rows(out);
    halves.store_some(out, rows, ends & (kInner - 1));
  }

  // Rows from the group's `first` on, staged: eight, or as many as there are; whole sets of phases.
  __device__ __forceinline__ void interleave(int first, int rows) const {
    const Interleave& between = a.p.interleave;
    const int64_t channel = int64_t{tile.group} * results + first;
    const int64_t row = (tile.batch * a.store.channels + channel) / between.phases();
    // Of y, what position 0 of the tile is, and how far y reaches before and after it.
    const int64_t start = int64_t{MyPart::first_position(a, tile)} * between.stride - between.offset;
    float* y = static_cast<float*>(a.y) + row * between.length + start;
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
