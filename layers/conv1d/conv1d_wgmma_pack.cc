// The weights and tables of cuda.wgmma, as its plan wants them: see conv1d_wgmma.h.

#include <algorithm>
#include <cmath>

#include "engine/checked.h"
#include "engine/dtype.h"
#include "engine/tensor.h"
#include "layers/conv1d/conv1d_exponent.h"
#include "layers/conv1d/conv1d_wgmma.h"

namespace strand::layers::wgmma {
namespace {

int to_int(int64_t value) { return static_cast<int>(value); }

// One output channel's weights as scaled float16 pairs, in PyTorch's order.
struct Pairs {
  std::vector<float> values;
  std::vector<uint16_t> high;
  std::vector<uint16_t> low;

  void split(std::span<const float> channel, int exponent) {
    const auto count = static_cast<int64_t>(channel.size());
    values.resize(channel.size());
    high.resize(channel.size());
    low.resize(channel.size());
    std::vector<float> back(channel.size());
    for (size_t i = 0; i < channel.size(); ++i) values[i] = std::ldexp(channel[i], exponent);
    const TensorType floats{DType::kFloat32, {count}};
    const TensorType halves{DType::kFloat16, {count}};
    convert({floats, values.data(), {}}, {halves, high.data(), {}});
    convert({halves, high.data(), {}}, {floats, back.data(), {}});
    for (size_t i = 0; i < channel.size(); ++i) values[i] -= back[i];
    convert({floats, values.data(), {}}, {halves, low.data(), {}});
  }
};

// Rows from a slot's first octet to one of the stage's octets, tap by tap.
int octet_row(const Conv1dProblem& p, const Geometry& g, int octet) {
  if (g.flat) return octet * g.octet_rows;
  const int64_t shift = octet / g.octets * (g.fold > 1 ? g.fold : p.dilation);
  return to_int(shift % p.stride * g.phase_rows + int64_t{octet % g.octets} * g.octet_rows + shift / p.stride);
}

// The step's other octet. If the last one has none, the stage's first goes with it, times zeros.
int other_octet(const Geometry& g, int octet) { return (octet ^ 1) < g.tap_octets() ? octet ^ 1 : 0; }

// Where each of a stage's octets is multiplied, tap by tap.
struct OctetPlace {
  int step;
  int second;  // 1: as the second of the step's two
};
std::vector<OctetPlace> octet_places(const Conv1dProblem& p, const Geometry& g) {
  std::vector<OctetPlace> places;
  for (int octet = 0; octet < g.tap_octets(); ++octet) {
    const bool second = octet_row(p, g, octet) > octet_row(p, g, other_octet(g, octet));
    places.push_back({octet / 2, second ? 1 : 0});
  }
  return places;
}

}  // namespace

std::vector<int32_t> step_rows(const Conv1dProblem& p, const Geometry& g) {
  std::vector<int32_t> rows;
  for (int octet = 0; octet < g.tap_octets(); octet += 2) {
    const int one = octet_row(p, g, octet);
    const int other = octet_row(p, g, other_octet(g, octet));
    rows.push_back(std::min(one, other) | (std::max(one, other) - std::min(one, other)) << 16);
  }
  return rows;
}

std::vector<int32_t> flat_elements(const Conv1dProblem& p, const Geometry& g) {
  std::vector<int32_t> elements(static_cast<size_t>(g.elements()));
  for (int i = 0; i < std::min(g.elements(), g.stage_channels * g.stage_taps); ++i) {
    elements[static_cast<size_t>(flat_place(p, i))] = i / g.stage_taps << 16 | i % g.stage_taps;
  }
  return elements;
}

PackedWeights pack_weights(const Conv1dProblem& p, const Geometry& g, std::span<const float> weights) {
  const BlockShape shape = g.shape();
  const int64_t blocks = ceil_div(p.group_out(), shape.channels);
  const int64_t block_halves = int64_t{g.total_steps()} * g.step_bytes() / 2;
  PackedWeights packed;
  packed.halves.assign(static_cast<size_t>(p.groups * blocks * block_halves), 0);
  packed.unscale.assign(static_cast<size_t>(p.groups * blocks * shape.channels), 0.0F);
  const std::vector<OctetPlace> places = octet_places(p, g);
  Pairs pairs;
  for (int64_t o = 0; o < p.out_channels; ++o) {
    const auto channel = weights.subspan(static_cast<size_t>(o * p.reduction()), static_cast<size_t>(p.reduction()));
    const auto [block_in_group, within] = channel_place(p, g, o % p.group_out());
    const int64_t block = o / p.group_out() * blocks + block_in_group;
    int exponent = 0;
    if (!find_exponent(channel, exponent)) packed.exact_only = true;
    packed.unscale[static_cast<size_t>(block * shape.channels + within)] = std::ldexp(1.0F, -exponent);
    if (packed.exact_only) continue;
    const Layout layout = packed_layout(g.layout, p.group_out() - block_in_group * shape.channels);
    const int64_t step_halves = step_weight_rows(layout, g.products) * 8;
    pairs.split(channel, exponent);
    for (int64_t index = 0; index < p.reduction(); ++index) {
      const int64_t c = index / p.kernel_size;
      const int64_t tap = index % p.kernel_size / g.fold;
      const int64_t stage = c / g.stage_channels * g.tap_stages + tap / g.stage_taps;
      const int64_t local_c = c % g.stage_channels * g.fold + index % p.kernel_size % g.fold;
      const int64_t local_tap = tap % g.stage_taps;
      // Its place in the stage's reduction: step and value of the step.
      const int64_t value =
          g.flat ? flat_place(p, local_c * g.stage_taps + local_tap) : local_tap * g.octets * 8 + local_c;
      const auto [step, second] = places[static_cast<size_t>(value / 8)];
      for (int part = 0; part < g.parts(); ++part) {
        const int64_t row = weight_row(layout, g.products, within, part, second);
        const int64_t target = block * block_halves + (stage * g.steps + step) * step_halves + row * 8 + value % 8;
        packed.halves[static_cast<size_t>(target)] = (part == 0 ? pairs.high : pairs.low)[static_cast<size_t>(index)];
      }
    }
  }
  return packed;
}

}  // namespace strand::layers::wgmma
