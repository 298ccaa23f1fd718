#pragma once
// What cuda.wgmma has in shared memory, and how a stage's raw rows get there.

#include "layers/conv1d/conv1d_tensor.cuh"
#include "layers/conv1d/conv1d_wgmma.cuh"
#include "layers/conv1d/conv1d_wgmma_arguments.cuh"

namespace strand::layers::wgmma {

using tensor::shared_address;
using tensor::split;

// What the multiplying warps read of the geometry, rows of 16 bytes.
enum Number : uint8_t {
  kResident,
  kStages,
  kSlots,
  kSlotRows,
  kLowRows,
  kChunkSteps,
  kSteps,
  kWeightRows,
  kSumSteps,
  kWeightRing,
  kNumbers
};

constexpr uint32_t kEdge = 8;

// Values that a piece of 16 bytes has, of float or, where x is stored as halves, uint16_t.
template <class X>
constexpr int kPiece = static_cast<int>(16 / sizeof(X));

// Of a slot's rows, the columns [begin, end) after the lead that are in x, if any, and the rows that are.
struct Edge {
  int begin;
  int end;
  int rows;
};

// Shared memory, carved up by offsets from its start.
struct Shared {
  static constexpr int kNumbersAt = 512;
  uint8_t* memory;  // behind the staging
  int staging_bytes;
  int step_rows_at;
  int weights_at;
  int slots_at;
  int slot_bytes;

  __device__ Shared(uint8_t* start, const Geometry& g)
      : memory(start + g.staging_bytes()), staging_bytes(g.staging_bytes()) {
    step_rows_at = kHeaderBytes + g.elements() * 4;
    weights_at = g.table_bytes();
    slots_at = weights_at + g.weight_slots * g.weight_slot_bytes;
    slot_bytes = g.slot_bytes;
  }

  // Barriers: a slot's raw rows are there, its octets are, it is free; a chunk of weights is there, is free.
  __device__ uint32_t raw_full(int slot) const { return shared_address(memory) + slot * 8; }
  __device__ uint32_t full(int slot) const { return raw_full(kMaxSlots + slot); }
  __device__ uint32_t empty(int slot) const { return raw_full(2 * kMaxSlots + slot); }
  __device__ uint32_t weights_full(int slot) const { return raw_full(3 * kMaxSlots + slot); }
  __device__ uint32_t weights_empty(int slot) const { return raw_full(3 * kMaxSlots + kWeightSlots + slot); }
  // What undoes a stage's scale; 0 where it could not be scaled.
  __device__ float& unscale(int slot) const { return reinterpret_cast<float*>(memory + 256)[slot]; }
  __device__ uint32_t* largest(int parity) const { return reinterpret_cast<uint32_t*>(memory + 320) + parity * 8; }
  // Of a slot's first row: see StagePlace. With kEdge where the converters have to write zeros: see Edge.
  __device__ uint32_t& first_lead(int slot) const { return reinterpret_cast<uint32_t*>(memory + 384)[slot]; }
  __device__ Edge& edge(int slot) const { return reinterpret_cast<Edge*>(memory + 416)[slot]; }
  __device__ int* numbers() const { return reinterpret_cast<int*>(memory + kNumbersAt); }
  __device__ uint32_t number(Number which) const { return shared_address(memory) + kNumbersAt + which * 4; }
  __device__ int32_t* step_rows() const { return reinterpret_cast<int32_t*>(memory + step_rows_at); }
  __device__ int32_t* elements() const { return reinterpret_cast<int32_t*>(memory + kHeaderBytes); }
  __device__ uint32_t staging(int warp) const { return shared_address(memory) - staging_bytes + warp * kStagedBytes; }
  __device__ uint32_t weights(int bytes) const { return shared_address(memory) + weights_at + bytes; }
  __device__ uint8_t* slot(int index) const { return memory + slots_at + index * slot_bytes; }
};
static_assert((3 * kMaxSlots + 2 * kWeightSlots) * 8 <= 256 && 256 + kMaxSlots * 4 <= 320);
static_assert(kMostConverters <= 8 && 320 + 64 <= 384);
static_assert(384 + kMaxSlots * 4 <= 416 && 416 + kMaxSlots * sizeof(Edge) <= Shared::kNumbersAt);
static_assert(Shared::kNumbersAt + kNumbers * 4 <= kHeaderBytes);

// A ring's next slot and the parity of the phase to wait for.
struct Cursor {
  int slot = 0;
  int parity = 0;
  __device__ void advance(int slots) {
    if (++slot == slots) {
      slot = 0;
      parity ^= 1;
    }
  }
  __device__ void go_back(int slots, int by) {
    slot -= by;
    if (slot < 0) {
      slot += slots;
      parity ^= 1;
    }
  }
};

// The values between a boundary of 16 bytes, counted from the beginning of x, and the first position that a stage needs
// of a row. Rows are as long as one another, so the numbers repeat after a piece's number of rows.
template <class X>
struct Leads {
  static constexpr uint32_t kMask = kPiece<X> - 1;
  uint32_t first;
  uint32_t step;
  __device__ uint32_t operator()(uint32_t row) const { return (first + row * step) & kMask; }
};

// A stage's raw rows in x: `rows` of them from `source`, needed from position `start` on. Column 0 of a row in a slot
// is lead(row) values before that, so that what lies in x can be copied in pieces of 16 bytes.
template <class X>
struct StagePlace {
  const X* source;
  int64_t start;
  int rows;
  Leads<X> lead;

  __device__ StagePlace(const Arguments& a, const Tile& tile, int stage) {
    const bool one_tap_stage = a.g.tap_stages == 1;
    const int tap_stage = one_tap_stage ? 0 : stage % a.g.tap_stages;
    const int channel = (one_tap_stage ? stage : stage / a.g.tap_stages) * a.g.stage_channels;
    const auto* x = static_cast<const X*>(a.x);
    source = x + (tile.batch * a.p.in_channels + tile.group * a.group_in + channel) * a.p.length;
    rows = min(a.g.stage_channels, a.group_in - channel);
    start = int64_t{tile.position} * a.p.stride + int64_t{tap_stage} * a.g.stage_taps * a.p.dilation - a.p.pad_left;
    lead.step = static_cast<uint32_t>(a.p.length) & lead.kMask;
    lead.first = static_cast<uint32_t>(source - x + start) & lead.kMask;
  }
};

#ifdef STRAND_WGMMA

// A stage that is not in x as a whole, where what is beside x is no zero, or x itself not aligned to 16 bytes: the
// columns [begin, end) that all rows have are copied, the rest is written in whole pieces, with zeros or what the
// padding mode says. Channels that are missing to a whole stage are zeros too: their weights are, and a slot may hold
// anything.
template <class X>
__device__ void load_piecewise(const Arguments& a, const StagePlace<X>& place, X* slot, uint32_t barrier) {
  constexpr int kValues = kPiece<X>;
  const Geometry& g = a.g;
  const int lane = threadIdx.x % 32;
  const bool same_leads = place.lead.step == 0;
  const int64_t first_least = place.start - (same_leads ? place.lead.first : kValues - 1);
  const int64_t first_most = place.start - (same_leads ? place.lead.first : 0);
  const auto in_row = [&](int64_t column) {
    return static_cast<int>(max(int64_t{0}, min(int64_t{g.pitch}, column & ~int64_t{kValues - 1})));
  };
  const bool aligned = (reinterpret_cast<uintptr_t>(a.x) & 15) == 0;
  const int begin = aligned ? in_row(kValues - 1 - first_least) : 0;
  const int end = aligned ? max(begin, in_row(a.p.length - first_most)) : 0;
  if (begin < end && elected()) {
    expect(barrier, place.rows * (end - begin) * static_cast<int>(sizeof(X)));
    for (int row = 0; row < place.rows; ++row) {
      const X* from = place.source + row * a.p.length + place.start - place.lead(row) + begin;
      bulk_load(shared_address(slot + row * g.pitch + begin), from, (end - begin) * static_cast<int>(sizeof(X)),
                barrier);
    }
  }
  const int pieces = (g.pitch - (end - begin)) / kValues;  // of a row that is there
  int row = 0;
  int piece = lane;
  while (true) {
    const int in_this = row < place.rows ? pieces : g.pitch / kValues;
    if (piece >= in_this) {
      piece -= in_this;
      if (++row >= g.stage_channels) break;
      continue;
    }
    const bool exists = row < place.rows;
    const int column = exists && piece * kValues >= begin ? piece * kValues + end - begin : piece * kValues;
    const int64_t position = place.start - place.lead(row) + column;
    alignas(16) X v[kValues] = {};
    if (exists && position < a.p.length + a.p.pad_right && position + kValues > -a.p.pad_left) {
      const X* source = place.source + row * a.p.length;
      const bool outside = position >= a.p.length || position + kValues <= 0;
      if (!outside || a.p.padding_mode != PaddingMode::kZeros) {
#pragma unroll
        for (int i = 0; i < kValues; ++i) {
          const int64_t at = position + i;
          const bool padded = at >= -a.p.pad_left && at < a.p.length + a.p.pad_right;
          const int64_t from = padded ? source_index(at, a.p.length, a.p.padding_mode) : -1;
          if (from >= 0) v[i] = source[from];
        }
      }
    }
    *reinterpret_cast<uint4*>(slot + row * g.pitch + column) = *reinterpret_cast<const uint4*>(v);
    piece += 32;
  }
  __syncwarp();
}

// A stage that is not in x as a whole, with zeros beside it: a lane a row copies what there is, in whole pieces of 16
// bytes with what lies beside it in memory, which the converters then write over. Of a piece that passes the end of x
// the values go one by one.
template <class X>
__device__ void load_edge_rows(const Arguments& a, const Shared& s, const StagePlace<X>& place, int slot, int begin,
                               int end) {
  constexpr int kMask = kPiece<X> - 1;
  const int lane = threadIdx.x % 32;
  const uint32_t barrier = s.raw_full(slot);
  const X* x_end = static_cast<const X*>(a.x) + a.p.batch * a.p.in_channels * a.p.length;
  if (lane == 0) s.edge(slot) = Edge{begin, end, place.rows};
  for (int row = lane; row < place.rows && begin < end; row += 32) {
    const auto lead = static_cast<int>(place.lead(row));
    const int first = (lead + begin) & ~kMask;
    int values = ((lead + end + kMask) & ~kMask) - first;
    const X* from = place.source + row * a.p.length + place.start - lead + first;
    X* to = reinterpret_cast<X*>(s.slot(slot)) + row * a.g.pitch + first;
    if (from + values > x_end) {
      values -= kPiece<X>;
      for (int i = values; from + i < x_end; ++i) to[i] = from[i];
    }
    const int bytes = values * static_cast<int>(sizeof(X));
    if (bytes == 0) continue;
    expect(barrier, bytes);
    bulk_load(shared_address(to), from, bytes, barrier);
  }
  __syncwarp();
  if (lane == 0) arrive(barrier);
}

// Writes zeros where a stage's rows are not in x, and over channels that are missing to a whole stage: their weights
// are zeros too, and a slot may hold anything. All converters; a barrier follows.
template <class X>
__device__ __forceinline__ void fill_edge_rows(const Geometry& g, const Edge& edge, const Leads<X>& lead,
                                               uint32_t slot) {
  const int warp = threadIdx.x / 32 - 8;
  for (int row = warp; row < g.stage_channels; row += g.converter_warps) {
    const bool exists = row < edge.rows && edge.begin < edge.end;
    const int begin = exists ? static_cast<int>(lead(row)) + edge.begin : 0;
    const int skip = exists ? edge.end - edge.begin : 0;
    const uint32_t to = slot + row * g.pitch * static_cast<int>(sizeof(X));
    for (int column = threadIdx.x % 32; column < g.pitch - skip; column += 32) {
      store_shared_zero<X>(to + (column < begin ? column : column + skip) * static_cast<int>(sizeof(X)));
    }
  }
}

// A stage's raw rows by tensor copies, with zeros for channels and positions that are not in x.
template <class X>
__device__ __forceinline__ void load_boxes(const Arguments& a, const Shared& s, const Tile& tile, int stage, int slot) {
  if (elected()) {
    const Geometry& g = a.g;
    const int tap_stage = g.tap_stages == 1 ? 0 : stage % g.tap_stages;
    const int channel = (g.tap_stages == 1 ? stage : stage / g.tap_stages) * g.stage_channels;
    const int bytes = g.stage_channels * g.row_values * static_cast<int>(sizeof(X));
    const uint32_t barrier = s.raw_full(slot);
    uint32_t target = shared_address(s.slot(slot));
    int position = tile.position * static_cast<int>(a.p.stride) +
                   tap_stage * g.stage_taps * static_cast<int>(a.p.dilation) - static_cast<int>(a.p.pad_left);
    const auto lead = static_cast<int>(static_cast<uint32_t>(position) & Leads<X>::kMask);
    position -= lead;
    const int group = tile.batch * static_cast<int>(a.p.groups) + tile.group;
    s.first_lead(slot) = static_cast<uint32_t>(lead);
    arrive_expecting(barrier, g.boxes * bytes);
    for (int box = 0; box < g.boxes; ++box, target += bytes, position += g.box_step) {
      tensor_load(target, &a.map, position, channel, group, barrier);
    }
  }
  __syncwarp();
}

// A stage's raw rows, by a bulk copy each where they lie in x; `raw_full` hears of their end.
template <class X>
__device__ void load_rows(const Arguments& a, const Shared& s, const Tile& tile, int stage, int slot) {
  if (a.g.boxes > 0) return load_boxes<X>(a, s, tile, stage, slot);
  constexpr int kMask = kPiece<X> - 1;
  const StagePlace<X> place(a, tile, stage);
  const int lane = threadIdx.x % 32;
  const int bytes = a.g.pitch * static_cast<int>(sizeof(X));
  const uint32_t barrier = s.raw_full(slot);
  const bool same_leads = place.lead.step == 0;
  const int64_t most = same_leads ? place.lead.first : kMask;
  const int64_t least = same_leads ? place.lead.first : 0;
  const bool aligned = (reinterpret_cast<uintptr_t>(a.x) & 15) == 0;
  const bool inside = place.start >= most && place.start - least + a.g.pitch <= a.p.length &&
                      place.rows == a.g.stage_channels && aligned;
  if (!inside) {
    const auto column = [&](int64_t position) {
      return static_cast<int>(max(int64_t{0}, min(int64_t{a.g.positions}, position - place.start)));
    };
    const bool zeros = a.p.padding_mode == PaddingMode::kZeros && aligned;
    if (lane == 0) s.first_lead(slot) = place.lead.first | (zeros ? kEdge : 0);
    if (zeros) return load_edge_rows(a, s, place, slot, column(0), column(a.p.length));
    load_piecewise<X>(a, place, reinterpret_cast<X*>(s.slot(slot)), barrier);
    if (lane == 0) arrive(barrier);
    return;
  }
  if (elected()) {
    s.first_lead(slot) = place.lead.first;
    arrive_expecting(barrier, place.rows * bytes);
    uint32_t target = shared_address(s.slot(slot));
    // Each from the boundary of 16 bytes before it, to which its lead leads back.
    auto from = reinterpret_cast<uint64_t>(place.source + place.start);
    const uint64_t pitch = static_cast<uint64_t>(a.p.length) * sizeof(X);
#pragma unroll 8
    for (int row = 0; row < place.rows; ++row, target += bytes, from += pitch) {
      bulk_load(target, from & ~uint64_t{15}, bytes, barrier);
    }
  }
  __syncwarp();
}

#endif

}  // namespace strand::layers::wgmma
