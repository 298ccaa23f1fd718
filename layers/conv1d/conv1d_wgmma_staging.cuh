#pragma once
// How finished outputs of cuda.wgmma get from registers through shared memory to rows of y.

#include "layers/conv1d/conv1d_wgmma_load.cuh"

namespace strand::layers::wgmma {

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

// Eight rows of 128 outputs on their way to y, a warp's own. Pieces of 32 bytes are permuted a row, against bank
// conflicts. Where whole sectors are stored a row is shifted by what it begins after a boundary of 128 bytes of y, its
// last outputs then before its first: so a piece of 16 bytes belongs in one of y, and 128 in one of its lines.
struct Staging {
  uint32_t memory;
  int lane;

  static __device__ uint32_t permuted(int row, int column) {
    return static_cast<uint32_t>((column ^ (row & 3) * 8) * 4 + row * kStagedColumns * 4);
  }
  // In a shifted row.
  static __device__ uint32_t shifted(int row, int column) { return permuted(row, column & (kStagedColumns - 1)); }
  // Floats from a boundary of 128 bytes.
  static __device__ uint32_t shift_of(uint64_t row) { return static_cast<uint32_t>(row) >> 2 & 31; }

  // This lane's outputs are positions 8 i + lane % 4 * 2 and the next one of row lane / 4: outputs(i).
  template <typename Outputs>
  __device__ __forceinline__ void put(const Outputs& outputs) const {
    uint32_t to[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) to[i] = memory + permuted(lane / 4, i * 8 + lane % 4 * 2);
#pragma unroll
    for (int i = 0; i < 16; ++i) store_shared2(to[i % 4] + i / 4 * 128, outputs(i));
  }

  // The same in rows that are shifted; `shift`: of row lane / 4.
  template <typename Outputs>
  __device__ __forceinline__ void put_shifted(const Outputs& outputs, uint32_t shift) const {
    const int row = lane >> 2;
    const int first = (lane & 3) * 2 + static_cast<int>(shift);
    // From four outputs to the next four there are 128 bytes, but for the last four, which may be the row's first.
    uint32_t even[8];
    uint32_t odd[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int column = first + (i < 4 ? i : i + 8) * 8;
      even[i] = memory + shifted(row, column);
      odd[i] = memory + shifted(row, column + 1);
    }
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int base = i < 12 ? i % 4 : i - 8;
      const int further = i < 12 ? i / 4 * 128 : 0;
      const float2 v = outputs(i);
      store_shared(even[base] + further, v.x);
      store_shared(odd[base] + further, v.y);
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
    uint32_t from[4];
#pragma unroll
    for (int row = 0; row < 4; ++row) from[row] = memory + permuted(row, mine);
    uint64_t to = y.at + mine * 4;
#pragma unroll
    for (int half = 0; half < kStagedRows; half += 4) {
      Floats<Width> v[4][kPieces];
#pragma unroll
      for (int row = 0; row < 4; ++row) {
#pragma unroll
        for (int i = 0; i < kPieces; ++i) v[row][i].load(from[row] + (half * kStagedColumns + i * 32 * Width) * 4);
      }
#pragma unroll
      for (int row = 0; row < 4; ++row, to += y.pitch) {
#pragma unroll
        for (int i = 0; i < kPieces; ++i) v[row][i].store(reinterpret_cast<float*>(to) + i * 32 * Width);
      }
    }
  }

  // Eight shifted rows, of each the 15 sectors that it has as a whole: its first four lines in pieces of 16 bytes, then
  // the fifths of four rows at once.
  __device__ __forceinline__ void store_sectors(const OutputRows& y) const {
    constexpr uint32_t kLine = 128;
    constexpr uint32_t kBytes = (kStagedColumns - kSector) * 4;
    constexpr uint32_t kInSector = kSector * 4 - 1;
    uint32_t from[4];
#pragma unroll
    for (int row = 0; row < 4; ++row) from[row] = memory + permuted(row, lane * 4);
    const uint32_t mine = lane * 16;
    uint64_t to = y.at + mine;
#pragma unroll
    for (int half = 0; half < kStagedRows; half += 4) {
      Floats<4> v[4];
#pragma unroll
      for (int row = 0; row < 4; ++row) v[row].load(from[row] + half * kStagedColumns * 4);
#pragma unroll
      for (int row = 0; row < 4; ++row, to += y.pitch) {
        const uint32_t shift = (static_cast<uint32_t>(to) - mine) & (kLine - 1);
        const uint32_t begin = (shift + kInSector) & ~kInSector;
        if (mine >= begin && mine < begin + kBytes) v[row].store(reinterpret_cast<float*>(to - shift));
      }
    }
#pragma unroll
    for (int half = 0; half < kStagedRows; half += 4) {
      const int row = half + (lane >> 3);
      const uint32_t place = (lane & 7) * 16;
      const uint64_t begin = y.row(row);
      const uint32_t shift = shift_of(begin) * 4;
      const uint32_t end = ((shift + kInSector) & ~kInSector) + kBytes;
      if (kStagedColumns * 4 + place >= end) continue;
      Floats<4> v;
      v.load(memory + permuted(row, (lane & 7) * 4));
      v.store(reinterpret_cast<float*>(begin + kStagedColumns * 4 + place - shift));
    }
  }

  // Up to eight rows, of each what it stores, float by float.
  __device__ __forceinline__ void store_some(const Arguments& a, const OutputRows& y, int rows, int64_t position,
                                             bool are_shifted) const {
#pragma unroll 1
    for (int row = 0; row < rows; ++row) {
      const uint64_t begin = y.row(row);
      const int shift = are_shifted ? static_cast<int>(shift_of(begin)) : 0;
      const Stored stored(a, begin, position);
      Floats<1> v[kStagedColumns / 32];
#pragma unroll
      for (int i = 0; i < kStagedColumns / 32; ++i) v[i].load(memory + shifted(row, lane + i * 32 + shift));
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
};

// The same of outputs that are stored as halves: rows of 64 pairs, permuted in fours against bank conflicts.
template <class Y>
struct HalfStaging {
  static constexpr int kRowBytes = kStagedColumns * 2;
  uint32_t memory;
  int lane;

  // Where a row's pair lies: of columns 2 * pair and the next.
  __device__ uint32_t at(int row, int pair) const { return memory + row * kRowBytes + (pair ^ row * 4) * 4; }

  // As Staging's.
  template <typename Outputs>
  __device__ __forceinline__ void put(const Outputs& outputs) const {
    const int row = lane >> 2;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const float2 v = outputs(i);
      store_shared_bits(at(row, i * 4 + (lane & 3)), to_pair<Y>(v.x, v.y));
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
        store_global(y.row(row) + (lane + 32) * 4, load_shared<uint32_t>(at(row, lane + 32)));
      }
    } else {
      store_some(y, kStagedRows, kStagedColumns);
    }
  }

  // Up to eight rows, of each so many columns, value by value.
  __device__ __forceinline__ void store_some(const OutputRows& y, int rows, int columns) const {
#pragma unroll 2
    for (int row = 0; row < rows; ++row) {
      uint32_t v[kStagedColumns / 32];
#pragma unroll
      for (int i = 0; i < kStagedColumns / 32; ++i) {
        const int column = lane + i * 32;
        v[i] = load_shared_half(at(row, column / 2) + column % 2 * 2);
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
