#include "graphs/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/error.h"
#include "engine/session.h"
#include "graphs/normal.h"
#include "graphs/reference.h"
#include "layers/half_storage.h"

namespace strand::graphs {
namespace {

constexpr double kAllowance = 4;        // times a sequential float32 run's error
constexpr double kSequentialRms = 0.5;  // of such a run, in units of eps * scale
constexpr double kFloat32Eps = 0x1p-24;
constexpr double kSmallestFloat = 0x1p-149;  // a subnormal result is rounded by up to half of it
constexpr int64_t kDrawnElements = 64;       // fewer would make the largest error a matter of luck
constexpr int64_t kMaxDraws = 8;

Tensor to_double(const TensorView& view) {
  Tensor host = copy_of(view);
  return is_floating_point(host.type().dtype) ? host.to(DType::kFloat64) : std::move(host);
}

// As a device gets it: float32, on the host, with the time axis that the graph gives it.
std::vector<Tensor> device_inputs(const Graph& graph, const TensorMap& inputs) {
  std::vector<Tensor> result;
  for (const GraphInput& input : graph.inputs) {
    const auto found = inputs.find(input.description.name);
    if (found == inputs.end()) {
      throw Error(ErrorCategory::kShape, graph.file + ": input '" + input.description.name + "' was not given");
    }
    const bool floating = is_floating_point(found->second.type().dtype);
    result.push_back(floating ? found->second.to(DType::kFloat32) : copy_of(found->second.view()));
  }
  return result;
}

std::vector<TensorView> views_of(std::span<const Tensor> tensors) {
  std::vector<TensorView> views;
  for (const Tensor& tensor : tensors) views.push_back(tensor.view());
  return views;
}

// Walks the nodes in double; values are dropped after their last use.
class ReferenceRun {
 public:
  ReferenceRun(const Network& network, const CompareOptions& options, std::span<const Tensor> inputs)
      : network_(network),
        graph_(network.graph()),
        options_(options),
        types_(infer_types(graph_, options.compile.dimensions, DType::kFloat64)),
        inputs_(inputs),
        context_(Device{}, options.threads) {
    last_use_.assign(types_.size(), -1);
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      for (const int value : graph_.nodes[i].inputs) {
        if (value != kAbsent) last_use_[static_cast<size_t>(value)] = static_cast<int>(i);
      }
    }
    for (const GraphOutput& output : graph_.outputs) {
      last_use_[static_cast<size_t>(output.value)] = std::numeric_limits<int>::max();
    }
  }

  // `noise`, where given, adds a sequential float32 run's rounding to what each layer makes.
  TensorMap run(Normal* noise) {
    std::vector<Tensor> values(types_.size());
    for (size_t i = 0; i < graph_.inputs.size(); ++i) {
      values[static_cast<size_t>(graph_.inputs[i].value)] = to_double(inputs_[i].view());
    }
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      if (options_.progress) options_.progress(node.path);
      std::vector<Tensor> outputs = run_node(node, values, noise);
      for (size_t port = 0; port < outputs.size(); ++port) {
        values[static_cast<size_t>(node.outputs[port])] = std::move(outputs[port]);
      }
      for (const int value : node.inputs) {
        if (value != kAbsent && last_use_[static_cast<size_t>(value)] == static_cast<int>(i)) {
          values[static_cast<size_t>(value)] = Tensor();
        }
      }
    }
    TensorMap outputs;
    for (const GraphOutput& output : graph_.outputs) {
      outputs.emplace(output.name, copy_of(values[static_cast<size_t>(output.value)].view()));
    }
    return outputs;
  }

 private:
  std::vector<Tensor> run_node(const Node& node, std::span<const Tensor> values, Normal* noise) const {
    std::vector<TensorView> inputs;
    for (const int value : node.inputs) {
      inputs.push_back(value == kAbsent ? TensorView{} : values[static_cast<size_t>(value)].view());
    }
    const ReferenceLayer layer(network_, node, types_of(node.inputs, types_));
    std::vector<Tensor> outputs = layer.run(context_, inputs);
    if (noise == nullptr) return outputs;
    const std::vector<Tensor> scales = layer.scales(context_, inputs, outputs);
    const double unit =
        kSequentialRms * std::max(eps_of(options_.compile.precision), kFloat32Eps) * std::min(layer.factor(), 1.0);
    for (size_t port = 0; port < outputs.size(); ++port) {
      if (outputs[port].type().dtype != DType::kFloat64) continue;
      const std::span<const double> scale = scales[port].as<const double>();
      const std::span<double> output = outputs[port].as<double>();
      for (size_t i = 0; i < output.size(); ++i) {
        output[i] += (unit * scale[i] + stored_rms(output[i])) * noise->next();
      }
    }
    return outputs;
  }

  // Of what storing a value in halves adds, wherever that may be done.
  double stored_rms(double value) const {
    const DType type = layers::stored_type(options_.compile.precision);
    if (!options_.compile.half_storage || type == DType::kFloat32) return 0;
    return kSequentialRms * layers::storing_eps(type) * std::fabs(value) + layers::storing_floor(type);
  }

  const Network& network_;
  const Graph& graph_;
  const CompareOptions& options_;
  std::vector<TensorType> types_;
  std::span<const Tensor> inputs_;
  Context context_;
  std::vector<int> last_use_;  // of each value, the node's index
};

double largest_difference(const Tensor& a, const Tensor& b) {
  if (a.type().dtype != DType::kFloat64) return 0;
  const std::span<const double> left = a.as<const double>();
  const std::span<const double> right = b.as<const double>();
  double largest = 0;
  for (size_t i = 0; i < left.size(); ++i) {
    const double difference = std::fabs(left[i] - right[i]);
    if (std::isfinite(difference)) largest = std::max(largest, difference);
  }
  return largest;
}

// What one element's error is of its bound. Equal values, infinite ones and NaN on both sides are no error.
double share_of_bound(double value, double truth, double bound, DType type) {
  if (value == truth || (std::isnan(value) && std::isnan(truth))) return 0;
  // Past the range of what is stored the device's infinity is the right answer.
  if (std::isinf(value) && static_cast<double>(static_cast<float>(truth)) == value) return 0;
  if (std::isinf(value) && std::signbit(value) == std::signbit(truth) && layers::is_half(type)) {
    if (std::fabs(truth) + bound >= layers::stored_limit(type)) return 0;
  }
  const double error = std::fabs(value - truth);
  return std::isfinite(error) ? error / (bound + kSmallestFloat) : std::numeric_limits<double>::infinity();
}

void keep_worst(ElementErrors& worst, const ElementErrors& errors) {
  worst.largest = std::max(worst.largest, errors.largest);
  worst.relative = std::max(worst.relative, errors.relative);
  worst.of_bound = std::max(worst.of_bound, errors.of_bound);
}

// To the bounds of what is stored, what storing rounds by.
void add_storing(std::span<double> bounds, std::span<const double> truths, DType type) {
  for (size_t i = 0; i < bounds.size(); ++i) {
    bounds[i] += layers::storing_eps(type) * (std::fabs(truths[i]) + bounds[i]) + layers::storing_floor(type);
  }
}

LayerErrors compare_step(const Network& network, const Node& node, const Session& session, const PlanStep& step,
                         const Context& host) {
  std::vector<Tensor> inputs;
  std::vector<TensorType> types;
  std::vector<TensorView> views;
  for (const int value : step.inputs) {
    inputs.push_back(value == kAbsent ? Tensor() : to_double(session.value(value)));
    types.push_back(value == kAbsent ? TensorType{} : in_double(session.value(value).type));
    views.push_back(value == kAbsent ? TensorView{} : inputs.back().view());
  }
  const ReferenceLayer reference(network, node, types);
  const std::vector<Tensor> truths = reference.run(host, views);
  std::vector<Tensor> scales = reference.scales(host, views, truths);
  const double unit = reference.factor() * eps_of(session.plan().precision);
  LayerErrors result{step.name, step.type, step.implementation, {}};
  for (size_t port = 0; port < truths.size(); ++port) {
    std::span<double> bounds;
    if (truths[port].type().dtype == DType::kFloat64) bounds = scales[port].as<double>();
    for (double& bound : bounds) bound *= unit;
    const Tensor output = copy_of(session.value(step.outputs[port]));
    const DType type = output.type().dtype;
    if (layers::is_half(type) && !bounds.empty()) add_storing(bounds, truths[port].as<const double>(), type);
    keep_worst(result.errors, element_errors(output, truths[port], bounds));
  }
  return result;
}

}  // namespace

ElementErrors element_errors(const Tensor& values, const Tensor& truth, std::span<const double> bounds) {
  if (values.shape() != truth.shape()) {
    throw Error(ErrorCategory::kShape,
                "has shape " + to_string(values.shape()) + ", expected " + to_string(truth.shape()));
  }
  ElementErrors result;
  if (!is_floating_point(truth.type().dtype) || !is_floating_point(values.type().dtype)) {
    const bool equal =
        values.type().dtype == truth.type().dtype &&
        std::memcmp(values.view().data, truth.view().data, static_cast<size_t>(truth.type().bytes())) == 0;
    result.of_bound = equal ? 0 : std::numeric_limits<double>::infinity();
    return result;
  }
  const Tensor left = values.to(DType::kFloat64);
  const Tensor right = truth.to(DType::kFloat64);
  const std::span<const double> found = left.as<const double>();
  const std::span<const double> expected = right.as<const double>();
  double magnitude = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const double error = std::fabs(found[i] - expected[i]);
    if (std::isfinite(error)) result.largest = std::max(result.largest, error);
    if (std::isfinite(expected[i])) magnitude = std::max(magnitude, std::fabs(expected[i]));
    const double bound = bounds.size() == 1 ? bounds[0] : bounds[i];
    result.of_bound = std::max(result.of_bound, share_of_bound(found[i], expected[i], bound, values.type().dtype));
  }
  result.relative = magnitude > 0 ? result.largest / magnitude : 0;
  return result;
}

Truth find_truth(const Network& network, const TensorMap& inputs, const CompareOptions& options) {
  const std::vector<Tensor> tensors = device_inputs(network.graph(), inputs);
  ReferenceRun reference(network, options, tensors);
  Truth truth;
  truth.outputs = reference.run(nullptr);
  int64_t fewest = kDrawnElements;
  for (const auto& [name, output] : truth.outputs) fewest = std::min(fewest, output.shape().elements());
  const int64_t draws = std::min(kMaxDraws, kDrawnElements / std::max<int64_t>(fewest, 1));
  Normal noise(0);
  for (int64_t draw = 0; draw < draws; ++draw) {
    for (const auto& [name, output] : reference.run(&noise)) {
      double& allowance = truth.allowances[name];
      allowance = std::max(allowance, kAllowance * largest_difference(output, truth.outputs.find(name)->second));
    }
  }
  return truth;
}

std::vector<OutputErrors> compare_outputs(const TensorMap& outputs, const TensorMap& expected, const Truth& truth) {
  std::vector<OutputErrors> results;
  for (const auto& [name, output] : outputs) {
    const auto found = expected.find(name);
    if (found == expected.end()) continue;
    const double allowance = truth.allowances.find(name)->second;
    try {
      results.push_back({name, allowance, element_errors(output, found->second, {&allowance, 1})});
    } catch (const Error& error) {
      throw error.at("output '" + name + "'");
    }
  }
  return results;
}

DeviceErrors compare_device(const Network& network, const TensorMap& inputs, const Truth& truth,
                            const CompareOptions& options) {
  CompileOptions compile = options.compile;
  compile.keep_values = true;
  const std::vector<Tensor> tensors = device_inputs(network.graph(), inputs);
  Session session(network.compile(compile), options.threads);
  const Plan& plan = session.plan();
  DeviceErrors result;
  std::vector<Tensor> outputs = session.run_to_host(views_of(tensors));
  for (size_t i = 0; i < outputs.size(); ++i) result.values.emplace(plan.outputs[i].name, std::move(outputs[i]));
  const Context host(Device{}, options.threads);
  const Graph graph = network.compiled_graph(compile);
  for (const PlanStep& step : plan.steps) {
    if (options.progress) options.progress(step.name);
    const auto node = std::ranges::find(graph.nodes, step.name, &Node::path);
    if (node == graph.nodes.end()) continue;
    result.layers.push_back(compare_step(network, *node, session, step, host));
  }
  result.outputs = compare_outputs(result.values, truth.outputs, truth);
  return result;
}

bool DeviceErrors::ok() const {
  return std::ranges::all_of(layers, [](const LayerErrors& layer) { return layer.errors.ok(); }) &&
         std::ranges::all_of(outputs, [](const OutputErrors& output) { return output.errors.ok(); });
}

}  // namespace strand::graphs
