#include "layers/conv1d/conv1d_expected.h"

#include <algorithm>
#include <cmath>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_few.h"

namespace strand::layers {
namespace {

constexpr double kBytes = 2.4e12;  // a second
constexpr int64_t kFar = 128;      // a dilation from which on taps share no cache lines
constexpr int64_t kSector = 8;     // floats

double product(std::initializer_list<int64_t> sizes) {
  double result = 1;
  for (const int64_t size : sizes) result *= static_cast<double>(size);
  return result;
}

}  // namespace

double memory_seconds(const Conv1dProblem& p, int64_t out_length) {
  const int64_t outputs = checked_mul(p.out_channels, out_length);
  // Of a stride of many sectors only those that taps lie in.
  const int64_t touched = std::min(p.stride, kSector * p.kernel_size);
  const int64_t inputs = checked_mul(p.in_channels, std::min(p.length, checked_mul(out_length, touched)));
  return product({p.batch, inputs + outputs, 4}) / kBytes;
}

bool has_far_taps(const Conv1dProblem& p) { return p.kernel_size > 1 && p.dilation >= kFar; }

bool has_taps_apart(const Conv1dProblem& p) {
  constexpr int64_t kLanes = 32;
  return p.kernel_size > 1 && p.dilation >= kLanes;
}

double few_channels_seconds(const Conv1dProblem& p, int64_t out_length, int processors) {
  constexpr int64_t kBlocks = 6;  // that a multiprocessor holds
  constexpr double kStart = 1.5e-6;
  constexpr double kBlockSeconds = 2e-6;  // from a block's first load to its last store, besides its products
  // Of the time that bytes take at best: of many positions a thread more are on their way.
  const bool many = positions_a_thread(p, out_length) == kManyPositions;
  double memory = many ? 0.75 : 1.2;
  if (holds_inputs(p)) memory = out_length % kSector == 0 ? 0.6 : 0.9;
  double bytes = memory * memory_seconds(p, out_length);
  const int64_t reduction = p.reduction();
  const int64_t positions = positions_a_thread(p, out_length);
  const int64_t threads =
      std::min(threads_at_most(p), round_up(ceil_div(std::max<int64_t>(out_length, 1), positions), 32));
  const double tiles = product({p.batch, p.groups, ceil_div(out_length, threads * positions)});
  const auto taps = static_cast<double>(p.kernel_size);
  if (holds_inputs(p)) {
    // As conv1d_few_inputs.cu has them.
    constexpr int64_t kHeldThreads = 256;
    constexpr double kHeldBlocks = 2.5;  // that a multiprocessor holds
    constexpr int64_t kOutputs = 64;     // of a block, one after another
    const double held_tiles = product({p.batch, p.groups, ceil_div(out_length, kHeldThreads * kFewPositions)});
    const double blocks = held_tiles * static_cast<double>(ceil_div(p.group_out(), kOutputs));
    const double output = 100e-9 + 8e-9 * static_cast<double>(round_up(reduction, 4));
    const double inputs = 1.5e-6 + (p.stride > 1 ? 0.4e-6 : 0) * static_cast<double>(reduction);
    const double block = inputs + output * static_cast<double>(std::min(p.group_out(), kOutputs));
    return kLaunchSeconds + kStart + std::max(bytes, std::max(1.0, blocks / (kHeldBlocks * processors)) * block);
  }
  const int outputs = outputs_at_once(p);
  // A tap's way, where nothing hides it: neighbours come from registers, behind a row's way, others from shared memory,
  // and those of a stride, or past the tile, through a row of their own.
  const double tap = 22e-9 + 8e-9 * outputs;
  const bool by_tap = goes_by_tap(p, kFewPositions * threads_at_most(p));
  const double row = by_tap ? 600e-9 * taps : 100e-9 + (p.dilation > 1 ? std::max(250e-9, tap) : tap) * taps;
  // A second and multiprocessor; taps that lie apart are read from shared memory one by one.
  const double multiply_adds = p.dilation >= kFar / 4 ? 45e9 : 87e9;
  const int64_t chunks = ceil_div(p.group_out(), int64_t{outputs});  // of a group
  // Each chunk of outputs brings the input again, from the L2 cache.
  bytes += product({p.batch, p.in_channels, std::min(p.length, out_length * p.stride), chunks - 1, 4}) / (2 * kBytes);
  const double blocks = tiles * static_cast<double>(chunks);
  const double turns = std::max(1.0, blocks / static_cast<double>(kBlocks * processors));
  const double multiply =
      product({p.batch, p.groups * chunks * outputs, out_length, reduction}) / (multiply_adds * processors);
  const double block = (turns > 1 ? kBlockSeconds : 0) + row * static_cast<double>(p.group_in());
  return kLaunchSeconds + kStart + std::max({bytes, multiply, turns * block});
}

double tensor_seconds(const Conv1dProblem& p, int64_t out_length, int processors) {
  constexpr double kStart = 3.5e-6;
  constexpr double kMultiplyAdds = 227e9;  // a second and multiprocessor
  constexpr double kMemory = 1.6;          // of the time that bytes take at best
  constexpr int64_t kStageChannels = 16;
  constexpr double kStage = 2.4e-6;  // where nothing hides its way
  constexpr double kStep = 0.5e-6;   // of 16 products, the same
  constexpr double kGathered = 3.5;  // where single positions are copied
  // From half a sector on a stride was as slow.
  const double gathered = (has_far_taps(p) ? kGathered : 1) * (2 * p.stride >= kSector ? kGathered : 1);
  const double multiply = gathered *
                          product({p.batch, p.groups * round_up(p.group_out(), 64), out_length, p.reduction()}) /
                          (kMultiplyAdds * processors);
  const int64_t stages = ceil_div(p.group_in(), kStageChannels);
  // Fewer channels may share a step with their taps.
  const int64_t steps = stages > 1 ? stages * p.kernel_size : ceil_div(p.reduction(), kStageChannels);
  return kLaunchSeconds + kStart +
         std::max({kMemory * memory_seconds(p, out_length), multiply, kStage * static_cast<double>(stages),
                   kStep * static_cast<double>(steps)});
}

double wgmma_tile_seconds(const Conv1dProblem& p, const wgmma::Geometry& g, const WgmmaWalk& walk) {
  constexpr double kProduct = 77e-9;      // of a step
  constexpr double kItem = 1.2e-9;        // an octet row that is converted
  constexpr double kFlatItem = 1e-9;      // the same of flat octets, their number rounded up to four
  constexpr double kFlatRaw = 6e-11;      // a raw value
  constexpr double kFlatFollowed = 1.25;  // of flat octets, where weights follow and outputs are few
  constexpr int64_t kMostOutputs = 64;    // as measured; of more it was not
  constexpr int64_t kManyOutputs = 16;
  constexpr double kWasted = 1.7;  // of one product, as measured: 64 rows of it for fewer than 16 outputs
  constexpr double kStore = 2e-6;  // of a tile of 128 x 128
  // Of a stride, row by row: neighbours are read from few banks, if not 16 bytes at once; channels take somewhat
  // longer.
  constexpr double kStridedRows = 1.2;
  double gather = 1;
  if (g.boxes == 0 && p.stride >= 4) gather = g.fold > 1 ? static_cast<double>(p.stride) / 4 : kStridedRows;
  const double items = g.flat ? kFlatItem * product({round_up(g.octets, 4), g.octet_rows}) +
                                    kFlatRaw * product({g.stage_channels, g.pitch})
                              : kItem * gather * g.items();
  const bool turned = g.layout == wgmma::Layout::kTurned;  // three products take the time of four there
  const bool wasted = g.products == 1 && p.group_out() < kManyOutputs && !turned;
  const bool flat_followed = g.flat && !g.resident && p.group_out() <= kMostOutputs;
  const double slower = (wasted ? kWasted : 1) * (flat_followed ? kFlatFollowed : 1);
  const double convert = slower * g.stages() * walk.converted * (walk.stage_seconds + items);
  const double multiply = g.total_steps() * (turned && g.products > 1 ? 4 : g.products) * walk.halves * kProduct;
  const int64_t channels = turned ? g.shape().channels : std::min<int64_t>(p.group_out(), g.shape().channels);
  const double store = kStore * static_cast<double>(channels) * g.shape().columns / (128 * 128);
  return std::max(convert, multiply + store);
}

double wgmma_seconds(const Conv1dProblem& p, const wgmma::Geometry& g, int64_t out_length, int processors) {
  constexpr double kStart = 2.3e-6;
  constexpr double kMemory = 0.75;              // of the time that bytes take at best
  constexpr double kLoneStageSeconds = 0.7e-6;  // a lone tile waits for each stage's way from memory
  const int64_t blocks = p.groups * ceil_div(p.group_out(), g.shape().channels);
  const double tiles = product({p.batch, blocks, g.position_tiles(out_length)});
  const double turns = std::ceil(tiles / processors);
  const double stages = g.stages();
  WgmmaWalk walk;
  if (turns <= 2) walk.stage_seconds = kLoneStageSeconds;
  if (g.layout == wgmma::Layout::kSlide) {
    // All of a tile's stages where a chain begins, else one.
    walk.converted = 1 / stages + (1 - 1 / stages) * static_cast<double>(p.dilation) / static_cast<double>(out_length);
  }
  // Of a tall tile; those that have no channels cost nothing where thread blocks have all blocks of channels in turn.
  if (g.layout == wgmma::Layout::kTall) {
    const auto filled = static_cast<double>(p.groups * ceil_div(p.group_out(), int64_t{128}));
    walk.halves = !g.resident && turns > 2 ? filled / static_cast<double>(blocks) : 2;
  }
  return kLaunchSeconds + kStart +
         std::max(turns * wgmma_tile_seconds(p, g, walk), kMemory * memory_seconds(p, out_length));
}

}  // namespace strand::layers
