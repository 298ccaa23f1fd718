// Which tiles cuda.wgmma computes, and how their outputs are stored: see conv1d_wgmma.h.

#include <algorithm>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_wgmma.h"

namespace strand::layers::wgmma {
namespace {

Layout layout_for(const Conv1dProblem& p) {
  const int64_t out_channels = p.group_out();
  if (out_channels <= 32 && !p.epilogue.gated) return Layout::kStack;
  return round_up(out_channels, 128) > round_up(out_channels, 64) ? Layout::kWide : Layout::kSplit;
}

// One product of a long sum, with at most a third of the channels of tall tiles empty.
bool may_be_tall(const Conv1dProblem& p, int products) {
  constexpr int64_t kLongSum = 256;
  return products == 1 && p.group_out() > 128 && round_up(p.group_out(), 256) * 2 <= p.group_out() * 3 &&
         p.reduction() >= kLongSum;
}

// Up to 16 outputs, and so many positions, counted by the input's, that tiles of 512 are about enough for all
// multiprocessors.
bool may_be_turned(const Conv1dProblem& p) {
  constexpr int64_t kFewTiles = 128;
  const int64_t tiles = p.length / (p.stride * block_shape(Layout::kTurned).columns);
  return p.group_out() <= 16 && !p.epilogue.gated && p.batch * p.groups * tiles >= kFewTiles;
}

}  // namespace

std::vector<Layout> choose_layouts(const Conv1dProblem& p, int products) {
  const bool fills_octets = p.group_in() >= 8;
  std::vector<Layout> layouts;
  if (may_be_tall(p, products)) layouts.push_back(Layout::kTall);
  if (fills_octets && may_be_turned(p)) layouts.push_back(Layout::kTurned);
  if (fills_octets && may_slide(p, products)) layouts.push_back(Layout::kSlide);
  layouts.push_back(layout_for(p));
  return layouts;
}

bool may_slide(const Conv1dProblem& p, int products) {
  constexpr int64_t kFewTiles = 660;  // five a multiprocessor of an H200
  constexpr int64_t kFewValues = 96;  // of a position that are converted if tiles do not slide: outputs take longer
  const int64_t out_length = p.length + p.pad_left + p.pad_right - p.dilation * (p.kernel_size - 1);
  const int64_t tiles = p.batch * p.groups * ceil_div(p.group_out(), 128) * (out_length / kPartColumns);
  const int64_t values = round_up(p.group_in(), 16) * p.kernel_size;
  const bool pays = tiles >= kFewTiles && values >= kFewValues && out_length >= 2 * p.dilation;
  // Sectors that tiles share would be written in parts far apart in time.
  const bool whole_sectors = out_length % kSector == 0 && p.interleave.length == 0;
  return pays && whole_sectors && products > 1 && layout_for(p) == Layout::kSplit && p.stride == 1 &&
         p.kernel_size > 1 && p.kernel_size < kMaxSlots && p.dilation % kPartColumns == 0;
}

int choose_stored_columns(const Conv1dProblem& p, const Geometry& g, int64_t out_length) {
  constexpr int64_t kMinLength = 2048;
  constexpr int kMostSteps = 16;  // of a tile
  // Three products leave even rows no time for what is done twice.
  const int64_t unit = g.products == 1 ? kSector : 2;
  const bool shares = out_length % unit != 0 && p.interleave.length == 0;
  // Values to convert and to store, a tile's: more of the former than three quarters of the latter, and what is done
  // twice costs more than it saves.
  const int64_t converted = int64_t{g.stages()} * g.items() * 8;
  const int64_t stored = std::min<int64_t>(p.group_out(), g.shape().channels) * g.shape().columns;
  const bool pays = g.total_steps() <= kMostSteps && converted * 4 <= stored * 3;
  const bool turned = g.layout == Layout::kTurned;  // converts as much as it stores, at least
  return shares && pays && !turned && out_length >= kMinLength ? kPartColumns - kSector : kPartColumns;
}

bool carries_outputs(const Conv1dProblem& p, const Geometry& g, int64_t out_length) {
  constexpr int64_t kMinLength = 2048;
  const bool shares = out_length % kSector != 0 && p.interleave.length == 0;
  const bool whole_blocks = p.group_out() % g.shape().channels == 0 && !p.epilogue.gated;
  // A single product has the time to do some of it twice, and tiles side by side are written faster.
  const bool twice = g.products == 1 && choose_stored_columns(p, g, out_length) < kPartColumns;
  return shares && whole_blocks && !twice && g.layout == Layout::kSplit && g.resident && out_length >= kMinLength &&
         p.dilation * (p.kernel_size - 1) <= int64_t{2} * kPartColumns * p.stride;
}

}  // namespace strand::layers::wgmma
