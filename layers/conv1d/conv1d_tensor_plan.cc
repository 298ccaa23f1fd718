#include <algorithm>
#include <bit>
#include <cmath>

#include "engine/checked.h"
#include "engine/dtype.h"
#include "engine/tensor.h"
#include "layers/conv1d/conv1d_exponent.h"
#include "layers/conv1d/conv1d_tensor.h"

namespace strand::layers::tensor {
namespace {

constexpr int64_t kOctetBytes = 16;
constexpr int64_t kStagingPitch = 40;  // floats; see the epilogue in conv1d_tensor.cu
constexpr int64_t kMinReduction = 48;  // shorter sums are left to FFMA
constexpr int64_t kMinOutChannels = 16;
constexpr int64_t kMaxIndex = int64_t{1} << 28;
constexpr int kMaxFlatReduction = 128;    // of a stage
constexpr int kMaxSharedReduction = 256;  // of a stage, past 16 channels
constexpr int64_t kMaxConvertedBytes = int64_t{40} << 10;
constexpr int64_t kReservedBytes = 1024;  // of shared memory, by CUDA a block

// The narrowest block that holds all output channels of a group, so that the input is converted once; past the widest,
// the one of the two widest that pads least.
int shape_for(int64_t out_channels) {
  int best = 0;
  for (int i = 1; i < static_cast<int>(std::size(kBlockShapes)); ++i) {
    if (out_channels <= kBlockShapes[i].rows()) best = i;
  }
  const bool pads_less =
      round_up(out_channels, kBlockShapes[1].rows()) < round_up(out_channels, kBlockShapes[0].rows());
  return out_channels > kBlockShapes[0].rows() && pads_less ? 1 : best;
}

// Fills in what follows from the stage's channels and taps.
void lay_out(const Conv1dProblem& p, Geometry& g) {
  const int columns = kBlockShapes[g.shape].columns();
  const auto stride = static_cast<int>(p.stride);
  const int64_t reach = (g.stage_taps - 1) * p.dilation;
  g.channel_stages = static_cast<int>(ceil_div(p.group_in(), g.stage_channels));
  g.tap_stages = static_cast<int>(ceil_div(p.kernel_size, g.stage_taps));
  g.phases = 0;
  if (g.flat) {
    g.steps = static_cast<int>(ceil_div(int64_t{g.stage_channels} * g.stage_taps, 16));
    g.octets = 2 * g.steps;
    g.phases = 1;
    g.phase_rows = columns;
  } else {
    for (int tap = 0; tap < g.stage_taps; ++tap) {
      const auto phase = static_cast<int>(tap * p.dilation % stride);
      const int* end = g.phase_start + g.phases;
      if (std::find(g.phase_start + 0, const_cast<int*>(end), phase) == end) g.phase_start[g.phases++] = phase;
    }
    g.steps = g.stage_taps * g.stage_channels / 16;
    g.octets = g.stage_channels / 8;
    g.phase_rows = static_cast<int>(columns + reach / stride);
  }
  g.rows = g.phases * g.phase_rows;
  // Up to the last position that is read for any row, an aligned start's lead of 3 included.
  const int64_t last = g.flat
                           ? (columns - 1) * p.stride + reach
                           : *std::max_element(g.phase_start, g.phase_start + g.phases) + (g.phase_rows - 1) * p.stride;
  g.pitch = static_cast<int>(round_up(g.gathered ? g.rows : last + 4, 4));
}

int64_t converted_bytes(const Geometry& g) { return int64_t{g.octets} * g.rows * kOctetBytes * 2; }
int64_t raw_bytes(const Geometry& g) { return int64_t{g.stage_channels} * g.pitch * 4; }
int64_t resident_bytes(const Geometry& g) { return int64_t{g.total_steps()} * kBlockShapes[g.shape].rows() * 16 * 4; }
int64_t fixed_bytes(const Geometry& g) {
  return kBlockShapes[g.shape].warps() * 16 * kStagingPitch * 4 + kMaxSteps * 4 + g.octets * 8 * 4 + 256;
}
int64_t bytes_with(const Geometry& g, int ring) {
  return fixed_bytes(g) + round_up(converted_bytes(g), 128) + ring * round_up(raw_bytes(g), 128);
}

// The taps of a stage that load and convert the least: all at once, so that each position is converted once, unless the
// dilation spreads them so far that the gaps cost more than converting tap by tap.
int best_stage_taps(const Conv1dProblem& p, Geometry g, int64_t limit) {
  int best = 0;
  int64_t best_cost = INT64_MAX;
  for (int64_t stages = 1; stages <= p.kernel_size; ++stages) {
    g.stage_taps = static_cast<int>(ceil_div(p.kernel_size, stages));
    if (ceil_div(p.kernel_size, g.stage_taps) != stages) continue;
    if (g.flat ? g.stage_channels * g.stage_taps > kMaxFlatReduction : g.stage_taps > kMaxSteps) continue;
    if ((g.stage_taps - 1) * p.dilation > kMaxIndex / 4) continue;
    lay_out(p, g);
    if (bytes_with(g, 2) > limit) continue;
    // Octet rows to convert, and what their raw floats cost to load, in the same unit.
    const int64_t cost = g.tap_stages * (int64_t{g.octets} * g.rows + int64_t{g.stage_channels} * g.pitch / 8);
    if (cost < best_cost) {
      best = g.stage_taps;
      best_cost = cost;
    }
  }
  return best;
}

std::string why_not(const Conv1dProblem& p) {
  if (p.reduction() < kMinReduction) {
    return "a reduction of " + std::to_string(p.reduction()) + " products is too short for tensor cores (from " +
           std::to_string(kMinReduction) + ")";
  }
  if (p.group_out() < kMinOutChannels) {
    return std::to_string(p.group_out()) + " output channels a group are too few for tensor cores (from " +
           std::to_string(kMinOutChannels) + ")";
  }
  if (p.stride > kMaxPhases) return "stride above " + std::to_string(kMaxPhases);
  if (p.length > kMaxIndex || p.pad_left > kMaxIndex || p.pad_right > kMaxIndex ||
      p.dilation > kMaxIndex / std::max<int64_t>(p.kernel_size, 1)) {
    return "positions past 2^28";
  }
  return "";
}

float half_value(uint16_t half) {
  float result = 0;
  convert({{DType::kFloat16, {1}}, &half, {}}, {{DType::kFloat32, {1}}, &result, {}});
  return result;
}

uint16_t to_half(float value) {
  uint16_t result = 0;
  convert({{DType::kFloat32, {1}}, &value, {}}, {{DType::kFloat16, {1}}, &result, {}});
  return result;
}

// The geometry for blocks of at most `limit` bytes of shared memory; false where a stage does not fit.
bool fit(const Conv1dProblem& p, int64_t limit, Geometry& g) {
  const int64_t padded = round_up(p.group_in(), 16);
  g.stage_channels = g.flat ? static_cast<int>(p.group_in()) : 16;
  g.stage_taps = best_stage_taps(p, g, limit);
  if (g.stage_taps == 0) return false;
  lay_out(p, g);
  // More channels a stage mean fewer barriers, as long as enough stages are in flight to hide the memory's latency.
  for (const int channels : {32, 64}) {
    Geometry wider = g;
    wider.stage_channels = channels;
    if (g.flat || channels > padded || channels * g.stage_taps > kMaxSharedReduction) break;
    lay_out(p, wider);
    if (bytes_with(wider, 2) > limit || converted_bytes(wider) > kMaxConvertedBytes) break;
    g = wider;
  }
  const bool one_matrix = p.groups == 1 && p.group_out() <= kBlockShapes[g.shape].rows();
  g.resident = one_matrix && bytes_with(g, 2) + resident_bytes(g) <= limit;
  const int64_t weights = g.resident ? resident_bytes(g) : 0;
  g.ring = 2;
  while (g.ring < kMaxRing && bytes_with(g, g.ring + 1) + weights <= limit) ++g.ring;
  g.shared_bytes = bytes_with(g, g.ring) + weights;
  // Short sums have less to average their errors over, and are not bound by arithmetic.
  g.promote_steps = g.total_steps() <= 8 ? 2 : 4;
  return true;
}

}  // namespace

std::string choose_geometry(const Conv1dProblem& p, int64_t shared_limit, Geometry& geometry) {
  const std::string reason = why_not(p);
  if (!reason.empty()) return reason;
  geometry = {};
  geometry.shape = shape_for(p.group_out());
  geometry.flat = p.group_in() < 16 && round_up(p.group_in(), 16) * p.kernel_size > 2 * round_up(p.reduction(), 16);
  // Two blocks a multiprocessor, where shared memory lets them: one multiplies while the other converts.
  const int widest = geometry.shape;
  for (const bool gathered : {false, true}) {
    geometry.gathered = gathered && !geometry.flat;
    for (geometry.shape = widest; geometry.shape >= 0; --geometry.shape) {
      const bool fits = fit(p, (shared_limit - kReservedBytes) / 2, geometry) || fit(p, shared_limit, geometry);
      // Raw rows that are mostly positions between the taps are not worth loading whole.
      if (fits && (gathered || geometry.flat || geometry.pitch <= 2 * geometry.rows + 8)) return "";
    }
  }
  return "a stage of input does not fit " + std::to_string(shared_limit) + " bytes of shared memory";
}

std::vector<int32_t> step_offsets(const Conv1dProblem& p, const Geometry& g) {
  std::vector<int32_t> offsets;
  for (int step = 0; step < g.steps; ++step) {
    int octet = 2 * step;
    int row = 0;
    if (!g.flat) {
      const int blocks = g.stage_channels / 16;
      const int64_t shift = step / blocks * p.dilation;
      const int* slot = std::find(g.phase_start, g.phase_start + g.phases, static_cast<int>(shift % p.stride));
      octet = 2 * (step % blocks);
      row = static_cast<int>((slot - g.phase_start) * g.phase_rows + shift / p.stride);
    }
    offsets.push_back(static_cast<int32_t>((octet * g.rows + row) * kOctetBytes));
  }
  return offsets;
}

std::vector<int32_t> flat_elements(const Geometry& g) {
  std::vector<int32_t> elements(static_cast<size_t>(g.octets) * 8, -1);
  for (int i = 0; g.flat && i < g.stage_channels * g.stage_taps; ++i) {
    elements[static_cast<size_t>(i)] = (i % g.stage_channels) << 16 | (i / g.stage_channels);
  }
  return elements;
}

PackedWeights pack_weights(const Conv1dProblem& p, const Geometry& g, std::span<const float> weights) {
  const int64_t tiles = round_up(p.group_out(), kBlockShapes[g.shape].rows()) / 16;
  const int64_t steps = g.total_steps();
  PackedWeights packed;
  packed.halves.assign(static_cast<size_t>(p.groups * tiles * steps * 2 * 32 * 8), 0);
  packed.unscale.assign(static_cast<size_t>(p.groups * tiles * 16), 0.0F);
  for (int64_t o = 0; o < p.out_channels; ++o) {
    const auto channel = weights.subspan(static_cast<size_t>(o * p.reduction()), static_cast<size_t>(p.reduction()));
    const int64_t group = o / p.group_out();
    const int64_t row = o % p.group_out();
    int exponent = 0;
    if (!find_exponent(channel, exponent)) packed.exact_only = true;
    packed.unscale[static_cast<size_t>(group * tiles * 16 + row)] = std::ldexp(1.0F, -exponent);
    if (packed.exact_only) continue;
    for (int64_t step = 0; step < steps; ++step) {
      const int64_t stage = step / g.steps;
      const int64_t local = step % g.steps;
      for (int64_t k = 0; k < 16; ++k) {
        int64_t c = stage / g.tap_stages * g.stage_channels;
        int64_t tap = stage % g.tap_stages * g.stage_taps;
        if (g.flat) {
          const int64_t element = local * 16 + k;
          if (element >= int64_t{g.stage_channels} * g.stage_taps) continue;
          c += element % g.stage_channels;
          tap += element / g.stage_channels;
        } else {
          const int64_t blocks = g.stage_channels / 16;
          c += local % blocks * 16 + k;
          tap += local / blocks;
        }
        if (c >= p.group_in() || tap >= p.kernel_size) continue;
        const float scaled = std::ldexp(channel[static_cast<size_t>(c * p.kernel_size + tap)], exponent);
        const uint16_t high = to_half(scaled);
        const uint16_t low = to_half(scaled - half_value(high));
        // The place of (row, k) in the A operand of mma.m16n8k16.
        const int64_t lane = row % 8 * 4 + k % 8 / 2;
        const int64_t half = k / 8 * 4 + row % 16 / 8 * 2 + k % 2;
        const int64_t tile = group * tiles + row / 16;
        const int64_t base = ((tile * steps + step) * 2 * 32 + lane) * 8 + half;
        packed.halves[static_cast<size_t>(base)] = high;
        packed.halves[static_cast<size_t>(base + int64_t{32} * 8)] = low;
      }
    }
  }
  return packed;
}

}  // namespace strand::layers::tensor
