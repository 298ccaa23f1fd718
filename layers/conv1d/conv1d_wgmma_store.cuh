#pragma once
// The end of a tile of cuda.wgmma: a warpgroup's sums through shared memory to finished rows.

#include "layers/conv1d/conv1d_wgmma_exact.cuh"

namespace strand::layers::wgmma {

#ifdef STRAND_WGMMA

// The one place where outputs are finished. What it reads of its rows it reads when their block of channels begins,
// before the products, so that nothing waits for memory after them (of tall tiles after them).
template <Layout BlockLayout, bool Plain, bool Halves>
struct TileEnd {
  using MyPart = Part<BlockLayout>;
  static constexpr bool kStack = BlockLayout == Layout::kStack;
  static constexpr bool kTurned = BlockLayout == Layout::kTurned;
  static constexpr bool kCarry = BlockLayout == Layout::kCarry;
  static constexpr int kInner = 256;
  static constexpr int kCopied = 512;                        // all rows are whole, and go by tensor copies
  static constexpr int kCarried = 1024;                      // the tile before has left its last columns to this one
  static constexpr int kLeaves = 2048;                       // this one does to the next
  static constexpr int kHalves = kStack || kTurned ? 1 : 2;  // rows row_of(lane), and maybe 8 more
  // Turned sums are finished where they are, and then staged as they go to y, but by epilogues and as halves.
  static constexpr bool kFinishesFirst = kTurned && Plain && !Halves;
  static constexpr bool kMayHaveSecond = may_have_second_staging(BlockLayout);
  static constexpr int kRows = kFinishesFirst ? 4 : kHalves;  // of a lane's sums
  static constexpr int kSums = kTurned ? 32 : 64;
  static constexpr int kSumStep = kTurned ? 2 : 4;  // from a row's sums of two positions to the next two
  const Arguments& a;
  Staging staging;
  int lane;
  Tile tile{};
  bool gated;         // rows 8 to 15 gate rows 0 to 7
  int results;        // of the group
  int first_row = 0;  // this warp's, in the block
  int first_sum = 0;  // the same in the group; if carried, the channel that it is
  float unscale[kRows];
  float bias[kRows];
  int ends = 0;    // how many outputs there are in a row, and kInner if it goes on before and after them; or kCopied
  uint64_t y = 0;  // where the warp's first one is; if kCopied its row of all batches, and below it its line
  float2 tail[kHalves] = {};  // what is left to the next tile

  __device__ TileEnd(const Arguments& arguments, const Shared& s, int my_lane)
      : a(arguments),
        staging{__shfl_sync(~0U, s.staging(static_cast<int>(threadIdx.x) / 32), 0), my_lane},
        lane(my_lane) {
    gated = !Plain && kHalves == 2 && !kCarry && a.store.gated;
    results = gated ? a.group_out / 2 : a.group_out;
    first_row = MyPart::first_channel() + warp() * 8 * kHalves % MyPart::kChannels;
  }

  // `half`: of a tall tile.
  __device__ __forceinline__ void begin(const Walk<order_of(BlockLayout)>& walk, int half = 0) {
    tile = MyPart::half_of(walk.tile(), half);
    if constexpr (kCarry) return begin_carried(walk);
    // Where weights are resident, the grid is a multiple of their blocks.
    const bool same_block = MyPart::kHalves == 1 && (a.g.resident || a.blocks_by.value == 1);
    const bool is_first = BlockLayout == Layout::kSlide ? ends == 0 : walk.index == static_cast<int>(blockIdx.x);
    if (!same_block || is_first) begin_block();
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

  __device__ __forceinline__ void begin_carried(const Walk<Order::kNeighbours>& walk) {
    const auto length = static_cast<int>(a.out_length);
    const bool leaves = !walk.at_last() && tile.position + kPartColumns < length;
    if (ends == 0) begin_block();  // the first tile, or after one that was skipped
    const int has = min(kPartColumns, length - tile.position);
    ends = __shfl_sync(~0U, has | (ends & kLeaves) / kLeaves * kCarried | (leaves ? kLeaves : 0), 0);
    const int64_t row = tile.batch * a.store.channels + int64_t{tile.group} * results + first_sum;
    y = reinterpret_cast<uint64_t>(a.y) + (row * a.out_length + tile.position) * 4;
    asm volatile("" : "+l"(y));
  }

  __device__ __forceinline__ void begin_block() {
    const int first = kCarry ? MyPart::first_channel() + 2 * warp() : first_row;
    first_sum = MyPart::first_of_block(a, tile) + first;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      // In the block, and in the group. See turn.
      const int within = kFinishesFirst ? i / 2 * 8 + lane % 4 * 2 + i % 2 : first_row + i * 8 + row_of(lane);
      const int row = kFinishesFirst ? MyPart::first_of_block(a, tile) + within : sum_of(i);
      unscale[i] = a.unscale[int64_t{tile.block} * MyPart::kShape.channels + within];
      bias[i] = 0;
      if (Plain && a.store.bias != nullptr && row < a.group_out) bias[i] = a.store.bias[tile.group * a.group_out + row];
    }
  }

  // Which of a warpgroup's warps this one is.
  static __device__ int warp() { return static_cast<int>(threadIdx.x) / 32 % 4; }
  // This lane's row of the first or second eight, in the group: see channel_place.
  __device__ int sum_of(int half) const {
    return kCarry ? first_sum + half + row_of(lane) * kSector : first_sum + half * 8 + row_of(lane);
  }
  __device__ int y_bytes() const { return Halves ? bytes_stored(a.y_type) : 4; }
  // The same of the results, or the last one for rows that there are not.
  __device__ int result_of(int half) const {
    return kCarry ? sum_of(half) : min(first_result() + half * 8 + row_of(lane), results - 1);
  }
  __device__ int first_result() const { return gated ? first_sum / 2 : first_sum; }

  __device__ __forceinline__ void store(float (&sum)[kSums]) {
    if constexpr (kTurned) turn(sum);
    if constexpr (kStack) {
#pragma unroll
      for (int i = 0; i < 64; i += 4) {
        sum[i] += sum[i + 2];
        sum[i + 1] += sum[i + 3];
      }
    }
    if (!kCarry && ends == 0) return;
    if constexpr (!Plain) finish(sum);
    if constexpr (kCarry) return store_carried(sum);
    if (ends == kCopied) {
      each_half([&](int half) {
        const Staging place = staging_of(half);
        if constexpr (!kFinishesFirst) {
          await_copies(true);
          put(place, outputs_of(sum, half));
        }
        copy_staged([&] {
          const int row = static_cast<int>(y >> 32) + half * kStagedRows;
          tensor_store(&a.y_maps[0], place.memory, row, static_cast<int>(y));
        });
      });
      return;
    }
    const bool whole_rows = first_result() + kStagedRows * (gated ? 1 : kHalves) <= results;
    if (!kTurned && a.g.stored_columns < kPartColumns && (ends & kInner) != 0 && whole_rows) {
      OutputRows out(y, a.out_length, 4);
      each_half([&](int half) {
        const Staging place = staging_of(half);
        await_copies(true);
        const int first = -static_cast<int>(static_cast<uint32_t>(out.row(row_of(lane))) / 4) & (kSector - 1);
        place.put_sectors(outputs_of(sum, half), first);
        copy_staged([&] { place.copy_sectors(out); });
        out.at += kStagedRows * out.pitch;
      });
      return;
    }
    await_copies();
    store_ends(sum);
  }

  // From this lane's sums, positions lane / 4 and 8 more of a warp's 16 of each product and channels lane % 4 * 2 and
  // the next of each eight, to what its warpgroup stages; and, if they are not finished, to sums of row_of(lane).
  __device__ __forceinline__ void turn(float (&sum)[32]) const {
    const auto warpgroup_meets = [] {
      asm volatile("bar.sync %0, 128;" ::"r"(3 + static_cast<int>(threadIdx.x) / 128) : "memory");
    };
    await_copies();
    warpgroup_meets();
    const uint32_t all = staging.memory - warp() * kStagedBytes;
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      const int odd = i % 2;           // of two channels side by side
      const int eight = i / 2 % 2;     // of a warp's 16 of 64 positions
      const int channels = i / 4 % 2;  // the second eight
      const int product = i / 8;       // see multiply_turned
      const uint32_t to = all + staged(lane % 4 * 2 + odd, (warp() * 16 + lane / 4) * 4);
      const int block = product / 2 * 2 + channels;  // the warp that will store it
      const int row = (channels * 2 + odd) % kRows;
      const float v = kFinishesFirst ? fmaf(sum[i], unscale[row], bias[row]) : sum[i];
      store_shared((to ^ eight * 32) + block * kStagedBytes + product % 2 * 2 * Staging::kLinesBytes, v);
    }
    if constexpr (kFinishesFirst) fence_shared_writes();
    warpgroup_meets();
    if constexpr (!kFinishesFirst) {
      const uint32_t from = staging.memory + Staging::permuted(row_of(lane), lane % 4 * 2);
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        Floats<2> pair;
        pair.load((from ^ i % 4 * 32) + i / 4 * Staging::kLinesBytes);
        sum[2 * i] = pair.v.x;
        sum[2 * i + 1] = pair.v.y;
      }
    }
  }

  // Whole sectors, with what the tile before has left in front.
  __device__ __forceinline__ void store_carried(float (&sum)[kSums]) {
    const int has = ends & (kInner - 1);
    const bool whole = (ends & kCarried) != 0 && has == kPartColumns && a.copies_lines;
    each_half([&](int half) {
      const Staging place = staging_of(half);
      await_copies(whole);
      const int shift = past_sector(carried_row(half));
      if (shift % 2 == 0) {
        place.template put_shifted<true>(outputs_of(sum, half), shift, tail[half]);
      } else {
        place.template put_shifted<false>(outputs_of(sum, half), shift, tail[half]);
      }
      if (whole) {
        copy_staged([&] {
          const int channel = tile.group * results + first_sum + half;
          const int row = (tile.batch * static_cast<int>(a.store.channels) + channel) / kSector;
          tensor_store(&a.y_maps[channel % kSector], place.memory, row, tile.position * 4 / 128);
        });
      } else {
        __syncwarp();
        const OutputRows window(carried_row(half) - shift * 4, kSector * a.out_length, 4);
        place.store_window(window, (ends & kCarried) != 0 ? 0 : shift, shift + has);
        __syncwarp();
      }
      if ((ends & kLeaves) == 0) store_tail(half, kPartColumns - kSector, has);
    });
  }

  // Where the first or second eight rows have the tile's first position, of their first.
  __device__ uint64_t carried_row(int half) const { return y + half * a.out_length * 4; }

  // Stores what is left of the eight columns from `column` on, of which those before `end` are there.
  __device__ __forceinline__ void store_tail(int half, int column, int end) const {
    const uint64_t to = carried_row(half) + row_of(lane) * kSector * a.out_length * 4;
    const int within = lane % 4 * 2;
    const int first = kSector - past_sector(to);
    auto* left = reinterpret_cast<float*>(to) + column + within;
    if (within >= first && column + within < end) left[0] = tail[half].x;
    if (within + 1 >= first && column + within + 1 < end) left[1] = tail[half].y;
  }

  // Before a tile is stored otherwise, all of it.
  __device__ __forceinline__ void skip() {
    if constexpr (kCarry) {
      if ((ends & kCarried) != 0) each_half([&](int half) { store_tail(half, -kSector, 0); });
      ends = 0;
    }
  }

  template <class Each>
  __device__ __forceinline__ void each_half(const Each& each) const {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      if (half == 0 || !gated) each(half);
    }
  }

  // Rows that end within the tile, or can't be copied.
  __device__ __forceinline__ void store_ends(float (&sum)[kSums]) const {
    const bool sectors = a.g.stored_columns < kPartColumns;  // of each row other columns
    const bool interleaves = Plain && a.p.interleave.length > 0;
    OutputRows out(y, a.out_length, y_bytes());
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const int first = first_result() + half * 8;
      const int rows = min(kStagedRows, results - first);
      if (rows <= 0 || (gated && half == 1)) break;
      if constexpr (!kFinishesFirst) put(staging, outputs_of(sum, half));
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
  __device__ __forceinline__ void put(const Staging& place, const Outputs& outputs) const {
    if (Halves && a.y_type == DType::kFloat16) return HalfStaging<__half>{place.memory, lane}.put(outputs);
    if (Halves && a.y_type == DType::kBFloat16) return HalfStaging<__nv_bfloat16>{place.memory, lane}.put(outputs);
    place.put(outputs);
  }

  // What this lane has of the first or second eight rows: two neighbours at a time.
  __device__ __forceinline__ auto outputs_of(const float (&sum)[kSums], int half) const {
    return [&sum, half, this](int i) {
      const float2 two = make_float2(sum[i * kSumStep + half * 2], sum[i * kSumStep + half * 2 + 1]);
      if constexpr (!Plain) return two;
      return make_float2(fmaf(two.x, unscale[half], bias[half]), fmaf(two.y, unscale[half], bias[half]));
    };
  }

  // The epilogue of all sums, in place: much code, which stands in a kernel once, whatever way outputs take from there.
  __device__ __forceinline__ void finish(float (&sum)[kSums]) const {
    const int64_t mine = MyPart::first_position(a, tile) + lane % 4 * 2;
    each_half([&](int half) {
      if (!kCarry && first_result() + half * kStagedRows >= results) return;  // there are none
      const auto row = a.store.at<Halves>(tile.batch, int64_t{tile.group} * results + result_of(half));
      float even[16];
      float odd[16];
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        even[i] = sum[i * kSumStep + half * 2] * unscale[half];
        odd[i] = sum[i * kSumStep + half * 2 + 1] * unscale[half];
      }
      if (gated) {
        if constexpr (kHalves == 2) {
          float gates[16];
#pragma unroll
          for (int i = 0; i < 16; ++i) gates[i] = sum[i * 4 + 2] * unscale[1];
          row(even, gates, mine, 8, a.out_length);
#pragma unroll
          for (int i = 0; i < 16; ++i) gates[i] = sum[i * 4 + 3] * unscale[1];
          row(odd, gates, mine + 1, 8, a.out_length);
        }
      } else {
        row(even, mine, 8, a.out_length);
        row(odd, mine + 1, 8, a.out_length);
      }
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        sum[i * kSumStep + half * 2] = even[i];
        sum[i * kSumStep + half * 2 + 1] = odd[i];
      }
    });
  }

  // Where the first or second eight rows are staged.
  __device__ Staging staging_of(int half) const {
    return kMayHaveSecond ? Staging{staging.memory + half * a.g.second_staging, lane} : staging;
  }

  // Until what is staged here is on its way. `copies`: all eights of the tile, the last one from the other place then.
  __device__ __forceinline__ void await_copies(bool copies = false) const {
    if (elected()) {
      if (kMayHaveSecond && copies && a.g.second_staging > 0) {
        await_stores_read<1>();
      } else {
        await_stores_read<0>();
      }
    }
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
