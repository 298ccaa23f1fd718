#pragma once
// How finished outputs of cuda.wgmma get from registers through shared memory to rows of y.

#include "layers/conv1d/conv1d_wgmma_load.cuh"

namespace strand::layers::wgmma {

// Floats from the beginning of its sector to an address.
inline __device__ int past_sector(uint64_t address) {
  return static_cast<int>(static_cast<uint32_t>(address) / 4 & (kSector - 1));
}

// The columns [first, last) of a warpgroup's part that it stores, of the row of y that has the part's first one at
// `address` and as position `position`.
struct Stored {
  int first;
  int last;

  __device__ Stored(const Arguments& a, uint64_t address, int64_t position) {
    const int64_t left = a.out_length - position;
    const bool all = a.g.stored_columns == kPartColumns;
    const int sector = all ? 0 : -static_cast<int>(static_cast<uint32_t>(address) / 4) & (kSector - 1);
    first = position == 0 ? 0 : sector;
    last =
        all || left <= kPartColumns ? static_cast<int>(min(left, int64_t{kPartColumns})) : sector + a.g.stored_columns;
    if (!all && position > 0 && left <= kSector) last = 0;
  }
};

#ifdef STRAND_WGMMA

// Rows of y from where a warp's begin. Their addresses are bytes, and hidden: the compiler would find each one anew.
struct OutputRows {
  uint64_t at;    // of the first
  int64_t pitch;  // from one to the next

  __device__ OutputRows(uint64_t first, int64_t row_length, int bytes) : at(first), pitch(row_length * bytes) {
    asm("" : "+l"(at), "+l"(pitch));
  }
  __device__ uint64_t row(int index) const { return at + index * pitch; }
  // All rows begin at multiples of so many bytes.
  __device__ bool aligned(int bytes) const { return ((at | static_cast<uint64_t>(pitch)) & (bytes - 1)) == 0; }
};

// A lane's row of eight: see weight_row.
__device__ __forceinline__ int row_of(int lane) { return (lane >> 2 & 3) * 2 + (lane >> 4); }

// Where in a warp's eight rows of lines of 128 bytes a byte of a row lies: a line of all rows after another, whose
// pieces of 16 bytes are swapped a row, against bank conflicts, as tensor copies do.
__device__ __forceinline__ uint32_t staged(int row, int byte) {
  return static_cast<uint32_t>((byte >> 7 << 10) + (row << 7) + ((byte ^ row << 4) & 0x70) + (byte & 15));
}

// Eight rows of 128 outputs on their way to y, a warp's own; if turned its warpgroup writes them, see TileEnd::turn.
struct Staging {
  static constexpr int kLinesBytes = kStagedRows * 128;                 // of a line of all rows
  static constexpr int kSectorsBytes = (kStagedColumns - kSector) * 4;  // of a row of which whole sectors are stored
  uint32_t memory;
  int lane;

  // Where every eighth column from one of the first 16 on lies, of this lane's row.
  struct Shifted {
    uint32_t first;  // the one among the first 8
    uint32_t at[4];
    bool wraps;  // it is not that

    __device__ Shifted(const Staging& staging, int column)
        : first(staging.memory + permuted(row_of(staging.lane), column % 8)), wraps(column >= 8) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        at[i] = wraps ? (first ^ (i + 1) % 4 * 32) + (i + 1) / 4 * kLinesBytes : first ^ i * 32;
      }
    }
    __device__ uint32_t operator()(int i) const { return at[i % 4] + i / 4 * kLinesBytes; }
  };

  static __device__ uint32_t permuted(int row, int column) { return staged(row, column * 4); }

  // This lane's outputs are positions 8 i + lane % 4 * 2 and the next one of row row_of(lane): outputs(i).
  template <typename Outputs>
  __device__ __forceinline__ void put(const Outputs& outputs) const {
    const uint32_t to = memory + permuted(row_of(lane), lane % 4 * 2);
#pragma unroll
    for (int i = 0; i < 16; ++i) store_shared2((to ^ i % 4 * 32) + i / 4 * kLinesBytes, outputs(i));
  }

  // The same of the outputs from `first` on that whole sectors hold, row after row.
  template <typename Outputs>
  __device__ __forceinline__ void put_sectors(const Outputs& outputs, int first) const {
    const int mine = lane % 4 * 2 - first;
    const uint32_t to = memory + row_of(lane) * kSectorsBytes + mine * 4;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const float2 v = outputs(i);
      // Of a lane's first and last outputs, 120 positions apart, one is among the 120.
      if (i > 0 || mine >= 0) {
        if (i < 15 || mine < 0) store_shared(to + i * 32, v.x);
      }
      if (i > 0 || mine + 1 >= 0) {
        if (i < 15 || mine + 1 < 0) store_shared(to + i * 32 + 4, v.y);
      }
    }
  }

  // The same as put(), `shift` columns further on. In front are those of `tail`, which the tile before left, and what
  // is pushed out is the tail of this one. `Pairs`: `shift` is even.
  template <bool Pairs, typename Outputs>
  __device__ __forceinline__ void put_shifted(const Outputs& outputs, int shift, float2& tail) const {
    const float2 last = outputs(15);
    const Shifted x(*this, lane % 4 * 2 + shift);
    if constexpr (Pairs) {
#pragma unroll
      for (int i = 0; i < 15; ++i) store_shared2(x(i), outputs(i));
      store_shared2(x.wraps ? x.first : x(15), x.wraps ? tail : last);
    } else {
      const Shifted y(*this, lane % 4 * 2 + shift + 1);
#pragma unroll
      for (int i = 0; i < 15; ++i) {
        const float2 v = outputs(i);
        store_shared(x(i), v.x);
        store_shared(y(i), v.y);
      }
      store_shared(x.wraps ? x.first : x(15), x.wraps ? tail.x : last.x);
      store_shared(y.wraps ? y.first : y(15), y.wraps ? tail.y : last.y);
    }
    tail = last;
  }

  // Stores of eight such rows the columns [first, last), 16 bytes a lane. `window`: from the beginning of a sector on.
  __device__ __forceinline__ void store_window(const OutputRows& window, int first, int last) const {
    const int mine = lane * 4;
    const bool all = mine >= first && mine + 4 <= last;
#pragma unroll 4
    for (int row = 0; row < kStagedRows; ++row) {
      const float4 v = load_shared4(memory + permuted(row, mine));
      auto* to = reinterpret_cast<float*>(window.row(row)) + mine;
      if (all) {
        *reinterpret_cast<float4*>(to) = v;
        continue;
      }
      const float values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (mine + i >= first && mine + i < last) to[i] = values[i];
      }
    }
  }

  // Copies them, of a row from its first beginning of a sector on.
  __device__ __forceinline__ void copy_sectors(const OutputRows& y) const {
    constexpr uint64_t kInSector = kSector * 4 - 1;
#pragma unroll
    for (int row = 0; row < kStagedRows; ++row) {
      bulk_store((y.row(row) + kInSector) & ~kInSector, memory + row * kSectorsBytes, kSectorsBytes);
    }
  }

  // Eight whole rows, so many floats at once as all rows' beginnings allow: a warp stores what lies side by side, in
  // whole sectors but for the ends.
  __device__ __forceinline__ void store_rows(const OutputRows& y) const {
    if (y.aligned(16)) {
      store_rows<4>(y);
    } else if (y.aligned(8)) {
      store_rows<2>(y);
    } else {
      store_rows<1>(y);
    }
  }

  template <int Width>
  __device__ __forceinline__ void store_rows(const OutputRows& y) const {
    constexpr int kPieces = kStagedColumns / 32 / Width;  // of a row, a lane's
    const int mine = lane * Width;
    uint64_t to = y.at + mine * 4;
#pragma unroll
    for (int half = 0; half < kStagedRows; half += 4) {
      Floats<Width> v[4][kPieces];
#pragma unroll
      for (int row = 0; row < 4; ++row) {
        const uint32_t from = memory + permuted(half + row, mine);
#pragma unroll
        for (int i = 0; i < kPieces; ++i) v[row][i].load(from + i * Width * kLinesBytes);
      }
#pragma unroll
      for (int row = 0; row < 4; ++row, to += y.pitch) {
#pragma unroll
        for (int i = 0; i < kPieces; ++i) v[row][i].store(reinterpret_cast<float*>(to) + i * 32 * Width);
      }
    }
  }

  // Up to eight rows, of each what it stores, float by float.
  __device__ __forceinline__ void store_some(const Arguments& a, const OutputRows& y, int rows,
                                             int64_t position) const {
#pragma unroll 1
    for (int row = 0; row < rows; ++row) {
      const uint64_t begin = y.row(row);
      const Stored stored(a, begin, position);
      const uint32_t from = memory + permuted(row, lane);
      Floats<1> v[kStagedColumns / 32];
#pragma unroll
      for (int i = 0; i < kStagedColumns / 32; ++i) v[i].load(from + i * kLinesBytes);
#pragma unroll
      for (int i = 0; i < kStagedColumns / 32; ++i) {
        const int column = lane + i * 32;
        if (column >= stored.first && column < stored.last) v[i].store(reinterpret_cast<float*>(begin) + column);
      }
    }
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
      int row[Width];
      uint32_t at[Width];
      bool has_taps[Width];
#pragma unroll
      for (int i = 0; i < Width; ++i) {
        const int within = (lane * Width + i) & (between.stride - 1);
        row[i] = first_row + (within >> a.divisor_shift);
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
            const float z = load_shared<float>(memory + staged(row[i], static_cast<int>(at[i])));
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
};

// The same of outputs that are stored as halves: rows of 64 pairs.
template <class Y>
struct HalfStaging {
  uint32_t memory;
  int lane;

  // Where a row's pair lies: of columns 2 * pair and the next.
  __device__ uint32_t at(int row, int pair) const { return memory + staged(row, pair * 4); }

  // As Staging's.
  template <typename Outputs>
  __device__ __forceinline__ void put(const Outputs& outputs) const {
    const uint32_t to = at(row_of(lane), lane & 3);
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const float2 v = outputs(i);
      store_shared_bits((to ^ i % 8 * 16) + i / 8 * Staging::kLinesBytes, to_pair<Y>(v.x, v.y));
    }
  }

  // Eight whole rows: 16, 8, 4 or 2 bytes a lane.
  __device__ __forceinline__ void store_rows(const OutputRows& y) const {
    if (y.aligned(16)) {
#pragma unroll
      for (int i = 0; i < kStagedRows; i += 2) {
        const int row = i + (lane >> 4);
        const int column = (lane & 15) * 8;
        store_global(y.row(row) + column * 2, load_shared_bits4(at(row, column / 2)));
      }
    } else if (y.aligned(8)) {
#pragma unroll
      for (int row = 0; row < kStagedRows; ++row) {
        store_global(y.row(row) + lane * 8, load_shared_bits2(at(row, lane * 2)));
      }
    } else if (y.aligned(4)) {
#pragma unroll
      for (int row = 0; row < kStagedRows; ++row) {
        store_global(y.row(row) + lane * 4, load_shared<uint32_t>(at(row, lane)));
        store_global(y.row(row) + (lane + 32) * 4, load_shared<uint32_t>(at(row, lane) + Staging::kLinesBytes));
      }
    } else {
      store_some(y, kStagedRows, kStagedColumns);
    }
  }

  // Up to eight rows, of each so many columns, value by value.
  __device__ __forceinline__ void store_some(const OutputRows& y, int rows, int columns) const {
#pragma unroll 2
    for (int row = 0; row < rows; ++row) {
      const uint32_t from = at(row, lane / 2) + lane % 2 * 2;
      uint32_t v[kStagedColumns / 32];
#pragma unroll
      for (int i = 0; i < kStagedColumns / 32; ++i) {
        v[i] = load_shared_half((from ^ i % 2 * 64) + i / 2 * Staging::kLinesBytes);
      }
      const uint64_t to = y.row(row);
#pragma unroll
      for (int i = 0; i < kStagedColumns / 32; ++i) {
        const int column = lane + i * 32;
        if (column < columns) store_global_half(to + column * 2, v[i]);
      }
    }
  }
};

#endif

}  // namespace strand::layers::wgmma
