#pragma once
// The pass that decides which values between layers are stored as float16 or bfloat16, half the bytes of float32. It
// knows no layer by name: a layer is asked for its implementations with such edges. A function without state.

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "graphs/graph.h"

namespace strand::graphs {

// The name of the implementation that computes a node where the graph's values have these types; empty where none does.
using PickFor = std::function<std::string(const Node& node, std::span<const TensorType> types)>;

// `types` with `half` for each float32 value that may be so: no input or output of the graph, not in `keep`, no view
// and nobody's to view, and with it its maker and its readers are computed by the implementations that they have
// without. Values are decided in their order, each with those before it as they were decided.
std::vector<TensorType> store_halves(const Graph& graph, std::vector<TensorType> types, DType half,
                                     std::span<const int> keep, const PickFor& pick);

}  // namespace strand::graphs
