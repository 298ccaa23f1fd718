#include <algorithm>
#include <bit>
#include <numeric>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_expected.h"
#include "layers/conv1d/conv1d_wgmma.h"

namespace strand::layers::wgmma {
namespace {

constexpr int64_t kMinReduction = 13;      // shorter sums are left to FFMA
constexpr int64_t kShortReduction = 48;    // as are those that mostly empty steps would make
constexpr int64_t kMinGatedChannels = 16;  // fewer are not worth a gate that nothing else here takes
constexpr int64_t kMaxStride = 16;
constexpr int kMaxInterleave = 8;  // the phases of an output lie in eight rows
constexpr int64_t kMaxIndex = int64_t{1} << 28;
constexpr int kMaxFlatReduction = 128;  // of a stage
constexpr int64_t kMaxResidentBlocks = 33;
constexpr int kProcessors = 132;  // an H200's, for which a plan is made
constexpr int kFewTiles = 2 * kProcessors;

int to_int(int64_t value) { return static_cast<int>(value); }

// Values between a boundary of 16 bytes and a stage's first position, at most: all tiles begin at multiples of 8, and
// rows at those of what their length and a piece have in common.
int64_t largest_lead(const Conv1dProblem& p, const Geometry& g) {
  const int64_t piece = g.piece();
  const int64_t step = std::gcd(p.length, piece);
  int64_t largest = 0;
  // Remainders repeat.
  for (int64_t stage = 0; stage < std::min<int64_t>(g.tap_stages, piece); ++stage) {
    const int64_t start = stage * g.stage_taps * p.dilation - p.pad_left;
    largest = std::max(largest, piece - step + (start % step + step) % step);
  }
  return largest;
}

// In how many different groups of four banks eight neighbouring positions lie, whichever their phases.
int bank_groups(int64_t stride, int64_t phase_rows) {
  unsigned seen = 0;
  for (int64_t i = 0; i < 8; ++i) seen |= 1U << ((i % stride * phase_rows + i / stride) % 8);
  return std::popcount(seen);
}

// Rows that a phase is made longer by, so that all eight differ; or but two, where that saves much memory.
int spread(int64_t stride, int64_t phase_rows) {
  const auto least = [&](int groups) {
    int rows = 0;
    while (rows < 8 && bank_groups(stride, phase_rows + rows) < groups) ++rows;
    return rows;
  };
  const int all = least(8);
  const int most = least(7);
  return all - most > 4 || all == 8 ? most % 8 : all;
}

// Tensor copies bring a stage's rows, and zeros for what lies outside of x, where rows begin at multiples of 16 bytes.
// A copy begins at such a boundary, too, and writes to a multiple of 128 bytes. Not for flat octets: their rows are
// few, and their values are found by adding to an address.
void choose_boxes(const Conv1dProblem& p, Geometry& g) {
  g.copy_by_rows();
  const bool zeros = p.padding_mode == PaddingMode::kZeros || (p.pad_left == 0 && p.pad_right == 0);
  if (!zeros || p.length % g.piece() != 0 || g.flat) return;
  const int64_t lead = round_up(largest_lead(p, g), g.piece());
  const int unit = g.fold > 1 ? 8 : g.piece();
  // Eight neighbours that begin in a box end in it, wherever windows begin.
  const int64_t more = g.fold > 1 ? round_up(std::max<int64_t>(8 - p.stride, 0), g.piece()) : 0;
  do {
    ++g.boxes;
    g.box_step = to_int(round_up(ceil_div(g.positions, g.boxes), unit));
    g.row_values = to_int(g.box_step + more + lead);
    while (int64_t{g.stage_channels} * g.row_values * g.element_bytes % 128 != 0) g.row_values += g.piece();
  } while (g.row_values > kMaxBoxValues);
}

// Fills in what follows from the stage's channels and taps, but for the slots.
void lay_out(const Conv1dProblem& p, Geometry& g) {
  const int columns = g.shape().columns;
  g.channel_stages = to_int(ceil_div(p.group_in(), g.stage_channels));
  g.tap_stages = to_int(ceil_div(ceil_div(p.kernel_size, g.fold), g.stage_taps));
  g.positions =
      to_int((columns - 1) * p.stride + (g.fold > 1 ? g.stage_taps * g.fold : (g.stage_taps - 1) * p.dilation + 1));
  g.pitch = to_int(round_up(g.positions + largest_lead(p, g), g.piece()));
  choose_boxes(p, g);
  const int64_t raw_row = std::max(g.pitch, g.boxes * g.row_values);
  const int64_t raw = round_up(g.stage_channels * raw_row * g.element_bytes, 128);
  if (g.flat) {
    g.steps = to_int(ceil_div(int64_t{g.stage_channels} * g.stage_taps, 16));
    g.octets = 2 * g.steps;
    g.octet_rows = columns;
    g.phase_rows = g.octets * columns;
  } else {
    g.octets = g.stage_channels * g.fold / 8;
    g.steps = to_int(ceil_div(int64_t{g.stage_taps} * g.octets, 2));
    g.octet_rows =
        to_int(g.fold > 1 ? columns + (g.stage_taps - 1) * g.fold / p.stride : ceil_div(g.positions, p.stride));
    g.phase_rows = g.octets * g.octet_rows;
    if (g.fold == 1) g.phase_rows += spread(p.stride, g.phase_rows);
  }
  g.part_bytes = to_int((g.flat || g.fold > 1 ? 1 : p.stride) * g.phase_rows * 16);
  g.raw_bytes = g.flat ? to_int(raw) : 0;
  g.slot_bytes =
      to_int(round_up(g.flat ? raw + g.parts() * g.part_bytes : std::max<int64_t>(raw, g.parts() * g.part_bytes), 128));
}

int64_t weight_bytes(const Geometry& g) { return int64_t{g.weight_slots} * g.weight_slot_bytes; }
// Behind the last slot: a step's two octets overlap where a tap has but one and the next begins close by, and
// compute-sanitizer takes them for as many bytes side by side.
int64_t tail_bytes(const Geometry& g) { return !g.flat && g.octets == 1 ? kPartColumns * 16 : 0; }
int64_t fixed_bytes(const Geometry& g) { return g.staging_bytes() + g.table_bytes() + weight_bytes(g) + tail_bytes(g); }

// As many stages in flight as fit, after the weights; false where two do not.
bool fill_slots(const Geometry& laid_out, bool resident, int64_t limit, Geometry& result) {
  Geometry g = laid_out;
  g.resident = resident;
  const int most = most_chunk_steps(g.layout, g.products, g.element_bytes, resident);
  g.chunk_steps = to_int(ceil_div(g.steps, ceil_div(g.steps, most)));
  g.weight_slots = resident ? 1 : 3;
  const int64_t weights = int64_t{resident ? g.total_steps() : g.chunk_steps} * g.step_bytes();
  // What one barrier counts is limited.
  if (weights >= 1 << 20 || g.slot_bytes >= 1 << 20) return false;
  g.weight_slot_bytes = to_int(weights);
  g.slots = to_int(std::min<int64_t>(kMaxSlots, (limit - fixed_bytes(g)) / g.slot_bytes));
  if (g.slots < 2) return false;
  if (!resident && fixed_bytes(g) + g.weight_slot_bytes + int64_t{std::min(g.slots, 4)} * g.slot_bytes <= limit) {
    g.weight_slots = kWeightSlots;
    g.slots = to_int(std::min<int64_t>(kMaxSlots, (limit - fixed_bytes(g)) / g.slot_bytes));
  }
  g.shared_bytes = fixed_bytes(g) + int64_t{g.slots} * g.slot_bytes;
  result = g;
  return true;
}

bool fits(const Conv1dProblem& p, int64_t limit, Geometry& g) {
  // No row is longer than all that there is, and so what follows fits 32 bits.
  if ((g.stage_taps - 1) * p.dilation * g.fold > limit / 4) return false;
  g.converter_warps = kMostConverters;
  lay_out(p, g);
  if (g.steps > kMaxSteps || g.octets * 8 > kMaxElements) return false;
  const auto converts = [&](int warps) {
    return g.flat || g.items() <= warps * 32 * items_per_thread(g.layout, g.element_bytes);
  };
  if (!converts(kMostConverters)) return false;
  // Weights that stay leave room for three stages, or they are better read again. Each thread block then keeps to one
  // block of output channels, so these must be few.
  Geometry resident;
  const int64_t blocks = p.groups * ceil_div(p.group_out(), g.shape().channels);
  if (blocks <= kMaxResidentBlocks && fill_slots(g, true, limit, resident) && resident.slots >= 3) {
    g = resident;
    return true;
  }
  // Weights have a warp of their own where there is less to convert than to multiply.
  constexpr int kFewItems = 128;  // a step of 128 output channels
  const bool few = g.items() <= kFewItems * g.steps * std::max(g.shape().channels / 128, 1);
  if (g.products == 1 && few && converts(kMostConverters - 1)) g.converter_warps = kMostConverters - 1;
  return fill_slots(g, false, limit, g);
}

// What a tile costs: octet rows to convert; raw values to load, stages and products, even with nothing, in the same
// unit.
int64_t work(const Geometry& g) {
  const int64_t raw = int64_t{g.stage_channels} * g.pitch * g.element_bytes / 32;
  return g.stages() * (g.items() + raw + 64) + int64_t{g.total_steps()} * 48;
}

// What octets are made of: see conv1d_wgmma.h.
struct Kind {
  bool flat;
  int64_t fold;
};

// The kinds that may be best.
std::vector<Kind> choose_kinds(const Conv1dProblem& p) {
  constexpr int64_t kOctet = 8;
  constexpr int64_t kFewChannels = 32;  // of more, an octet that is not full is a small part
  const Kind folded = {false, std::max(p.stride, kOctet)};
  const bool folds = p.dilation == 1 && folded.fold % p.stride == 0 && folded.fold % kOctet == 0;
  if (folds && p.group_in() >= kOctet && p.stride >= kOctet) {
    // Else half of what is folded, at most, is there.
    if (2 * p.kernel_size > p.stride) return {folded};
    return {folded, {false, 1}};
  }
  std::vector<Kind> kinds = {{false, 1}};
  if (folds && p.group_in() % kOctet != 0 && p.group_in() <= kFewChannels) kinds.push_back(folded);
  if (p.group_in() < kOctet) kinds.push_back({true, 1});
  return kinds;
}

// The best stage of this kind whose channels are a multiple of `unit`, if any fits: all taps at once, so that each
// position is converted once, unless the dilation spreads them so far that the gaps cost more; and as many channels as
// keep three stages in flight.
Geometry best_of_unit(const Conv1dProblem& p, const Kind& kind, int64_t unit, const Geometry& asked, int64_t limit) {
  constexpr int64_t kMostChannels = 64;
  const auto [flat, fold] = kind;
  const int64_t padded = round_up(p.group_in(), unit);
  const int64_t taps = ceil_div(p.kernel_size, fold);
  const bool slides = asked.layout == Layout::kSlide;
  Geometry best;
  for (int64_t tap_stages = 1; tap_stages <= (fold > 1 ? 1 : taps); ++tap_stages) {
    Geometry g = asked;
    g.flat = flat;
    g.fold = to_int(fold);
    g.stage_taps = to_int(ceil_div(taps, tap_stages));
    if (ceil_div(taps, g.stage_taps) != tap_stages) continue;
    for (int64_t channels = unit; channels <= std::min(padded, kMostChannels); channels += unit) {
      if (slides && (channels < padded || tap_stages < taps)) continue;
      if (flat && channels * g.stage_taps > kMaxFlatReduction && channels > 1) break;
      g.stage_channels = to_int(channels);
      // A step has two octets.
      if (!flat && channels * fold * g.stage_taps < 16) continue;
      if (!fits(p, limit, g)) continue;
      if (slides && (!g.resident || g.slots <= taps)) continue;
      const bool deep = g.slots >= 3;
      const bool best_deep = best.slots >= 3;
      if (best.slots > 0 && best_deep && !deep) continue;
      if (best.slots == 0 || (deep && !best_deep) || work(g) < work(best)) best = g;
    }
    if (tap_stages > 16 && best.slots > 0) break;
  }
  return best;
}

// Steps of a short sum that are mostly empty: each is rounded towards zero.
bool wastes_steps(const Conv1dProblem& p, const Geometry& g) {
  return p.reduction() < kShortReduction && g.total_steps() > 2 * ceil_div(p.reduction(), int64_t{16});
}

// The time that a tile of one stage is expected to take, of another one's of the same layout.
double relative_time(const Conv1dProblem& p, const Geometry& one, const Geometry& other) {
  constexpr double kStageSeconds = 0.5e-6;  // that each stage costs a tile besides, as measured
  constexpr double kShallow = 1.25;         // of two stages in flight
  const auto seconds = [&](const Geometry& g) {
    WgmmaWalk walk;
    if (g.layout == Layout::kTall) walk.halves = 2;
    return (wgmma_tile_seconds(p, g, walk) + kStageSeconds * g.stages()) * (g.slots < 3 ? kShallow : 1);
  };
  return seconds(one) / seconds(other);
}

// Whether one stage is to be preferred to another: where they take about as long, the one that takes less work.
bool is_better(const Conv1dProblem& p, const Geometry& one, const Geometry& other) {
  constexpr double kAlike = 0.93;
  if (one.slots == 0 || other.slots == 0) return one.slots > 0;
  if (wastes_steps(p, one) != wastes_steps(p, other)) return wastes_steps(p, other);
  const double time = relative_time(p, one, other);
  return time < kAlike || (time * kAlike < 1 && work(one) < work(other));
}

// Channels are whole steps of a tap; or octets that pair with another tap's, where that leaves fewer of them empty or
// the others take too much memory.
Geometry best_of_kind(const Conv1dProblem& p, const Kind& kind, const Geometry& asked, int64_t limit) {
  if (kind.flat) return best_of_unit(p, kind, 1, asked, limit);
  const Geometry whole = best_of_unit(p, kind, std::max<int64_t>(16 / kind.fold, 1), asked, limit);
  const int64_t values = p.group_in() * kind.fold;
  if (whole.slots >= 3 && round_up(values, 16) == round_up(values, 8)) return whole;
  const Geometry octets = best_of_unit(p, kind, std::max<int64_t>(8 / kind.fold, 1), asked, limit);
  return is_better(p, octets, whole) ? octets : whole;
}

// A warp's second eight rows wait for the first ones' copy where both are staged in one place, which shows where sums
// are short. They get a place of their own where weights stay and more than a tile's stages are on their way besides;
// these may have fewer channels each only where tensor copies bring them. Stages that slide stay in any case.
void stage_apart(const Conv1dProblem& p, const Geometry& asked, int64_t limit, Geometry& best) {
  constexpr int kFewestSlots = 4;
  const bool is_short = asked.products > 1 || best.total_steps() <= kShortSum;
  const bool two_copies = may_have_second_staging(asked.layout) && !p.epilogue.gated && p.interleave.length == 0;
  if (!best.resident || !is_short || !two_copies) return;
  Geometry wider = asked;
  wider.second_staging = kStagingBytes;
  const Geometry apart = best_of_kind(p, {best.flat, best.fold}, wider, limit);
  const bool ahead = apart.slots >= std::max(kFewestSlots, apart.stages() + 1);
  const bool fits = apart.resident && (ahead || asked.layout == Layout::kSlide);
  const bool as_many = apart.stages() == best.stages() || apart.boxes > 0;
  const bool as_good = apart.total_steps() <= best.total_steps() && work(apart) * 20 <= work(best) * 21;
  if (fits && as_many && as_good) best = apart;
}

// The best of these kinds, if any fits.
bool best_stage(const Conv1dProblem& p, const std::vector<Kind>& kinds, const Geometry& asked, int64_t limit,
                Geometry& best) {
  best = {};
  for (const Kind& kind : kinds) {
    const Geometry found = best_of_kind(p, kind, asked, limit);
    if (is_better(p, found, best)) best = found;
  }
  // Where each tap has a stage of its own, or strides leave most positions out, these may be better picked out.
  constexpr double kMuchFaster = 0.65;  // expected, where it was faster at all
  const bool may_be_flat = asked.layout != Layout::kTurned && asked.layout != Layout::kSlide && !kinds.back().flat;
  const bool far = p.stride > 1 && (best.tap_stages > 1 || 2 * p.kernel_size <= p.stride);
  if (may_be_flat && (best.slots == 0 || far)) {
    const Geometry flat = best_of_kind(p, {true, 1}, asked, limit);
    if (flat.slots > 0 && (best.slots == 0 || relative_time(p, flat, best) < kMuchFaster)) best = flat;
  }
  stage_apart(p, asked, limit, best);
  return best.slots > 0;
}

std::string why_not(const Conv1dProblem& p) {
  if (p.reduction() < kMinReduction) {
    return "a reduction of " + std::to_string(p.reduction()) + " products is too short for tensor cores (from " +
           std::to_string(kMinReduction) + ")";
  }
  if (p.epilogue.gated && p.group_out() < kMinGatedChannels) {
    return std::to_string(p.group_out()) + " output channels are too few for a gate (from " +
           std::to_string(kMinGatedChannels) + ")";
  }
  const int step = p.interleave.stride;
  if (p.interleave.length > 0 && (step > kMaxInterleave || !std::has_single_bit(static_cast<unsigned>(step)))) {
    return "interleaves " + std::to_string(step) + " outputs a position";
  }
  if (p.epilogue.gated && p.groups > 1) return "the halves of a gate lie in different groups";
  if (p.stride > kMaxStride) return "stride above " + std::to_string(kMaxStride);
  if (p.length > kMaxIndex || p.pad_left > kMaxIndex || p.pad_right > kMaxIndex ||
      p.length + p.pad_left + p.pad_right > kMaxIndex || p.dilation > kMaxIndex / std::max<int64_t>(p.kernel_size, 1)) {
    return "positions past 2^28";
  }
  return "";
}

// Tiles half as large, some of whose products are for nothing, where there are too few for all multiprocessors.
void halve_few(const Conv1dProblem& p, const std::vector<Kind>& kinds, int64_t limit, int64_t out_length,
               Geometry& geometry) {
  constexpr double kMuchFaster = 0.9;
  const int64_t blocks = p.groups * ceil_div(p.group_out(), geometry.shape().channels);
  if (p.batch * blocks * geometry.position_tiles(out_length) > kFewTiles) return;
  Geometry asked;
  asked.products = geometry.products;
  asked.element_bytes = geometry.element_bytes;
  asked.layout = Layout::kSplit;
  Geometry halves;
  const auto seconds = [&](const Geometry& g) { return wgmma_seconds(p, g, out_length, kProcessors); };
  if (best_stage(p, kinds, asked, limit, halves) && seconds(halves) < kMuchFaster * seconds(geometry)) {
    geometry = halves;
  }
}

// False where no stage of input fits.
bool find_geometry(const Conv1dProblem& p, int64_t shared_limit, int products, int element_bytes, int64_t out_length,
                   Geometry& geometry) {
  const std::vector<Kind> kinds = choose_kinds(p);
  Geometry asked;
  asked.products = products;
  asked.element_bytes = element_bytes;
  bool found = false;
  for (const Layout layout : choose_layouts(p, products)) {
    asked.layout = layout;
    found = best_stage(p, kinds, asked, shared_limit, geometry) && (layout != Layout::kTurned || geometry.slots >= 3);
    if (found) break;
  }
  if (!found) found = best_stage(p, {{false, 1}}, asked, shared_limit, geometry);
  if (found && may_halve(geometry.layout)) halve_few(p, kinds, shared_limit, out_length, geometry);
  return found;
}

}  // namespace

std::string choose_geometry(const Conv1dProblem& p, int64_t shared_limit, Geometry& geometry, int products,
                            int element_bytes, std::optional<int64_t> out_length) {
  std::string reason = why_not(p);
  if (!reason.empty()) return reason;
  if (!out_length) out_length = output_length(p);
  if (!find_geometry(p, shared_limit, products, element_bytes, *out_length, geometry)) {
    return "a stage of input does not fit " + std::to_string(shared_limit) + " bytes of shared memory";
  }
  if (wastes_steps(p, geometry)) {
    return "a reduction of " + std::to_string(p.reduction()) + " products in " +
           std::to_string(geometry.total_steps()) + " steps of 16";
  }
  return "";
}

}  // namespace strand::layers::wgmma
