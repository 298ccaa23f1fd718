// The pass store_halves with implementations that are made up, and on CUDA a network whose values it stores in halves.

#include "graphs/storage.h"

#include <doctest/doctest.h>

#include "engine/session.h"
#include "graphs/compare.h"
#include "layers/half_storage.h"
#include "tests/make_layer.h"

namespace strand::testing {
namespace {

using graphs::CompileOptions;
using graphs::Network;

// Convolutions a to e of a chain, with a residual from a to c, a view between c and d, and an output besides the last.
const char* const kChain =
    "strand: 1\nname: chain\nweights: {seed: 1}\ninputs:\n  x: {shape: [1, 4, 60]}\nlayers:\n"
    "  - {name: a, type: Conv1d, in_channels: 4, out_channels: 4, kernel_size: 3, padding: 1}\n"
    "  - {name: b, type: Conv1d, in_channels: 4, out_channels: 4, kernel_size: 3, padding: 1}\n"
    "  - {name: c, type: Add, inputs: [a, b]}\n"
    "  - {name: d, type: Conv1d, in_channels: 4, out_channels: 4, kernel_size: 3, padding: 1}\n"
    "  - {name: view, type: Flatten, start_dim: 1}\n"
    "  - {name: e, type: Linear, in_features: 240, out_features: 5}\n"
    "  - {name: f, type: Linear, in_features: 5, out_features: 5}\n"
    "  - {name: g, type: Linear, in_features: 5, out_features: 5}\n"
    "outputs: [e, g]\n";

struct Chain {
  Network network = Network::from_memory(kChain, {});
  const graphs::Graph& graph = network.graph();
  std::vector<TensorType> types = graphs::infer_types(graph, {}, DType::kFloat32);

  int value(const std::string& path) const {
    for (const graphs::Node& node : graph.nodes) {
      if (node.path == path) return node.outputs[0];
    }
    FAIL("no " << path);
    return 0;
  }
  // The paths whose values are stored in halves.
  std::string stored(const graphs::PickFor& pick, std::vector<int> keep = {}) const {
    const std::vector<TensorType> result = graphs::store_halves(graph, types, DType::kBFloat16, keep, pick);
    std::string paths;
    for (size_t i = 0; i < result.size(); ++i) {
      CHECK(result[i].shape == types[i].shape);
      if (result[i].dtype == DType::kFloat32) continue;
      CHECK(result[i].dtype == DType::kBFloat16);
      for (const graphs::Node& node : graph.nodes) {
        if (node.outputs[0] == static_cast<int>(i)) paths += node.path;
      }
    }
    return paths;
  }
};

bool any_half(const graphs::Node& node, std::span<const TensorType> types) {
  for (const TensorType& type : graphs::types_of(node.inputs, types)) {
    if (layers::is_half(type.dtype)) return true;
  }
  return layers::is_half(graphs::types_of(node.outputs, types)[0].dtype);
}

}  // namespace

TEST_CASE("values are stored in halves but for inputs, outputs, views, what they show, and what is kept") {
  const Chain chain;
  const auto always = [](const graphs::Node&, std::span<const TensorType>) { return std::string("same"); };
  CHECK(chain.stored(always) == "abcf");  // d is shown by a view, e and g are outputs
  CHECK(chain.stored(always, {chain.value("b")}) == "acf");
}

TEST_CASE("a value stays float32 where one of those who touch it would be computed otherwise") {
  const Chain chain;
  // The sum takes no halves: neither a, which it reads besides b, nor b, nor its own.
  CHECK(chain.stored([](const graphs::Node& node, std::span<const TensorType> types) {
    return std::string(node.path == "c" && any_half(node, types) ? "other" : "same");
  }) == "f");
  CHECK(chain.stored([](const graphs::Node& node, std::span<const TensorType> types) {
    return std::string(node.path == "f" && any_half(node, types) ? "" : "same");
  }) == "abc");
  // Computed by nothing at all: left for compile() to say so.
  CHECK(chain.stored([](const graphs::Node& node, std::span<const TensorType>) {
    return std::string(node.path == "g" ? "" : "same");
  }) == "abc");
  // Input and output each for itself: d takes a half in, but b gives none.
  CHECK(chain.stored([](const graphs::Node& node, std::span<const TensorType> types) {
    const bool gives = layers::is_half(graphs::types_of(node.outputs, types)[0].dtype);
    return std::string(node.path == "b" && gives ? "other" : "same");
  }) == "acf");
}

TEST_CASE("on the CPU, in float32 and where it is not wanted all values are float32") {
  const Network network = Network::from_memory(kChain, {});
  for (const Precision precision : {Precision::kFloat32, Precision::kFloat16, Precision::kBFloat16}) {
    CompileOptions options;
    options.precision = precision;
    const auto plan = network.compile(options);
    for (const PlanValue& value : plan->values) CHECK(value.type.dtype == DType::kFloat32);
  }
}

TEST_CASE("a network whose values are stored in halves keeps its bounds") {
  if (!cuda_available()) return;
  const std::string yaml =
      "strand: 1\nname: halves\nweights: {seed: 2}\ninputs:\n  x: {shape: [2, 64, length], defaults: {length: 4001}}\n"
      "layers:\n"
      "  - {name: a, type: Conv1d, in_channels: 64, out_channels: 64, kernel_size: 3, padding: 1}\n"
      "  - {name: a_relu, type: ReLU}\n"
      "  - {name: b, type: Conv1d, in_channels: 64, out_channels: 64, kernel_size: 3, padding: 2, dilation: 2}\n"
      "  - {name: b_relu, type: ReLU}\n"
      "  - {name: c, type: Conv1d, in_channels: 64, out_channels: 64, kernel_size: 3, padding: 1}\n"
      "  - {name: sum, type: Add, inputs: [c, a_relu]}\n"
      "  - {name: d, type: Conv1d, in_channels: 64, out_channels: 64, kernel_size: 7, padding: 3, groups: 64}\n"
      "  - {name: e, type: Conv1d, in_channels: 64, out_channels: 64, kernel_size: 6, stride: 2, padding: 2}\n"
      "  - {name: e_tanh, type: Tanh}\n"
      "  - {name: f, type: Conv1d, in_channels: 64, out_channels: 64, kernel_size: 7, padding: 3}\n"
      "outputs: [f]\n";
  const Network network = Network::from_memory(yaml, {});
  for (const int64_t length : {4000, 4001}) {
    TensorMap inputs;
    inputs.emplace("x", random_tensor({2, 64, length}));
    for (const Precision precision : {Precision::kFloat16, Precision::kBFloat16}) {
      graphs::CompareOptions options;
      options.compile.device = {DeviceType::kCuda, 0};
      options.compile.precision = precision;
      options.compile.dimensions["length"] = length;
      const auto plan = network.compile(options.compile);
      int64_t halves = 0;
      for (const PlanValue& value : plan->values) {
        if (value.type.dtype == layers::stored_type(precision)) ++halves;
      }
      CHECK(halves >= 4);
      CompileOptions floats = options.compile;
      floats.half_storage = false;
      const auto float_plan = network.compile(floats);
      for (const PlanValue& value : float_plan->values) CHECK(value.type.dtype == DType::kFloat32);
      CHECK(plan->arena_bytes < float_plan->arena_bytes);
      REQUIRE(plan->steps.size() == float_plan->steps.size());
      for (size_t i = 0; i < plan->steps.size(); ++i) {
        CHECK(plan->steps[i].implementation == float_plan->steps[i].implementation);
      }
      const graphs::Truth truth = graphs::find_truth(network, inputs, options);
      const graphs::DeviceErrors errors = graphs::compare_device(network, inputs, truth, options);
      for (const graphs::LayerErrors& layer : errors.layers) {
        CAPTURE(layer.path);
        CAPTURE(layer.implementation);
        CHECK(layer.errors.of_bound <= 1);
      }
      CHECK(errors.ok());
    }
  }
}

}  // namespace strand::testing
