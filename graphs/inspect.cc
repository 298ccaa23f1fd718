#include "graphs/inspect.h"

#include <algorithm>

#include "engine/checked.h"
#include "engine/stream_times.h"

namespace strand::graphs {
namespace {

std::vector<ExtentSummary> extents_of(const Graph& graph, std::span<const TensorType> types) {
  std::vector<ExtentSummary> extents;
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    if (types[static_cast<size_t>(graph.inputs[i].value)].time_axis == TensorType::kNoTime) continue;
    for (size_t o = 0; o < graph.outputs.size(); ++o) {
      extents.push_back({graph.inputs[i].description.name, graph.outputs[o].name,
                         time_extent(graph, types, graph.inputs[i].value, graph.outputs[o].value)});
    }
  }
  return extents;
}

StreamSummary stream_of(const Plan& plan) {
  StreamSummary summary;
  try {
    const StreamTimes times(plan);
    for (size_t output = 0; output < plan.outputs.size(); ++output) {
      summary.latency = std::max(summary.latency, times.latency(output));
    }
    summary.period = times.period();
    summary.state_bytes = stream_state_bytes(plan, times.sizes(1));
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::kUnsupported && error.category() != ErrorCategory::kLimit) throw;
    summary.refused = error.what();
  }
  return summary;
}

}  // namespace

std::string LayerSummary::implementation() const {
  const auto picked = std::ranges::find_if(candidates, &Candidate::picked);
  return picked == candidates.end() ? "" : picked->name;
}

NetworkSummary summarise(const Network& network, const CompileOptions& options) {
  const Graph graph = network.compiled_graph(options);
  const DType dtype = options.precision == Precision::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  const std::vector<TensorType> types = infer_types(graph, options.dimensions, dtype);
  NetworkSummary summary;
  summary.name = graph.name;
  summary.device = options.device;
  summary.precision = options.precision;
  for (const GraphInput& input : graph.inputs) {
    summary.inputs.push_back({input.description.name, types[static_cast<size_t>(input.value)]});
  }
  for (const GraphOutput& output : graph.outputs) {
    summary.outputs.push_back({output.name, types[static_cast<size_t>(output.value)]});
  }
  const std::shared_ptr<const Plan> plan = network.compile(graph, options);
  std::vector<TensorType> stored;
  for (const PlanValue& value : plan->values) stored.push_back(value.type);
  const std::vector<std::vector<Candidate>> candidates = network.candidates(options);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    LayerSummary layer{node.path, node.type, {}, types_of(node.outputs, stored), 0, 0, {}};
    for (const FusedLayer& part : node.fused) layer.fused.push_back(part.path);
    const auto count = [&](const layers::Layer& part) {
      for (const layers::Parameter& parameter : part.parameters()) {
        layer.parameters = checked_add(layer.parameters, parameter.shape.elements());
      }
    };
    // As the state_dict has them, whatever was fused.
    if (node.fused.empty()) count(*node.layer);
    for (const FusedLayer& part : node.fused) count(*part.layer);
    layer.multiply_adds = node.layer->multiply_adds(types_of(node.inputs, types), layer.outputs);
    layer.candidates = candidates[i];
    summary.parameters = checked_add(summary.parameters, layer.parameters);
    summary.multiply_adds = checked_add(summary.multiply_adds, layer.multiply_adds);
    summary.layers.push_back(std::move(layer));
  }
  summary.extents = extents_of(graph, types);
  summary.arena_bytes = plan->arena_bytes;
  summary.stream = stream_of(*plan);
  summary.rate = graph.inputs.empty() ? 0 : graph.inputs[0].description.rate;
  for (const PlanStep& step : plan->steps) {
    summary.weight_bytes = checked_add(summary.weight_bytes, step.weight_bytes);
  }
  return summary;
}

}  // namespace strand::graphs
