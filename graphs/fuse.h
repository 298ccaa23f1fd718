#pragma once
// The pass that makes a layer and the only reader of its output one, where the first can take the second into its
// weights (layers/channel_affine.h) or absorb it as an epilogue (layers/epilogue.h), or the second can compute the
// first along with its own sums (Layer::mix). It knows no layer by name. A function without state.

#include <functional>
#include <span>

#include "graphs/graph.h"

namespace strand::graphs {

// Whether `fused` may take the place of `producer` and `consumer`: whether it is computed as well.
using MayFuse = std::function<bool(const Node& producer, const Node& consumer, const Node& fused)>;
using WeightsOf = std::function<layers::Weights(const Node&)>;

// A fused node stands where its last layer stood, and has its path. Values that are read twice, are outputs of the
// graph or are in `keep` stay. `types`: of the graph's values; those of the result are numbered anew.
Graph fuse(const Graph& graph, std::span<const TensorType> types, std::span<const int> keep, const WeightsOf& weights,
           const MayFuse& may_fuse);

}  // namespace strand::graphs
