#include "graphs/graph.h"

#include <algorithm>

namespace strand::graphs {
namespace {

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::vector<std::string> names_of(const std::vector<layers::Port>& ports) {
  std::vector<std::string> names;
  for (const layers::Port& port : ports) names.push_back(port.name);
  return names;
}

// Builds one Graph; keeps what is known of values while layers are added.
class Builder {
 public:
  Builder(const Description& description, const layers::LayerRegistry& registry)
      : description_(description), registry_(registry) {}

  Graph build() {
    graph_.name = description_.name;
    graph_.file = description_.file;
    for (const InputDescription& input : description_.inputs) graph_.inputs.push_back({input, graph_.values++});
    used_.assign(description_.inputs.size(), false);
    find_needed();
    for (size_t i = 0; i < description_.layers.size(); ++i) add(i);
    for (const OutputDescription& output : description_.outputs) {
      graph_.outputs.push_back({output.name, value_of(output.source, graph_.file)});
    }
    check_used();
    return std::move(graph_);
  }

 private:
  // A layer is needed by an output, by a layer that is, or because leaving it without use is a mistake.
  void find_needed() {
    needed_.assign(description_.layers.size(), false);
    std::vector<bool> has_user(description_.layers.size(), false);
    const auto use = [&](const Source& source, bool needed) {
      if (source.is_input) return;
      const auto layer = static_cast<size_t>(source.index);
      has_user[layer] = true;
      needed_[layer] = needed_[layer] || needed;
    };
    for (const OutputDescription& output : description_.outputs) use(output.source, true);
    for (size_t i = description_.layers.size(); i-- > 0;) {
      const LayerDescription& layer = description_.layers[i];
      if (!has_user[i] && !layer.may_be_unused) needed_[i] = true;
      for (const Source& source : layer.inputs) use(source, needed_[i]);
      for (const auto& [port, source] : layer.inputs_by_port) use(source, needed_[i]);
    }
  }

  void add(size_t index) {
    const LayerDescription& layer = description_.layers[index];
    Node node;
    node.path = layer.path;
    node.weights_path = layer.weights_path;
    node.type = layer.type;
    node.where = location(description_, layer);
    node.implementations = layer.implementations;
    try {
      node.layer = registry_.make(layer.type, layer.attributes);
      if (!needed_[index]) {
        node_of_.push_back(0);
        graph_.unused.push_back(std::move(node));
        return;
      }
      const std::vector<layers::Port> ports = node.layer->inputs();
      node.inputs = layer.inputs_by_port.empty() ? by_position(layer, ports) : by_port(layer, ports);
    } catch (const Error& error) {
      throw error.at(node.where);
    }
    for (size_t i = 0; i < node.layer->outputs().size(); ++i) {
      node.outputs.push_back(graph_.values++);
      used_.push_back(false);
    }
    node_of_.push_back(graph_.nodes.size());
    graph_.nodes.push_back(std::move(node));
  }

  std::vector<int> by_position(const LayerDescription& layer, const std::vector<layers::Port>& ports) {
    const bool variadic = !ports.empty() && ports.back().variadic;
    const auto required =
        static_cast<size_t>(std::ranges::count_if(ports, [](const layers::Port& port) { return !port.optional; }));
    if (layer.inputs.size() < required || (layer.inputs.size() > ports.size() && !variadic)) {
      throw Error(ErrorCategory::kSchema, "has " + std::to_string(layer.inputs.size()) + " inputs, expected " +
                                              std::to_string(required) +
                                              (variadic ? " or more" : ": " + join(names_of(ports))));
    }
    std::vector<int> values;
    for (const Source& source : layer.inputs) values.push_back(value_of(source, layer.path));
    values.resize(std::max(values.size(), ports.size()), kAbsent);
    return values;
  }

  std::vector<int> by_port(const LayerDescription& layer, const std::vector<layers::Port>& ports) {
    std::vector<int> values;
    size_t found = 0;
    for (const layers::Port& port : ports) {
      const auto source = layer.inputs_by_port.find(port.name);
      if (source != layer.inputs_by_port.end()) {
        values.push_back(value_of(source->second, layer.path));
        ++found;
      } else if (port.optional) {
        values.push_back(kAbsent);
      } else {
        throw Error(ErrorCategory::kSchema, "input '" + port.name + "' is missing");
      }
    }
    if (found < layer.inputs_by_port.size()) {
      for (const auto& [name, source] : layer.inputs_by_port) {
        if (std::ranges::count(names_of(ports), name) == 0) {
          throw Error(ErrorCategory::kSchema, "has no input '" + name + "'; it has " + join(names_of(ports)));
        }
      }
    }
    return values;
  }

  int value_of(const Source& source, const std::string& user) {
    int value = source.index;
    if (!source.is_input) {
      const Node& node = graph_.nodes[node_of_[static_cast<size_t>(source.index)]];
      const std::vector<std::string> outputs = node.layer->outputs();
      const auto port = source.port.empty() ? outputs.begin() : std::ranges::find(outputs, source.port);
      if (port == outputs.end()) {
        throw Error(ErrorCategory::kSchema, "'" + user + "' uses output '" + source.port + "' of '" + node.path +
                                                "', which has " + join(outputs));
      }
      value = node.outputs[static_cast<size_t>(port - outputs.begin())];
    }
    used_[static_cast<size_t>(value)] = true;
    return value;
  }

  void check_used() const {
    for (const GraphInput& input : graph_.inputs) {
      if (used_[static_cast<size_t>(input.value)]) continue;
      throw Error(ErrorCategory::kSchema, graph_.file + ":" + std::to_string(input.description.line) + ": input '" +
                                              input.description.name + "' is used by no layer");
    }
    for (const Node& node : graph_.nodes) {
      const bool used = std::ranges::any_of(node.outputs, [&](int value) { return used_[static_cast<size_t>(value)]; });
      if (!used) throw Error(ErrorCategory::kSchema, node.where + ": its output is used by no layer and is no output");
    }
  }

  const Description& description_;
  const layers::LayerRegistry& registry_;
  Graph graph_;
  std::vector<bool> used_;       // by value
  std::vector<bool> needed_;     // by layer of the description
  std::vector<size_t> node_of_;  // by layer of the description that is needed
};

std::string input_location(const Graph& graph, const InputDescription& input) {
  return graph.file + ":" + std::to_string(input.line) + ": input '" + input.name + "'";
}

// The sizes of all symbols, given or by default.
Dimensions with_defaults(const Graph& graph, const Dimensions& given) {
  Dimensions result;
  std::vector<std::string> symbols;
  for (const GraphInput& input : graph.inputs) {
    for (const Dimension& dimension : input.description.shape) {
      if (dimension.symbol.empty()) continue;
      if (std::ranges::count(symbols, dimension.symbol) == 0) symbols.push_back(dimension.symbol);
      const auto found = input.description.defaults.find(dimension.symbol);
      if (found != input.description.defaults.end()) result.insert(*found);
    }
  }
  for (const auto& [symbol, size] : given) {
    if (std::ranges::count(symbols, symbol) == 0) {
      throw Error(ErrorCategory::kShape, graph.file + ": no size is called '" + symbol + "'; there is " +
                                             (symbols.empty() ? "none" : join(symbols)));
    }
    if (size < 0) throw Error(ErrorCategory::kShape, graph.file + ": size '" + symbol + "' is " + std::to_string(size));
    result[symbol] = size;
  }
  return result;
}

TensorType input_type(const Graph& graph, const InputDescription& input, const Dimensions& dimensions, DType dtype) {
  TensorType type;
  type.dtype = dtype;
  for (const Dimension& dimension : input.shape) {
    int64_t size = dimension.size;
    if (!dimension.symbol.empty()) {
      const auto found = dimensions.find(dimension.symbol);
      if (found == dimensions.end()) {
        throw Error(ErrorCategory::kShape, input_location(graph, input) + ": the size '" + dimension.symbol +
                                               "' has no default and was not given");
      }
      size = found->second;
    }
    type.shape.append(size);
  }
  // Time is the last axis, where its size is open: [batch, channels, length], but not [batch, 10].
  if (input.shape.size() > 1 && !input.shape.back().symbol.empty()) type.time_axis = type.shape.rank() - 1;
  return type;
}

}  // namespace

Graph build_graph(const Description& description, const layers::LayerRegistry& registry) {
  return Builder(description, registry).build();
}

std::vector<TensorType> types_of(std::span<const int> values, std::span<const TensorType> types) {
  std::vector<TensorType> result;
  result.reserve(values.size());
  for (const int value : values) {
    result.push_back(value == kAbsent ? TensorType{} : types[static_cast<size_t>(value)]);
  }
  return result;
}

std::vector<TensorType> infer_types(const Graph& graph, const Dimensions& dimensions, DType dtype) {
  const Dimensions sizes = with_defaults(graph, dimensions);
  std::vector<TensorType> types(static_cast<size_t>(graph.values));
  for (const GraphInput& input : graph.inputs) {
    types[static_cast<size_t>(input.value)] = input_type(graph, input.description, sizes, dtype);
  }
  for (const Node& node : graph.nodes) {
    try {
      const std::vector<TensorType> outputs = node.layer->infer(types_of(node.inputs, types));
      for (size_t i = 0; i < node.outputs.size(); ++i) {
        outputs[i].bytes();  // so that a size past 64 bits is told here, with the layer's name
        types[static_cast<size_t>(node.outputs[i])] = outputs[i];
      }
    } catch (const Error& error) {
      throw error.at(node.where);
    }
  }
  return types;
}

Dimensions match_dimensions(const Graph& graph, const std::map<std::string, Shape>& shapes) {
  Dimensions result;
  for (const auto& [name, shape] : shapes) {
    const auto input = std::ranges::find(graph.inputs, name, [](const GraphInput& i) { return i.description.name; });
    if (input == graph.inputs.end()) {
      std::vector<std::string> names;
      for (const GraphInput& known : graph.inputs) names.push_back(known.description.name);
      throw Error(ErrorCategory::kShape, graph.file + ": no input '" + name + "'; there is " + join(names));
    }
    const InputDescription& description = input->description;
    std::string expected;
    bool fits = shape.rank() == static_cast<int>(description.shape.size());
    for (size_t i = 0; i < description.shape.size(); ++i) {
      const Dimension& dimension = description.shape[i];
      expected += (i == 0 ? "" : ", ") + (dimension.symbol.empty() ? std::to_string(dimension.size) : dimension.symbol);
      if (!fits) continue;
      const int64_t size = shape[static_cast<int>(i)];
      if (dimension.symbol.empty()) {
        fits = size == dimension.size;
      } else {
        const auto [known, is_new] = result.insert({dimension.symbol, size});
        fits = is_new || known->second == size;
      }
    }
    if (!fits) {
      throw Error(ErrorCategory::kShape, input_location(graph, description) + " has shape " + to_string(shape) +
                                             ", expected [" + expected + "]");
    }
  }
  return result;
}

}  // namespace strand::graphs
