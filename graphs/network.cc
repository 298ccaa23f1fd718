#include "graphs/network.h"

#include <algorithm>

#include "engine/checked.h"
#include "engine/cuda_runtime.h"
#include "graphs/description.h"
#include "graphs/fuse.h"
#include "graphs/io/file.h"
#include "graphs/io/safetensors.h"
#include "graphs/memory_planner.h"
#include "graphs/storage.h"
#include "layers/half_storage.h"

namespace strand::graphs {
namespace {

constexpr int64_t kMaxDescriptionBytes = int64_t{16} << 20;

Graph read_graph(std::string_view yaml, const std::string& file, const LoadOptions& options, Description& description) {
  description = read_description(yaml, file);
  return build_graph(description, options.registry != nullptr ? *options.registry : layers::default_registry());
}

NetworkWeights read_weights(const Graph& graph, const Description& description, const std::filesystem::path& folder,
                            const LoadOptions& options) {
  const WeightsDescription& described = description.weights;
  if (options.seed) return random_weights(graph, *options.seed);
  if (!options.weights.empty()) {
    return bind_weights(graph, read_safetensors(options.weights), described.dtype, options.weights.string());
  }
  if (described.seed) return random_weights(graph, *described.seed);
  if (described.file.empty()) return bind_weights(graph, {}, described.dtype, description.file + ": no weights given");
  try {
    return bind_weights(graph, parse_safetensors(open_inside(folder, described.file)), described.dtype, described.file);
  } catch (const Error& error) {
    throw error.at(description.file + ":" + std::to_string(described.line));
  }
}

std::string list_names(const std::vector<layers::Implementation>& list, DeviceType device) {
  std::string names;
  for (const layers::Implementation& each : list) {
    if (each.device == device) names += (names.empty() ? "" : ", ") + each.name;
  }
  return names.empty() ? "none" : names;
}

std::string list_reasons(const std::vector<layers::Implementation>& list, DeviceType device) {
  std::string reasons;
  for (const layers::Implementation& each : list) {
    if (each.device == device) reasons += "\n  " + each.name + ": " + each.declined;
  }
  return reasons.empty() ? " has none" : " declines:" + reasons;
}

// The name that decides for this node: the description's for this device, or the one asked for everywhere where the
// layer has one of that name, or none.
std::string asked_name(const Node& node, const std::vector<layers::Implementation>& list,
                       const CompileOptions& options) {
  const std::string device(to_string(options.device.type));
  const auto is_here = [&](const std::string& name) { return name.starts_with(device + "."); };
  const auto has = [&](const std::string& name) {
    return std::ranges::count(list, name, &layers::Implementation::name);
  };
  if (options.precision == Precision::kFloat64) return "cpu.reference";
  if (is_here(options.implementation) && has(options.implementation) > 0) return options.implementation;
  const auto named = std::ranges::find_if(node.implementations, is_here);
  if (named == node.implementations.end()) return "";
  if (has(*named) == 0) {
    throw Error(ErrorCategory::kSchema,
                "has no implementation '" + *named + "'; there is " + list_names(list, options.device.type));
  }
  return *named;
}

std::string tuning_key(const Node& node, std::span<const TensorType> inputs, const CompileOptions& options) {
  const std::string key = node.layer->tuning_key(inputs);
  return key.empty() ? "" : std::string(to_string(options.precision)) + " " + key;
}

// The implementation that was measured to be the fastest, where it is (still) there and takes the problem.
std::optional<size_t> measured_choice(const Node& node, std::span<const TensorType> inputs,
                                      const std::vector<layers::Implementation>& list, const CompileOptions& options) {
  if (options.tuning == nullptr) return std::nullopt;
  const auto pick = options.tuning->picks.find(tuning_key(node, inputs, options));
  if (pick == options.tuning->picks.end()) return std::nullopt;
  for (size_t i = 0; i < list.size(); ++i) {
    const bool fits = list[i].device == options.device.type && list[i].declined.empty();
    if (fits && list[i].name == pick->second) return i;
  }
  return std::nullopt;
}

struct Choice {
  size_t index = 0;
  bool tuned = false;
};

// The implementation to use. Throws where none fits or the one that was asked for declines.
Choice choose(const Node& node, std::span<const TensorType> inputs, const std::vector<layers::Implementation>& list,
              const CompileOptions& options) {
  const std::string asked = asked_name(node, list, options);
  if (asked.empty()) {
    if (const auto measured = measured_choice(node, inputs, list, options)) return {*measured, true};
  }
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].device != options.device.type) continue;
    if (asked.empty() ? !list[i].declined.empty() : list[i].name != asked) continue;
    if (list[i].declined.empty()) return {i, false};
    throw Error(ErrorCategory::kUnsupported, "implementation " + asked + " declines: " + list[i].declined);
  }
  throw Error(ErrorCategory::kUnsupported, "every implementation on " + std::string(to_string(options.device.type)) +
                                               list_reasons(list, options.device.type));
}

void check_options(const CompileOptions& options) {
  if (options.device.is_cuda()) cuda::check_device(options.device.index);
  if (options.precision == Precision::kFloat64 && options.device.is_cuda()) {
    throw Error(ErrorCategory::kUnsupported, "precision float64 is the reference's, which runs on the CPU");
  }
}

// Makes one Plan.
class Compiler {
 public:
  Compiler(const Graph& graph, const NetworkWeights& weights, WeightStore& store, const CompileOptions& options)
      : graph_(graph), weights_(weights), store_(store), options_(options) {
    check_options(options);
    types_ = infer_types(graph, options.dimensions,
                         options.precision == Precision::kFloat64 ? DType::kFloat64 : DType::kFloat32);
  }

  std::shared_ptr<const Plan> compile() {
    plan_->name = graph_.name;
    plan_->device = options_.device;
    plan_->precision = options_.precision;
    plan_->keeps_values = options_.keep_values;
    store_halves();
    for (size_t i = 0; i < types_.size(); ++i) plan_->values.push_back({types_[i], 0, static_cast<int>(i), {}});
    for (const Node& node : graph_.nodes) add(node);
    check_asked();
    for (const GraphInput& input : graph_.inputs) plan_->inputs.push_back({input.description.name, input.value});
    for (const GraphOutput& output : graph_.outputs) plan_->outputs.push_back({output.name, output.value});
    for (const std::string& name : options_.keep) plan_->kept.push_back({name, kept_value(graph_, name)});
    place();
    return std::move(plan_);
  }

  std::vector<std::vector<Candidate>> candidates() {
    std::vector<std::vector<Candidate>> result;
    for (const Node& node : graph_.nodes) {
      std::vector<Candidate>& row = result.emplace_back();
      if (node.layer->is_view()) continue;
      with_list(node, types_, [&](const layers::PrepareArgs& args, const std::vector<layers::Implementation>& list) {
        const Choice choice = choose(node, args.inputs, list, options_);
        for (size_t i = 0; i < list.size(); ++i) {
          const bool picked = i == choice.index;
          if (list[i].device != options_.device.type) continue;
          row.push_back({list[i].name, list[i].declined, picked, picked && choice.tuned});
        }
      });
    }
    check_asked();
    return result;
  }

  // The graph with layers fused that are computed no worse for it, and by no other name than was asked for.
  Graph fused() {
    const std::vector<int> keep = kept_values();
    const auto weights = [&](const Node& node) { return weights_of(node, weights_, options_.device, store_); };
    return fuse(graph_, types_, keep, weights, [&](const Node& producer, const Node& consumer, const Node& both) {
      bool asked = false;
      with_list(consumer, types_, [&](const layers::PrepareArgs&, const std::vector<layers::Implementation>& list) {
        asked = !asked_name(consumer, list, options_).empty();
      });
      return !asked && chosen_name(both, types_) == chosen_name(producer, types_);
    });
  }

  std::vector<std::string> tuning_keys() const {
    std::vector<std::string> keys;
    for (const Node& node : graph_.nodes) keys.push_back(tuning_key(node, types_of(node.inputs, types_), options_));
    return keys;
  }

 private:
  static int kept_value(const Graph& graph, const std::string& name) {
    const auto node = std::ranges::find(graph.nodes, name, &Node::path);
    if (node != graph.nodes.end()) return node->outputs[0];
    throw Error(ErrorCategory::kSchema, graph.file + ": no layer '" + name + "' to keep");
  }

  std::vector<int> kept_values() const {
    std::vector<int> values;
    for (const std::string& name : options_.keep) values.push_back(kept_value(graph_, name));
    return values;
  }

  void store_halves() {
    const DType half = layers::stored_type(options_.precision);
    if (!options_.half_storage || !options_.device.is_cuda() || half == DType::kFloat32) return;
    types_ = graphs::store_halves(
        graph_, types_, half, kept_values(),
        [&](const Node& node, std::span<const TensorType> types) { return chosen_name(node, types); });
  }

  // The implementation that a node gets; empty where none takes it.
  std::string chosen_name(const Node& node, std::span<const TensorType> all_types) {
    std::string name;
    with_list(node, all_types, [&](const layers::PrepareArgs& args, const std::vector<layers::Implementation>& list) {
      try {
        name = list[choose(node, args.inputs, list, options_).index].name;
      } catch (const Error& error) {
        if (error.category() != ErrorCategory::kUnsupported) throw;
      }
    });
    return name;
  }

  template <class Use>
  void with_list(const Node& node, std::span<const TensorType> types, Use&& use) {
    try {
      const std::vector<TensorType> inputs = types_of(node.inputs, types);
      const std::vector<TensorType> outputs = types_of(node.outputs, types);
      const layers::Weights weights = weights_of(node, weights_, options_.device, store_);
      const layers::PrepareArgs args{inputs,  outputs,           options_.device, options_.workspace_limit,
                                     weights, options_.precision};
      const std::vector<layers::Implementation> list = node.layer->implementations(args);
      asked_exists_ |= std::ranges::count(list, options_.implementation, &layers::Implementation::name) > 0;
      use(args, list);
    } catch (const Error& error) {
      throw error.at(node.where);
    }
  }

  void add(const Node& node) {
    if (node.layer->is_view()) {
      // Order of nodes guarantees that the input's storage is known.
      PlanValue& view = plan_->values[static_cast<size_t>(node.outputs[0])];
      const PlanValue& input = plan_->values[static_cast<size_t>(node.inputs[0])];
      view.storage = input.storage;
      const TimeMap time = node.layer->time_map(0, 0, std::vector{input.type});
      view.whole = time.is_whole() ? node.where + ": " + time.whole : input.whole;
      return;
    }
    with_list(node, types_, [&](const layers::PrepareArgs& args, const std::vector<layers::Implementation>& list) {
      const layers::Implementation& chosen = list[choose(node, args.inputs, list, options_).index];
      PlanStep step;
      step.name = node.path;
      step.type = node.type;
      step.where = node.where;
      step.implementation = chosen.name;
      step.kernel = chosen.prepare();
      step.inputs = node.inputs;
      step.outputs = node.outputs;
      for (int i = 0; i < static_cast<int>(node.inputs.size()); ++i) {
        for (int o = 0; o < static_cast<int>(node.outputs.size()); ++o) {
          step.times.push_back(node.layer->time_map(i, o, args.inputs));
        }
      }
      step.multiply_adds = node.layer->multiply_adds(args.inputs, args.outputs);
      for (const layers::Parameter& parameter : node.layer->parameters()) {
        step.weight_bytes += parameter.shape.elements() * size_of(DType::kFloat32);
      }
      plan_->steps.push_back(std::move(step));
    });
  }

  // A name for the other device is no mistake: one command may run on both.
  void check_asked() const {
    const std::string prefix = std::string(to_string(options_.device.type)) + ".";
    const std::string& asked = options_.implementation;
    if (asked.empty() || asked_exists_) return;
    if (!asked.starts_with(prefix) && (asked.starts_with("cpu.") || asked.starts_with("cuda."))) return;
    throw Error(ErrorCategory::kUnsupported, graph_.file + ": no layer has an implementation '" + asked + "'");
  }

  // Gives every value and workspace its place in the arena.
  void place() {
    const int steps = static_cast<int>(plan_->steps.size());
    std::vector<MemoryBlock> blocks(plan_->values.size() + plan_->steps.size());
    const auto block_of = [&](int value) -> MemoryBlock& {
      return blocks[static_cast<size_t>(plan_->values[static_cast<size_t>(value)].storage)];
    };
    for (size_t i = 0; i < plan_->values.size(); ++i) {
      blocks[i] = {plan_->values[i].storage == static_cast<int>(i) ? types_[i].bytes() : 0, steps, -1};
    }
    const auto live = [&](int value, int step) {
      if (value == kAbsent) return;
      MemoryBlock& block = block_of(value);
      block.first = std::min(block.first, step);
      block.last = std::max(block.last, step);
    };
    for (const PlanPort& input : plan_->inputs) live(input.value, 0);
    for (const PlanPort& output : plan_->outputs) live(output.value, std::max(steps - 1, 0));
    for (const PlanPort& kept : plan_->kept) live(kept.value, std::max(steps - 1, 0));
    for (int i = 0; i < steps; ++i) {
      const PlanStep& step = plan_->steps[static_cast<size_t>(i)];
      for (const int value : step.inputs) live(value, i);
      for (const int value : step.outputs) live(value, i);
      blocks[plan_->values.size() + static_cast<size_t>(i)] = {step.kernel->workspace_bytes(), i, i};
    }
    plan_->arena_bytes = options_.keep_values ? place_apart(blocks) : plan_memory(blocks);
    for (PlanValue& value : plan_->values) value.offset = blocks[static_cast<size_t>(value.storage)].offset;
    for (size_t i = 0; i < plan_->steps.size(); ++i) {
      plan_->steps[i].workspace_offset = blocks[plan_->values.size() + i].offset;
    }
  }

  static int64_t place_apart(std::vector<MemoryBlock>& blocks) {
    int64_t arena = 0;
    for (MemoryBlock& block : blocks) {
      block.offset = arena;
      arena = checked_add(arena, round_up(block.bytes, Buffer::kAlignment));
    }
    return arena;
  }

  const Graph& graph_;
  const NetworkWeights& weights_;
  WeightStore& store_;
  const CompileOptions& options_;
  std::vector<TensorType> types_;
  bool asked_exists_ = false;
  std::shared_ptr<Plan> plan_ = std::make_shared<Plan>();
};

}  // namespace

Network Network::load(const std::filesystem::path& path, const LoadOptions& options) {
  Network network;
  Description description;
  network.graph_ = read_graph(read_file(path, kMaxDescriptionBytes), path.string(), options, description);
  network.weights_ = read_weights(network.graph_, description, path.parent_path(), options);
  network.warnings_ = describe_unusual(network.weights_);
  return network;
}

Network Network::from_memory(std::string_view yaml, const TensorMap& weights, const LoadOptions& options) {
  Network network;
  Description description;
  network.graph_ = read_graph(yaml, "network", options, description);
  const std::optional<uint64_t> seed = options.seed ? options.seed : description.weights.seed;
  network.weights_ = seed ? random_weights(network.graph_, *seed)
                          : bind_weights(network.graph_, weights, description.weights.dtype, "the given weights");
  network.warnings_ = describe_unusual(network.weights_);
  return network;
}

const TensorMap& Network::weights(const Node& node) const { return weights_.find(node.path)->second; }

Graph Network::compiled_graph(const CompileOptions& options) const {
  if (!options.fuse || options.precision == Precision::kFloat64) return graph_;
  CompileOptions unmeasured = options;  // so that what is fused does not hang on what was tuned
  unmeasured.tuning = nullptr;
  return Compiler(graph_, weights_, *store_, unmeasured).fused();
}

std::shared_ptr<const Plan> Network::compile(const CompileOptions& options) const {
  return compile(compiled_graph(options), options);
}

std::shared_ptr<const Plan> Network::compile(const Graph& graph, const CompileOptions& options) const {
  return Compiler(graph, weights_, *store_, options).compile();
}

std::vector<std::vector<Candidate>> Network::candidates(const CompileOptions& options) const {
  const Graph graph = compiled_graph(options);
  return Compiler(graph, weights_, *store_, options).candidates();
}

std::vector<std::string> Network::tuning_keys(const CompileOptions& options) const {
  const Graph graph = compiled_graph(options);
  return Compiler(graph, weights_, *store_, options).tuning_keys();
}

}  // namespace strand::graphs
