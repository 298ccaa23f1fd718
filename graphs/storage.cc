#include "graphs/storage.h"

#include <algorithm>

namespace strand::graphs {
namespace {

// The nodes that make or read each value; none of a value that has to stay as it is.
std::vector<std::vector<size_t>> nodes_of(const Graph& graph, std::span<const TensorType> types,
                                          std::span<const int> keep) {
  std::vector<std::vector<size_t>> nodes(types.size());
  std::vector<bool> stays(types.size());
  const auto stay = [&](int value) { stays[static_cast<size_t>(value)] = true; };
  for (const GraphInput& input : graph.inputs) stay(input.value);
  for (const GraphOutput& output : graph.outputs) stay(output.value);
  for (const int value : keep) stay(value);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    for (const std::span<const int> values : {std::span(node.inputs), std::span(node.outputs)}) {
      for (const int value : values) {
        if (value == kAbsent) continue;
        if (node.layer->is_view()) stay(value);
        nodes[static_cast<size_t>(value)].push_back(i);
      }
    }
  }
  for (size_t value = 0; value < types.size(); ++value) {
    if (stays[value] || types[value].dtype != DType::kFloat32) nodes[value].clear();
  }
  return nodes;
}

}  // namespace

std::vector<TensorType> store_halves(const Graph& graph, std::vector<TensorType> types, DType half,
                                     std::span<const int> keep, const PickFor& pick) {
  const std::vector<std::vector<size_t>> nodes = nodes_of(graph, types, keep);
  std::vector<std::string> names(graph.nodes.size());  // with float32 values
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (!graph.nodes[i].layer->is_view()) names[i] = pick(graph.nodes[i], types);
  }
  for (size_t value = 0; value < types.size(); ++value) {
    if (nodes[value].empty()) continue;
    types[value].dtype = half;
    const bool same = std::ranges::all_of(
        nodes[value], [&](size_t i) { return !names[i].empty() && pick(graph.nodes[i], types) == names[i]; });
    if (!same) types[value].dtype = DType::kFloat32;
  }
  return types;
}

}  // namespace strand::graphs
