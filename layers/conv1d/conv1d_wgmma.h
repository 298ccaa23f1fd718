#pragma once
// How cuda.wgmma cuts a convolution into warpgroup products: plain host code, so that it is tested without a GPU.
//
// As in cuda.tensor (conv1d_tensor.h), the reduction is walked in stages of `stage_channels` channels and `stage_taps`
// taps, whose input is converted to float16 pairs in octets (8 values of the reduction, 16 bytes, a row) and multiplied
// in steps of two octets, of one tap or of two. Here both operands are read from shared memory by descriptors that have
// no swizzle, so that a row is 16 bytes and a tap is a shift by whole rows.
//   shared: an octet is 8 channels. Positions are sorted by their remainder modulo the stride (a phase); within one,
//           octet after octet. The octets overwrite the raw input that they are made of.
//   folded: where the stride divides 8 or 16, as shared of a Conv1d of stride 1 that has a channel for each of so many
//           neighbours in each true channel: an octet is 8 of them, a stride from one row to the next. For strides of
//           8 and 16, and for few channels.
//   flat:   an octet is 8 (channel, tap) pairs, a row an output position: for few channels, taps far apart at long
//           strides, or where no other stage fits. The octets lie behind the raw input.
// A stage's steps are multiplied in chunks; of three products, after one or two of them the sums of the tensor cores
// (which round towards zero) are added to float32 ones. Weights stay in shared memory where they fit, else they follow
// chunk by chunk.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/checked.h"
#include "layers/conv1d/conv1d.h"
#include "layers/conv1d/conv1d_tensor.h"

namespace strand::layers::wgmma {

constexpr int kMaxSteps = 256;      // a stage
constexpr int kMaxChunkSteps = 8;   // that are multiplied at once, at most
constexpr int kShortSum = 8;        // steps of a tile
constexpr int kMaxElements = 512;   // of the reduction, in a flat stage
constexpr int kMaxSlots = 8;        // stages in flight
constexpr int kWeightSlots = 4;     // chunks of weights in flight
constexpr int kPartColumns = 128;   // positions that a warpgroup multiplies, or if turned two of its warps store
constexpr int kSector = 8;          // floats that memory writes at a time
constexpr int kMaxBoxValues = 256;  // of a row, that a tensor copy takes
constexpr int kStagedRows = 8;      // of a tile's outputs that a warp has in shared memory at a time
constexpr int kStagedColumns = kPartColumns;
constexpr int kStagedBytes = kStagedRows * kStagedColumns * 4;
constexpr int kStagingBytes = 8 * kStagedBytes;
constexpr int kStagingAlignment = 1024;  // that a tensor copy's swizzle repeats after; it lies first
constexpr int kHeaderBytes = 640;        // barriers, scales, largest magnitudes, what is in the slots

// What a block's two warpgroups compute, 64 rows x 128 positions each, or twice (kTall); or 256 positions (kTurned).
enum class Layout : uint8_t {
  kSplit,  // 128 output channels x 128 positions: the warpgroups share the input
  kWide,   // 64 output channels x 256 positions: they share the weights
  // 32 output channels x 256 positions: the high and low parts of 8 weights each are rows r and r + 8. With one product
  // the low ones are zeros, so that outputs lie eight a warp all the same.
  kStack,
  // 16 output channels x 512 positions: these are the rows of the products, 64 at a time, and the channels, high parts
  // and low ones, the columns. So all warps have outputs to store, and a tile has twice as many.
  kTurned,
  kCarry,  // kSplit, of outputs that are carried from tile to tile: see carries_outputs
  kSlide,  // kSplit, of tiles that follow one another by a dilation: see may_slide
  kTall,   // of one product: 256 output channels x 128 positions, twice what kSplit has
};
constexpr bool is_split(Layout layout) {
  return layout != Layout::kWide && layout != Layout::kStack && layout != Layout::kTurned;
}
struct BlockShape {
  int channels;  // output channels
  int columns;   // output positions
};
constexpr BlockShape block_shape(Layout layout) {
  if (layout == Layout::kTall) return {256, 128};
  if (is_split(layout)) return {128, 128};
  if (layout == Layout::kWide) return {64, 256};
  return layout == Layout::kStack ? BlockShape{32, 256} : BlockShape{16, 512};
}
// Whether kSplit has tiles of half the positions, or channels.
constexpr bool may_halve(Layout layout) {
  return layout == Layout::kWide || layout == Layout::kStack || layout == Layout::kTall;
}
// Of kPartColumns positions, that a warpgroup has.
constexpr int parts_of(Layout layout) { return layout == Layout::kTurned ? 2 : 1; }

// Warps 0 to 7 of a block multiply and store, seven convert, and the last one loads. With one product and weights that
// follow six may convert, so that rows and weights have a warp each to load them.
constexpr int kBlockThreads = 512;
constexpr int kMostConverters = 7;
// Octet rows that a converter thread holds in registers.
constexpr int items_per_thread(Layout layout, int element_bytes) {
  if (layout == Layout::kTall) return element_bytes == 2 ? 6 : 3;
  return layout == Layout::kTurned ? 7 : 5;
}
// Steps that are multiplied at once, at most: of three products, or of one whose weights stay, or follow.
constexpr int most_chunk_steps(Layout layout, int products, int element_bytes, bool resident) {
  if (layout == Layout::kTall) return element_bytes == 2 ? 4 : 2;
  return products == 1 && resident && layout != Layout::kTurned ? kMaxChunkSteps : 4;
}

// Whether the second eight rows of a warp's may be staged apart from the first.
constexpr bool may_have_second_staging(Layout layout) { return is_split(layout) && layout != Layout::kTall; }

// Rows of 16 bytes of weights: of an octet of the operand, which has high and low parts in a stack and if turned, and
// of a step, two octets of high and two of low ones.
constexpr int octet_weight_rows(Layout layout, int products) {
  const bool both = layout == Layout::kStack || (layout == Layout::kTurned && products > 1);
  return block_shape(layout).channels * (both ? 2 : 1);
}
constexpr int step_weight_rows(Layout layout, int products) {
  return block_shape(layout).channels * 2 * (layout == Layout::kStack || products > 1 ? 2 : 1);
}

// How a block's weights are packed of which so many output channels are left: a tall one whose second half has none is
// one of half its size, and so multiplied.
constexpr Layout packed_layout(Layout layout, int64_t channels) {
  return layout == Layout::kTall && channels <= block_shape(Layout::kSplit).channels ? Layout::kSplit : layout;
}

struct Geometry {
  Layout layout = Layout::kSplit;
  int products = 3;  // of float16 a float32 one; 1 where less precision was asked for: high parts alone
  bool flat = false;
  int fold = 1;           // folded: 8 or 16 neighbours; else 1
  bool resident = false;  // all weights of one block of output channels stay in shared memory
  int stage_channels = 0;
  int stage_taps = 0;  // folded: of the strided kernel's, so many positions each
  int channel_stages = 0;
  int tap_stages = 0;
  int steps = 0;   // a stage
  int octets = 0;  // a stage
  int chunk_steps = 0;
  int stored_columns = kPartColumns;  // of a warpgroup's: see choose_stored_columns
  int positions = 0;                  // that a stage needs of a channel
  int pitch = 0;       // values of a raw row: `positions` and those before them to a boundary of 16 bytes, in pieces
  int octet_rows = 0;  // from one octet to the next
  int phase_rows = 0;  // from one phase to the next
  int part_bytes = 0;  // of the high or the low octets
  int boxes = 0;       // the tensor copies that bring a stage's raw rows, side by side; 0: a bulk copy a row
  int box_step = 0;    // values of a row from one box to the next
  int row_values = 0;  // from one raw row to the next: `pitch`, or where there are boxes what a box has of a row
  int raw_bytes = 0;   // where the octets begin in a slot: 0 where they overwrite the raw rows
  int slot_bytes = 0;
  int slots = 0;
  int weight_slots = 0;  // chunks of weights in flight; 1 if resident
  int weight_slot_bytes = 0;
  int second_staging = 0;  // bytes from where a warp stages eight rows to where the next eight; 0: the same place
  int64_t shared_bytes = 0;
  int converter_warps = kMostConverters;
  int element_bytes = 4;  // of x: 2 where it is stored as float16 or bfloat16

  constexpr BlockShape shape() const { return block_shape(layout); }
  constexpr int tile_columns() const { return shape().columns / kPartColumns * stored_columns; }
  // Tiles of a row of outputs.
  constexpr int64_t position_tiles(int64_t out_length) const {
    const int64_t more = kPartColumns - stored_columns;  // that the last warpgroup stores
    return std::max<int64_t>(ceil_div(out_length - more, tile_columns()), out_length > 0 ? 1 : 0);
  }
  // Where a raw value lies in a slot, in values, but for its row's lead: rows of a box follow one another, then those
  // of the next box.
  constexpr int raw_place(int channel, int position) const {
    const int box = boxes > 0 ? position / box_step : 0;
    return (box * stage_channels + channel) * row_values + position - box * box_step;
  }
  // For an x that tensor copies can't take.
  constexpr void copy_by_rows() {
    boxes = 0;
    row_values = pitch;
  }
  // Of a stage: an octet is converted once, and multiplied for each tap.
  constexpr int tap_octets() const { return flat ? octets : stage_taps * octets; }
  constexpr int elements() const { return flat ? octets * 8 : 0; }  // of a flat stage
  constexpr int staging_bytes() const { return kStagingBytes + second_staging; }
  // Of the header and the tables, which lie behind the staging.
  constexpr int table_bytes() const { return static_cast<int>(round_up(kHeaderBytes + (elements() + steps) * 4, 128)); }
  constexpr int piece() const { return 16 / element_bytes; }  // values of x in 16 bytes
  constexpr int converter_threads() const { return converter_warps * 32; }
  constexpr int stages() const { return channel_stages * tap_stages; }
  constexpr int total_steps() const { return stages() * steps; }
  constexpr int parts() const { return products == 1 ? 1 : 2; }  // of a value: high and low
  // Of a stage, that the tensor cores sum before float32 does: two chunks of a long sum, one of a short one, which has
  // less to average its errors over.
  constexpr int sum_steps() const { return total_steps() > kShortSum ? 2 * chunk_steps : chunk_steps; }
  constexpr int step_bytes() const { return step_weight_rows(layout, products) * 16; }
  constexpr int items() const { return octets * (flat ? shape().columns : fold > 1 ? octet_rows : positions); }
};

// If tiles slide, the order of those of a row of outputs: chain after chain of tiles that are a dilation apart, so that
// each needs the input of its last tap alone. The first chains may be one longer than the others.
struct Chains {
  int count = 1;             // the tiles of a dilation
  int longer = 0;            // chains
  tensor::Divisor long_by;   // their tiles
  tensor::Divisor short_by;  // the others'
  int in_row = 1;            // chains that have any

  Chains() = default;
  Chains(int64_t tiles, int64_t chains)
      : count(static_cast<int>(chains)),
        longer(static_cast<int>(tiles % chains)),
        long_by(tiles / chains + 1),
        short_by(std::max<int64_t>(tiles / chains, 1)),
        in_row(static_cast<int>(std::min(tiles, chains))) {}

  struct Place {
    int chain;
    int tile;   // of the row
    bool last;  // of its chain
  };
  constexpr Place place(int i) const {
    const int before = longer * static_cast<int>(long_by.value);  // tiles of longer chains
    const bool is_long = i < before;
    const tensor::Divisor by = is_long ? long_by : short_by;
    const auto within = static_cast<uint32_t>(is_long ? i : i - before);
    const auto chain = by.divide(within);
    const int at = static_cast<int>(within - chain * by.value);
    const int number = static_cast<int>(chain) + (is_long ? 0 : longer);
    return {number, number + at * count, at + 1 == static_cast<int>(by.value)};
  }
};

// Fills in `geometry`, or says why the problem is not for warpgroup products. `out_length`: if the problem's sizes do
// not tell, as where a single output has a stride of 1.
std::string choose_geometry(const Conv1dProblem& problem, int64_t shared_limit, Geometry& geometry, int products = 3,
                            int element_bytes = 4, std::optional<int64_t> out_length = {});

// The layouts that a problem may have, the best one first, which may not fit; the last one goes with any problem.
std::vector<Layout> choose_layouts(const Conv1dProblem& problem, int products);

// Whether tiles may slide: the taps lie whole tiles apart, so that a tile's input is, but for the last tap's, that of
// the tile a dilation before. All channels of a tap are a stage, which stays for as many tiles as there are taps.
bool may_slide(const Conv1dProblem& problem, int products);

// Where rows of outputs are odd, nothing but single floats lies in all of them alike, and the sectors of 32 bytes that
// two tiles share are slow to write: each is read from memory first. So a warpgroup stores 120 of its 128 positions,
// from a sector's beginning in each row, and the next one begins 120 further. Not where rows are short, or sums long,
// as a 16th of all work is done twice. Even rows that share sectors do so with one product; with three it was slower.
int choose_stored_columns(const Conv1dProblem& problem, const Geometry& geometry, int64_t out_length);

// Where rows of outputs begin within sectors and blocks of channels are whole: a thread block then walks over
// neighbouring tiles, and what fills no whole sector at a tile's end stays in registers until the next one brings the
// rest. Of a warp, eight rows are every eighth channel, which begin at the same place of a sector, so that they are
// staged alike and go by one tensor copy. Not where taps reach so far that what is read twice has left the cache.
bool carries_outputs(const Conv1dProblem& problem, const Geometry& geometry, int64_t out_length);

// A stage's octets, tap by tap, are multiplied two by two, of which that comes first which lies first in a slot. Rows
// (of 16 bytes) from the slot's first octet to the first of each step's two, and, << 16, from that to the second: as
// descriptors of operands have them.
std::vector<int32_t> step_rows(const Conv1dProblem& problem, const Geometry& geometry);

// For flat octets: the (channel, tap) of each value of the reduction in a stage as channel << 16 | tap, in the order of
// flat_place. Past the end it is the first one again: the weights there are zeros, and so must be finite what they are
// multiplied with.
std::vector<int32_t> flat_elements(const Conv1dProblem& problem, const Geometry& geometry);

// Where a flat stage's value of the reduction stands: at even strides turned within its octet, by one more from octet
// to octet, so that eight rows of four octets are read from different banks.
constexpr int64_t flat_place(const Conv1dProblem& problem, int64_t value) {
  const int64_t octet = value / 8;
  return problem.stride % 2 == 0 ? octet * 8 + (value - octet) % 8 : value;
}

// Which of a step's rows of 16 bytes holds (part 0: the high, 1: the low half of) a block's output channel's weights of
// the step's first or second octet. If not turned, of eight channels the even ones come first: so lanes that stage
// outputs together write to every other row of eight, which lie in different banks (row_of).
constexpr int weight_row(Layout layout, int products, int channel, int part, int octet) {
  const int channels = block_shape(layout).channels;
  const int rows = octet_weight_rows(layout, products);
  if (layout == Layout::kTurned) return octet * rows + part * channels + channel;
  const int within = channel % 8 / 2 + channel % 2 * 4;
  if (layout == Layout::kStack) return octet * rows + channel / 8 * 16 + part * 8 + within;
  return (part * 2 + octet) * rows + channel / 8 * 8 + within;
}

// Which block of its group's output channels one is in, and which of the block's. If gated, the halves of a result are
// 8 apart, so that one thread has the sums of both. If carried, a warp's eight rows are every eighth channel.
struct ChannelPlace {
  int64_t block;
  int within;
};
constexpr ChannelPlace channel_place(const Conv1dProblem& problem, const Geometry& geometry, int64_t channel) {
  const int channels = geometry.shape().channels;
  if (geometry.layout == Layout::kCarry) {
    const auto within = static_cast<int>(channel % channels);
    return {channel / channels, within / 64 * 64 + within % 8 * 8 + within % 64 / 8};
  }
  if (!problem.epilogue.gated) return {channel / channels, static_cast<int>(channel % channels)};
  const int64_t results = problem.group_out() / 2;
  const auto local = static_cast<int>(channel % results % (channels / 2));
  return {channel % results / (channels / 2), local / 8 * 16 + local % 8 + (channel < results ? 0 : 8)};
}

// [block of output channels][step][weight_row][8 halves], after scaling each output channel by a power of
// two; then what undoes the scaling, a float an output channel (padded to whole blocks a group).
struct PackedWeights {
  std::vector<uint16_t> halves;
  std::vector<float> unscale;
  bool exact_only = false;  // weights that are not finite, or too far from 1 to scale: compute in float32
};
PackedWeights pack_weights(const Conv1dProblem& problem, const Geometry& geometry, std::span<const float> weights);

}  // namespace strand::layers::wgmma
