#include "graphs/receptive_field.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "engine/checked.h"

namespace strand::graphs {
namespace {

constexpr int64_t kMostPhases = 4096;

struct Interval {
  int64_t first;
  int64_t last;
};

// One edge of the graph as time sees it.
struct Hop {
  int from;  // value
  int to;
  TimeMap map;
};

// The hops on paths from `input` to `output`, in the order of the nodes.
std::vector<Hop> hops_between(const Graph& graph, std::span<const TensorType> types, int input, int output,
                              std::string& whole) {
  std::vector<bool> reaches(static_cast<size_t>(graph.values), false);  // from the input
  reaches[static_cast<size_t>(input)] = true;
  for (const Node& node : graph.nodes) {
    const bool fed =
        std::ranges::any_of(node.inputs, [&](int v) { return v != kAbsent && reaches[static_cast<size_t>(v)]; });
    for (const int value : node.outputs) reaches[static_cast<size_t>(value)] = fed;
  }
  std::vector<bool> needed(static_cast<size_t>(graph.values), false);  // by the output
  needed[static_cast<size_t>(output)] = true;
  std::vector<Hop> hops;
  for (size_t n = graph.nodes.size(); n-- > 0;) {
    const Node& node = graph.nodes[n];
    const std::vector<TensorType> inputs = types_of(node.inputs, types);
    for (size_t o = 0; o < node.outputs.size(); ++o) {
      if (!needed[static_cast<size_t>(node.outputs[o])]) continue;
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        const int from = node.inputs[i];
        if (from == kAbsent || !reaches[static_cast<size_t>(from)]) continue;
        needed[static_cast<size_t>(from)] = true;
        TimeMap map = node.layer->time_map(static_cast<int>(i), static_cast<int>(o), inputs);
        if (map.is_whole() && whole.empty()) whole = node.path + ": " + map.whole;
        if (map.stateful && whole.empty()) whole = node.path + ": its state remembers all times before";
        hops.push_back({from, node.outputs[o], std::move(map)});
      }
    }
  }
  return hops;  // outputs before inputs: the order in which needs are passed back
}

// What of the input the output needs at time t; nothing where it does not depend on it.
std::optional<Interval> needed_at(int64_t t, std::span<const Hop> hops, int input, int output, int values) {
  std::vector<std::optional<Interval>> needs(static_cast<size_t>(values));
  needs[static_cast<size_t>(output)] = Interval{t, t};
  for (const Hop& hop : hops) {
    const std::optional<Interval>& to = needs[static_cast<size_t>(hop.to)];
    if (!to) continue;
    const Interval need = {hop.map.first_needed(to->first), hop.map.last_needed(to->last)};
    std::optional<Interval>& from = needs[static_cast<size_t>(hop.from)];
    from = from ? Interval{std::min(from->first, need.first), std::max(from->last, need.last)} : need;
  }
  return needs[static_cast<size_t>(input)];
}

// How far the output's clock runs against the input's: the product of the maps along any one path.
void find_step(std::span<const Hop> hops, int input, int output, int values, TimeExtent& extent, int64_t& phases) {
  struct Ratio {
    int64_t numerator = 0;
    int64_t denominator = 1;
  };
  std::vector<Ratio> ratios(static_cast<size_t>(values));
  ratios[static_cast<size_t>(output)] = {1, 1};
  phases = 1;
  for (const Hop& hop : hops) {
    const Ratio& to = ratios[static_cast<size_t>(hop.to)];
    if (to.numerator == 0) continue;
    Ratio from = {checked_mul(to.numerator, hop.map.numerator), checked_mul(to.denominator, hop.map.denominator)};
    const int64_t divisor = std::gcd(from.numerator, from.denominator);
    from = {from.numerator / std::max<int64_t>(divisor, 1), from.denominator / std::max<int64_t>(divisor, 1)};
    phases = std::min(kMostPhases, std::lcm(phases, std::min(kMostPhases, from.denominator)));
    ratios[static_cast<size_t>(hop.from)] = from;
  }
  extent.step_numerator = ratios[static_cast<size_t>(input)].numerator;
  extent.step_denominator = ratios[static_cast<size_t>(input)].denominator;
}

}  // namespace

TimeExtent time_extent(const Graph& graph, std::span<const TensorType> types, int input, int output) {
  TimeExtent extent;
  if (types[static_cast<size_t>(input)].time_axis == TensorType::kNoTime) {
    extent.whole = "the input has no time axis";
    return extent;
  }
  const std::vector<Hop> hops = hops_between(graph, types, input, output, extent.whole);
  if (!extent.whole.empty()) return extent;
  if (types[static_cast<size_t>(output)].time_axis == TensorType::kNoTime) {
    extent.whole = "the output has no time axis";
    return extent;
  }
  int64_t phases = 1;
  find_step(hops, input, output, graph.values, extent, phases);
  for (int64_t t = 0; t < phases; ++t) {
    const std::optional<Interval> need = needed_at(t, hops, input, output, graph.values);
    if (!need) return extent;
    const int64_t scaled = checked_mul(t, extent.step_numerator);
    extent.receptive_field = std::max(extent.receptive_field, need->last - need->first + 1);
    extent.left = std::max(extent.left, ceil_div(scaled, extent.step_denominator) - need->first);
    extent.right = std::max(extent.right, need->last - floor_div(scaled, extent.step_denominator));
  }
  return extent;
}

}  // namespace strand::graphs
