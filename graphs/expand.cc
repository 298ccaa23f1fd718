#include "graphs/expand.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "graphs/evaluator.h"
#include "graphs/io/utf8.h"
#include "graphs/scalar.h"
#include "graphs/scope.h"
#include "layers/registry.h"

namespace strand::graphs {
namespace {

constexpr size_t kDeepest = 64;  // blocks within blocks: the expansion recurses

// Where a list of layers stands: what it sees, and what its paths begin with ("" or "net.0.").
struct Surroundings {
  Scope& scope;
  const Parameters& parameters;
  std::string path;
  std::string weights;
};

// One layer, or one block, that is being made.
struct Instance {
  const LayerNode& node;
  const Parameters& parameters;
  std::string path;
  std::string weights;
  std::string type{};
  const BlockNode* block = nullptr;  // null for a layer type
  std::vector<std::pair<std::string, layers::AttributeValue>> fields{};
  std::vector<Source> inputs{};                    // by position, or ...
  std::map<std::string, Source> inputs_by_port{};  // a layer type's only
};

using Outputs = std::vector<std::pair<std::string, Source>>;

class Expander {
 public:
  Expander(Reader& reader, const Blocks& blocks, Description& description)
      : reader_(reader), blocks_(blocks), description_(description), evaluator_(reader) {}

  void expand_network(const std::vector<LayerNode>& layers, const YamlNode* outputs);

 private:
  std::vector<std::string> layer_names(const std::vector<LayerNode>& layers, const Parameters& parameters);
  Outputs expand_list(const std::vector<LayerNode>& layers, const YamlNode* outputs, const Surroundings& around,
                      std::optional<Source> before);
  Binding expand_repeats(const LayerNode& node, size_t number, const Surroundings& around,
                         const std::optional<Source>& before);
  Outputs read_outputs(const YamlNode* node, const Surroundings& around, size_t layers, const std::string& last_name,
                       const Binding& last);

  Instance instance_of(const LayerNode& node, const Surroundings& around, const Parameters& parameters,
                       const std::string& name);
  void read_inputs(Instance& instance, const Scope& scope, size_t number, const std::optional<Source>& before);
  void order_block_inputs(Instance& instance) const;
  void feed(Instance& instance, const Binding& previous) const;

  Binding make(Instance& instance);
  Binding make_layer(Instance& instance);
  Binding make_block(Instance& instance);
  void set_parameters(Instance& instance, Parameters& body);

  Reader& reader_;
  const Blocks& blocks_;
  Description& description_;
  Evaluator evaluator_;
  std::vector<std::string> open_blocks_;  // being expanded, outermost first
};

void Expander::expand_network(const std::vector<LayerNode>& layers, const YamlNode* outputs) {
  const Parameters none;
  Scope scope(reader_, layers, layer_names(layers, none));
  std::optional<Source> first;
  for (size_t i = 0; i < description_.inputs.size(); ++i) {
    const InputDescription& input = description_.inputs[i];
    const Source source{.is_input = true, .index = static_cast<int>(i), .port = ""};
    scope.add_input(input.name, source, input.line);
    if (description_.inputs.size() == 1) first = source;
  }
  for (auto& [name, source] : expand_list(layers, outputs, {scope, none, "", ""}, first)) {
    description_.outputs.push_back({.name = name, .source = source});
  }
}

std::vector<std::string> Expander::layer_names(const std::vector<LayerNode>& layers, const Parameters& parameters) {
  std::vector<std::string> names;
  names.reserve(layers.size());
  for (const LayerNode& layer : layers) {
    names.push_back(evaluator_.text(*layer.name, parameters, "a layer's name"));
    reader_.check_identifier(names.back(), layer.name->line, "a layer's name");
  }
  return names;
}

Outputs Expander::expand_list(const std::vector<LayerNode>& layers, const YamlNode* outputs, const Surroundings& around,
                              std::optional<Source> before) {
  Binding last;
  const std::string subject = reader_.set_subject("");
  for (size_t i = 0; i < layers.size(); ++i) {
    const LayerNode& node = layers[i];
    const std::string& name = around.scope.name(i);
    reader_.set_subject("layer " + in_quotes(around.path + name));
    if (node.repeat != nullptr) {
      last = expand_repeats(node, i, around, before);
    } else {
      Instance instance = instance_of(node, around, around.parameters, name);
      read_inputs(instance, around.scope, i, before);
      last = make(instance);
    }
    around.scope.add(name, last);
    before = last.outputs.front().second;
  }
  reader_.set_subject(subject);
  return read_outputs(outputs, around, layers.size(), around.scope.name(layers.size() - 1), last);
}

Binding Expander::expand_repeats(const LayerNode& node, size_t number, const Surroundings& around,
                                 const std::optional<Source>& before) {
  Binding previous;
  const std::string& name = around.scope.name(number);
  const Repeats repeats = evaluator_.repeats(*node.repeat, around.parameters);
  for (int64_t i = 0; i < repeats.count; ++i) {
    Parameters parameters(&around.parameters);
    parameters.set("index", i);
    for (const auto& [field, values] : repeats.values) parameters.set(field, values[static_cast<size_t>(i)]);
    const std::string numbered = name + "." + std::to_string(i);
    Instance instance = instance_of(node, around, parameters, numbered);
    for (const auto& [field, values] : repeats.values) {
      const auto given = std::ranges::find(instance.fields, field, [](const auto& pair) { return pair.first; });
      if (given != instance.fields.end()) throw reader_.fail(node.line, "'" + field + "' is given, and repeated too");
      evaluator_.spend(node.line, 1);
      instance.fields.emplace_back(field, values[static_cast<size_t>(i)]);
    }
    read_inputs(instance, around.scope, number, before);
    if (i > 0) feed(instance, previous);
    previous = make(instance);
    around.scope.add(numbered, previous);
  }
  return previous;
}

Outputs Expander::read_outputs(const YamlNode* node, const Surroundings& around, size_t layers,
                               const std::string& last_name, const Binding& last) {
  Outputs outputs;
  if (node == nullptr) {
    outputs.emplace_back(last_name, last.outputs.front().second);
    return outputs;
  }
  std::set<std::string> names;
  const auto add = [&](std::string name, const YamlNode& reference) {
    const std::string text = evaluator_.text(reference, around.parameters, "an output");
    if (name.empty()) name = text;
    if (!names.insert(name).second) throw reader_.fail(reference.line, "duplicate output " + in_quotes(name));
    outputs.emplace_back(name, around.scope.resolve(text, layers, reference.line));
  };
  if (node->is_scalar()) add("", *node);
  for (const YamlNode& item : node->items) add("", item);
  for (const YamlEntry& entry : node->entries) add(entry.key, entry.value);
  if (outputs.empty()) throw reader_.fail(node->line, "outputs is empty; leave it out to mean the last layer");
  return outputs;
}

Instance Expander::instance_of(const LayerNode& node, const Surroundings& around, const Parameters& parameters,
                               const std::string& name) {
  Instance instance{
      .node = node, .parameters = parameters, .path = around.path + name, .weights = around.weights + name};
  instance.type = evaluator_.text(*node.type, parameters, "type");
  if (instance.type.empty()) throw reader_.fail(node.type->line, "type is empty");
  reader_.set_subject(instance.type + " " + in_quotes(instance.path));
  if (instance.path.size() > kMostNameBytes) {
    throw reader_.fail(node.line, "a path of more than " + std::to_string(kMostNameBytes) + " bytes",
                       ErrorCategory::kLimit);
  }
  const auto block = blocks_.find(instance.type);
  if (block != blocks_.end()) instance.block = &block->second;
  if (node.weights != nullptr) {
    instance.weights = evaluator_.text(*node.weights, parameters, "weights");
    if (instance.weights.starts_with('.')) {
      instance.weights = around.weights + instance.weights.substr(1);
      if (instance.weights.ends_with('.')) instance.weights.pop_back();  // `.`: the block's own
    }
  }
  for (const YamlEntry* field : node.fields) {
    instance.fields.emplace_back(field->key, evaluator_.value(field->value, parameters));
  }
  return instance;
}

void Expander::read_inputs(Instance& instance, const Scope& scope, size_t number, const std::optional<Source>& before) {
  const YamlNode* node = instance.node.inputs;
  const auto resolve = [&](const YamlNode& reference) {
    return scope.resolve(evaluator_.text(reference, instance.parameters, "an input"), number, reference.line);
  };
  const auto append = [&](const YamlNode& reference) {
    const std::string text = evaluator_.text(reference, instance.parameters, "an input");
    for (const Source& source : scope.resolve_all(text, number, reference.line)) {
      evaluator_.spend(reference.line, 1);
      instance.inputs.push_back(source);
    }
  };
  if (node == nullptr) {
    if (!before) {
      throw reader_.fail(instance.node.line,
                         "missing key 'inputs': the first layer of a network with several inputs "
                         "must say which it takes");
    }
    instance.inputs.push_back(*before);
  } else if (node->is_list()) {
    for (const YamlNode& item : node->items) append(item);
  } else if (node->is_map()) {
    for (const YamlEntry& entry : node->entries) {
      reader_.check_identifier(entry.key, entry.line, "an input's name");
      instance.inputs_by_port.emplace(entry.key, resolve(entry.value));
    }
  } else {
    append(*node);
  }
  if (instance.block != nullptr) order_block_inputs(instance);
}

// One source for each of the block's inputs, in its order.
void Expander::order_block_inputs(Instance& instance) const {
  const BlockNode& block = *instance.block;
  const int line = instance.node.inputs == nullptr ? instance.node.line : instance.node.inputs->line;
  if (instance.inputs_by_port.empty()) {
    if (instance.inputs.size() == block.inputs.size()) return;
    std::string names;
    for (const std::string& name : block.inputs) names += (names.empty() ? "" : ", ") + name;
    throw reader_.fail(line, std::to_string(instance.inputs.size()) + " inputs; block '" + block.name + "' takes " +
                                 std::to_string(block.inputs.size()) + " (" + names + ")");
  }
  for (const auto& [name, source] : instance.inputs_by_port) {
    if (std::ranges::find(block.inputs, name) != block.inputs.end()) continue;
    throw reader_.fail(
        line, "block '" + block.name + "' has no input '" + name + "'" + layers::did_you_mean(name, block.inputs));
  }
  for (const std::string& name : block.inputs) {
    const auto found = instance.inputs_by_port.find(name);
    if (found == instance.inputs_by_port.end()) {
      throw reader_.fail(line, "missing input '" + name + "' of block '" + block.name + "'");
    }
    instance.inputs.push_back(found->second);
  }
  instance.inputs_by_port.clear();
}

// A repeat takes what the one before it gave, by position; its further inputs are as they were for the first.
void Expander::feed(Instance& instance, const Binding& previous) const {
  if (!instance.inputs_by_port.empty()) {
    const auto port = instance.inputs_by_port.find("input");
    if (port != instance.inputs_by_port.end()) {
      port->second = previous.outputs.front().second;
      return;
    }
    throw reader_.fail(instance.node.inputs->line, "repeat feeds the input named 'input', which is not among these");
  }
  if (instance.inputs.empty()) throw reader_.fail(instance.node.line, "repeat of a layer without inputs");
  const size_t count = std::min(instance.inputs.size(), previous.outputs.size());
  for (size_t i = 0; i < count; ++i) instance.inputs[i] = previous.outputs[i].second;
}

Binding Expander::make(Instance& instance) {
  return instance.block == nullptr ? make_layer(instance) : make_block(instance);
}

Binding Expander::make_layer(Instance& instance) {
  const LayerNode& node = instance.node;
  if (description_.layers.size() >= kMostLayers) {
    throw reader_.fail(node.line, "more than " + std::to_string(kMostLayers) + " layers", ErrorCategory::kLimit);
  }
  LayerDescription layer;
  layer.path = instance.path;
  layer.weights_path = instance.weights;
  layer.type = instance.type;
  layer.line = node.line;
  for (auto& [name, value] : instance.fields) layer.attributes.set(name, std::move(value));
  if (node.implementation != nullptr) {
    layer.implementations = evaluator_.implementations(*node.implementation, instance.parameters);
  }
  layer.inputs = std::move(instance.inputs);
  layer.inputs_by_port = std::move(instance.inputs_by_port);
  const Source source{.is_input = false, .index = static_cast<int>(description_.layers.size()), .port = ""};
  description_.layers.push_back(std::move(layer));
  return {.outputs = {{"", source}}, .is_layer = true};
}

Binding Expander::make_block(Instance& instance) {
  const BlockNode& block = *instance.block;
  const LayerNode& node = instance.node;
  if (node.implementation != nullptr) {
    throw reader_.fail(node.implementation->line, "a block has no implementation; say it of the layers in it");
  }
  const auto same = std::ranges::find(open_blocks_, block.name);
  if (same != open_blocks_.end()) {
    std::string path;
    for (auto open = same; open != open_blocks_.end(); ++open) path += *open + " -> ";
    throw reader_.fail(node.line, "block '" + block.name + "' holds itself: " + path + block.name);
  }
  if (open_blocks_.size() >= kDeepest) {
    throw reader_.fail(node.line, "blocks within blocks, more than " + std::to_string(kDeepest) + " deep",
                       ErrorCategory::kLimit);
  }
  Parameters body;
  set_parameters(instance, body);
  open_blocks_.push_back(block.name);
  Scope scope(reader_, block.layers, layer_names(block.layers, body));
  for (size_t i = 0; i < block.inputs.size(); ++i) scope.add_input(block.inputs[i], instance.inputs[i], block.line);
  const std::string weights = instance.weights.empty() ? "" : instance.weights + ".";
  const auto first = static_cast<int>(description_.layers.size());
  Outputs outputs =
      expand_list(block.layers, block.outputs, {scope, body, instance.path + ".", weights}, instance.inputs.front());
  open_blocks_.pop_back();
  for (const auto& [name, source] : outputs) {
    if (outputs.size() > 1 && !source.is_input && source.index >= first) {
      description_.layers[static_cast<size_t>(source.index)].may_be_unused = true;
    }
  }
  for (auto& [name, source] : outputs) name = name.substr(name.find(':') + 1);  // `lstm:h_n` is called h_n outside
  return {.outputs = std::move(outputs)};
}

// The block's parameters from the fields given, the repeat's index, and defaults.
void Expander::set_parameters(Instance& instance, Parameters& body) {
  const BlockNode& block = *instance.block;
  std::vector<std::string> names;
  for (const BlockParameter& parameter : block.parameters) names.push_back(parameter.name);
  for (auto& [name, value] : instance.fields) {
    if (std::ranges::find(names, name) == names.end()) {
      throw reader_.fail(instance.node.line, "block '" + block.name + "' has no parameter '" + name + "'" +
                                                 layers::did_you_mean(name, names));
    }
    body.set(name, std::move(value));
  }
  if (const layers::AttributeValue* index = instance.parameters.find("index")) body.set("index", *index);
  for (const BlockParameter& parameter : block.parameters) {
    if (body.find(parameter.name) != nullptr) continue;
    if (parameter.fallback == nullptr) {
      throw reader_.fail(instance.node.line,
                         "missing parameter '" + parameter.name + "' of block '" + block.name + "'");
    }
    body.set(parameter.name, evaluator_.value(*parameter.fallback, body));
  }
}

}  // namespace

void expand(Reader& reader, const Blocks& blocks, const std::vector<LayerNode>& layers, const YamlNode* outputs,
            Description& description) {
  Expander(reader, blocks, description).expand_network(layers, outputs);
}

}  // namespace strand::graphs
