#include "layers/conv1d/conv1d_direct_plan.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_expected.h"

namespace strand::layers {
namespace {

// Of a multiprocessor of Hopper; other GPUs' ratios are alike. Fitted to 883 times of 86 problems, with all tiles and
// some numbers of parts: 17 % off in the mean, and what is picked 2 % slower than the fastest of them.
constexpr double kMultiplyAdds = 224e9;         // a second
constexpr double kGatherSeconds = 83e-12;       // an element, for a stride of 1
constexpr double kGatherStrideSeconds = 5e-12;  // more for each by which the stride is longer
constexpr int64_t kMostStride = 12;             // that matters
constexpr double kFarTaps = 1.25;               // where taps share no cache lines
constexpr double kEndSeconds = 23e-9;           // a sum of a thread, on its way to memory
constexpr double kMemory = 0.7;                 // of the time that bytes take at best
constexpr double kPartsSeconds = 2.2e-6;        // of a second launch
constexpr double kPartsBytes = 3.9e12;          // a second, of parts that are written and read again, from the L2 cache
constexpr double kTiled = 1.08;                 // of all this: what the fit's mean leaves out
constexpr double kThinMemory = 1.4;             // as kMemory, of the thin kernel
constexpr double kThinStepSeconds = 0.3e-6;     // that a step of it takes at least
constexpr int64_t kMostParts = 64;
constexpr int64_t kFewestChunks = 2;  // a part
constexpr double kClock = 1.75e9;
constexpr int64_t kMaxGrid = 0x7FFFFFFF;

// Fills in the plan's times.
void expect(const Conv1dProblem& p, int64_t out_length, int processors, DirectPlan& plan) {
  const DirectTile& tile = kDirectTiles[plan.tile];
  const int64_t blocks = direct_blocks(p, out_length, tile, plan.parts);
  const auto waves = static_cast<double>(ceil_div(blocks, processors));
  // What neighbouring positions read lies apart by the stride: so many more lines of the first-level cache.
  const int64_t apart = gathers_taps(p, plan.tile) ? 1 : std::min(p.stride, kMostStride);
  const double element = kGatherSeconds + kGatherStrideSeconds * static_cast<double>(apart - 1);
  const double gather = element * tile.depth * tile.positions;
  const double chunk = double(tile.depth) * tile.outputs * tile.positions / (kMultiplyAdds * tile.share) + gather;
  // Blocks that share a multiprocessor wait for memory at the same time.
  const double turns = std::ceil(waves * tile.threads / tile.resident_threads);
  double seconds = static_cast<double>(plan.part_chunks) * std::max(waves * chunk, turns * tile.chunk_seconds);
  if (has_far_taps(p)) seconds *= kFarTaps;
  seconds += waves * kEndSeconds * tile.outputs * tile.positions / tile.threads;
  if (plan.parts > 1) {
    const double elements = static_cast<double>(p.batch * p.out_channels) * static_cast<double>(out_length);
    seconds += kPartsSeconds + static_cast<double>(plan.parts) * elements * 8 / kPartsBytes;
  }
  plan.work_seconds = seconds;
  plan.seconds = kLaunchSeconds + kTiled * std::max(seconds, kMemory * memory_seconds(p, out_length));
}

// Of two tiles' plans. Where bytes take the time of both, the one with less to do besides.
bool better(const DirectPlan& a, const DirectPlan& b) {
  return a.seconds != b.seconds ? a.seconds < b.seconds : a.work_seconds < b.work_seconds;
}

DirectPlan plan_tile(const Conv1dProblem& p, int64_t out_length, int processors, int64_t workspace_limit, int tile) {
  const DirectTile& shape = kDirectTiles[tile];
  const int64_t chunks = ceil_div(p.reduction(), shape.depth);
  const int64_t blocks = direct_blocks(p, out_length, shape);
  const int64_t elements = p.batch * p.out_channels * out_length;
  const int64_t most =
      std::min({kMostParts, chunks / kFewestChunks, workspace_limit / 4 / std::max<int64_t>(elements, 1),
                4 * ceil_div(processors, std::max<int64_t>(blocks, 1))});
  DirectPlan best;
  for (int64_t parts = 1; parts <= std::max<int64_t>(most, 1); ++parts) {
    DirectPlan plan{false, tile, parts, ceil_div(chunks, parts), 0, 0};
    // No part is empty.
    if (ceil_div(chunks, plan.part_chunks) != parts) continue;
    expect(p, out_length, processors, plan);
    if (parts == 1 || plan.seconds < best.seconds) best = plan;
  }
  return best;
}

// Loads, multiply-adds and the rest of a step, of a thread's positions and outputs.
double thin_seconds(const Conv1dProblem& p, int64_t out_length, int processors) {
  constexpr double kResident = 1024;  // threads a multiprocessor
  constexpr double kWarpsAtOnce = kResident / 32 / 4;
  const int64_t threads = thin_threads(p, out_length, processors);
  const double rows = static_cast<double>(p.batch * p.groups) *
                      static_cast<double>(ceil_div(out_length, threads * kThinPositions) * threads);
  const double waves = std::ceil(rows / (kResident * processors));
  const auto outputs = static_cast<double>(p.group_out());
  const double issue = kWarpsAtOnce * (12 + kThinPositions * outputs) / kClock;
  // Where all threads fit at once: a channel's way from memory, and a step's from the first-level cache.
  constexpr double kChannel = 0.45e-6;
  constexpr double kStep = 0.06e-6;
  constexpr double kOutput = 0.025e-6;
  constexpr int64_t kNear = 4;
  constexpr double kFewShared = 1.6;  // where taps share few lines of it
  constexpr double kApartSlower = 1.4;
  const double computed = static_cast<double>(std::bit_ceil(static_cast<uint64_t>(p.group_out())));
  const double slower = p.dilation > kNear ? kFewShared : 1;
  const double alone = kChannel / static_cast<double>(p.kernel_size) + slower * (kStep + kOutput * computed);
  const double step = waves > 1 ? kThinStepSeconds : alone;
  const double apart = has_taps_apart(p) ? kApartSlower : 1;
  const double seconds = apart * static_cast<double>(p.reduction()) * waves * std::max(issue, step);
  return kLaunchSeconds + std::max(seconds, kThinMemory * memory_seconds(p, out_length));
}

}  // namespace

int64_t thin_threads(const Conv1dProblem& p, int64_t out_length, int processors) {
  constexpr int64_t kWarp = 32;
  int64_t threads = std::min<int64_t>(kThinThreads, round_up(ceil_div(out_length, kThinPositions), kWarp));
  const auto blocks = [&] { return p.batch * p.groups * ceil_div(out_length, threads * kThinPositions); };
  while (threads > kWarp && blocks() < processors) threads = round_up(threads / 2, kWarp);
  return threads;
}

bool direct_indices_fit(const Conv1dProblem& p, int64_t out_length) {
  constexpr int64_t kMostPositions = 256;  // of a tile
  const int64_t samples = std::min(p.batch, kMostPositions / std::max<int64_t>(out_length, 1) + 2);
  return checked_mul(checked_mul(samples, p.in_channels), p.length) <= int64_t{1} << 32;
}

int64_t direct_blocks(const Conv1dProblem& p, int64_t out_length, const DirectTile& tile, int64_t parts) {
  const int64_t tiles = checked_mul(ceil_div(p.batch * out_length, int64_t{tile.positions}), p.groups);
  return checked_mul(checked_mul(tiles, ceil_div(p.group_out(), int64_t{tile.outputs})), parts);
}

DirectPlan plan_direct(const Conv1dProblem& p, int64_t out_length, int processors, int64_t workspace_limit) {
  DirectPlan best;
  best.seconds = -1;
  if (p.group_out() <= kThinOutputs) {
    best = {true, 0, 1, 0, thin_seconds(p, out_length, processors), 0};
    // Beyond, the tiled kernel's indices are too narrow.
    constexpr int64_t kMaxReduction = int64_t{1} << 24;
    if (p.reduction() > kMaxReduction || !direct_indices_fit(p, out_length)) return best;
  }
  for (int tile = 0; tile < static_cast<int>(std::size(kDirectTiles)); ++tile) {
    if (direct_blocks(p, out_length, kDirectTiles[tile]) > kMaxGrid) continue;
    const DirectPlan plan = plan_tile(p, out_length, processors, workspace_limit, tile);
    if (best.seconds < 0 || better(plan, best)) best = plan;
  }
  return best;
}

}  // namespace strand::layers
