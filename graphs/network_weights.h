#pragma once
// From a state_dict's tensors to each node's parameters: names matched, weight normalisation folded, everything
// checked.

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "graphs/graph.h"
#include "graphs/io/tensor_map.h"

namespace strand::graphs {

// Each node's parameters, float32 on the host, by the node's path and the parameter's name.
using NetworkWeights = std::map<std::string, TensorMap, std::less<>>;

// Takes what the graph's nodes need out of `tensors`. Error(kWeights) that lists every missing, unused and unsuitable
// tensor. `dtype` is what the tensors may have besides float32, and is converted. `origin` names them in messages.
NetworkWeights bind_weights(const Graph& graph, const TensorMap& tensors, std::string_view dtype,
                            const std::string& origin);

// Uniform in +-1/sqrt(fan_in) from Philox 4x32-10 keyed by the seed and the tensor's path: the same on every machine.
// Error(kLimit) with the layer's line where they would take more than 4 GiB.
NetworkWeights random_weights(const Graph& graph, uint64_t seed);

// What a node's kernels are prepared from. A fused node's are its first layer's, and what the others bring along.
layers::Weights weights_of(const Node& node, const NetworkWeights& weights, Device device, WeightStore& store);

// A line for each tensor that has values that are not finite.
std::vector<std::string> describe_unusual(const NetworkWeights& weights);

}  // namespace strand::graphs
