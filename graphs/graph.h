#pragma once
// A network as nodes with Layers and numbered values between them. Nodes stand in an order in which every value is made
// before it is used. Immutable once built; Layers are shared, so a copy is cheap.

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/tensor.h"
#include "graphs/description.h"
#include "layers/channel_affine.h"
#include "layers/layer.h"
#include "layers/registry.h"

namespace strand::graphs {

constexpr int kAbsent = -1;  // stands for the value of an optional input that is not connected

// In a fused node, stands for the output of the layer before, and kBefore - 1 for that of the layer before that one.
constexpr int kBefore = -2;

// One of the layers that a fused node was made of.
struct FusedLayer {
  std::string path;
  std::string type;
  std::shared_ptr<const layers::Layer> layer;
  std::vector<int> inputs;   // of the fused node, by index, or from kBefore on downwards
  std::string weights = {};  // what goes before its parameters' names, where the fused layer has them too
};

struct Node {
  std::string path;          // "net.3.conv1"
  std::string weights_path;  // where its parameters lie in the state_dict
  std::string type;          // "Conv1d"
  std::string where;         // "net.yaml:14: Conv1d 'net.3.conv1'", for messages
  std::shared_ptr<const layers::Layer> layer;
  std::vector<std::string> implementations;  // asked for by name in the description
  std::vector<int> inputs;                   // values, or kAbsent
  std::vector<int> outputs;                  // values
  std::vector<FusedLayer> fused;             // in the order of their work; none: the node is one layer as described
  // What the layer has instead of its first one's own weights, where one was folded into it.
  std::shared_ptr<const layers::FoldedWeights> folded = {};
};

struct GraphInput {
  InputDescription description;
  int value = 0;
};

struct GraphOutput {
  std::string name;
  int value = 0;
};

struct Graph {
  std::string name;
  std::string file;
  std::vector<GraphInput> inputs;
  std::vector<Node> nodes;
  std::vector<Node> unused;  // what only an output of a block that nobody uses needs: parameters, but no values
  std::vector<GraphOutput> outputs;
  int values = 0;  // how many there are
};

using Dimensions = std::map<std::string, int64_t>;  // sizes of the inputs' symbols

// Makes each layer through the registry. Error(kSchema) with file and line for a wrong field, port or input, and for a
// layer whose outputs nothing uses.
Graph build_graph(const Description& description, const layers::LayerRegistry& registry);

// The type of every value, for the given sizes of the symbols (defaults fill in what is left out). `dtype` is that of
// the inputs. Error(kShape) with the layer's line where shapes do not fit.
std::vector<TensorType> infer_types(const Graph& graph, const Dimensions& dimensions, DType dtype);

// The symbols' sizes that make the inputs these shapes (by name). Error(kShape) where they do not fit.
Dimensions match_dimensions(const Graph& graph, const std::map<std::string, Shape>& shapes);

// The types of a node's inputs (rank 0 for an absent one) and outputs.
std::vector<TensorType> types_of(std::span<const int> values, std::span<const TensorType> types);

}  // namespace strand::graphs
