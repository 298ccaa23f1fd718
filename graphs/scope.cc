#include "graphs/scope.h"

#include <algorithm>
#include <cstddef>
#include <deque>

#include "graphs/io/utf8.h"
#include "layers/registry.h"

namespace strand::graphs {
namespace {

constexpr size_t kNone = static_cast<size_t>(-1);

// Of `net.2:h_n`: `net`, the layer that it speaks of.
std::string_view layer_of(std::string_view reference) { return reference.substr(0, reference.find_first_of(".:")); }

}  // namespace

Binding bind(const Source& source) { return {.outputs = {{"", source}}}; }

Scope::Scope(const Reader& reader, const std::vector<LayerNode>& layers, std::vector<std::string> names)
    : reader_(reader), layers_(layers), names_(std::move(names)) {
  for (size_t i = 0; i < names_.size(); ++i) {
    const auto [first, added] = positions_.emplace(names_[i], i);
    if (added) continue;
    throw reader.fail(layers[i].name->line, "duplicate layer name '" + names_[i] + "'; the first is on line " +
                                                std::to_string(layers[first->second].name->line));
  }
}

void Scope::add_input(const std::string& name, const Source& source, int line) {
  const auto layer = positions_.find(name);
  if (layer != positions_.end()) {
    throw reader_.fail(layers_[layer->second].name->line,
                       "layer name '" + name + "' is an input's too, of line " + std::to_string(line));
  }
  bindings_[name] = bind(source);
}

Source Scope::resolve(std::string_view reference, size_t layer, int line) const {
  const size_t colon = reference.find(':');
  const std::string_view base = reference.substr(0, colon);
  const auto found = bindings_.find(base);
  if (found == bindings_.end()) {
    const auto below = positions_.find(layer_of(base));
    if (below != positions_.end() && below->second >= layer) throw forward(layer, below->second, line);
    throw unknown(base, line);
  }
  const Binding& binding = found->second;
  if (colon == std::string_view::npos) return binding.outputs.front().second;
  const std::string output(reference.substr(colon + 1));
  const bool number = !output.empty() && output.find_first_not_of("0123456789") == std::string::npos;  // Split's
  if (!number) reader_.check_identifier(output, line, "the output's name in " + in_quotes(reference));
  if (binding.is_layer) {
    Source source = binding.outputs.front().second;
    source.port = output;
    return source;
  }
  std::vector<std::string> names;
  for (const auto& [name, source] : binding.outputs) {
    if (name == output) return source;
    if (!name.empty()) names.push_back(name);
  }
  throw reader_.fail(line, in_quotes(base) + " has no output '" + output + "'" + layers::did_you_mean(output, names));
}

std::vector<Source> Scope::resolve_all(std::string_view reference, size_t layer, int line) const {
  const std::string_view base = reference.substr(0, reference.find(':'));
  if (!base.ends_with(".*")) return {resolve(reference, layer, line)};
  const std::string stem(base.substr(0, base.size() - 1));
  std::vector<Source> sources;
  while (bindings_.contains(stem + std::to_string(sources.size()))) {
    sources.push_back(
        resolve(stem + std::to_string(sources.size()) + std::string(reference.substr(base.size())), layer, line));
  }
  // Of a layer without repeats, or none at all.
  if (sources.empty()) resolve(stem + "0", layer, line);
  return sources;
}

Error Scope::unknown(std::string_view base, int line) const {
  if (base.empty()) return reader_.fail(line, "an empty name, expected a layer or input");
  std::vector<std::string> names;
  names.reserve(bindings_.size());
  for (const auto& [name, binding] : bindings_) names.push_back(name);
  return reader_.fail(line, "unknown layer or input " + in_quotes(base) + layers::did_you_mean(base, names));
}

// The layers that a layer's inputs name, as far as they can be told without parameters.
std::vector<size_t> Scope::references(size_t layer) const {
  std::vector<size_t> result;
  const auto refer = [&](const YamlNode& node) {
    const auto found = node.is_scalar() ? positions_.find(layer_of(node.text)) : positions_.end();
    if (found != positions_.end()) result.push_back(found->second);
  };
  const YamlNode* inputs = layers_[layer].inputs;
  if (inputs == nullptr) {
    if (layer > 0) result.push_back(layer - 1);
    return result;
  }
  if (inputs->is_scalar()) refer(*inputs);
  for (const YamlNode& item : inputs->items) refer(item);
  for (const YamlEntry& entry : inputs->entries) refer(entry.value);
  return result;
}

Error Scope::forward(size_t from, size_t to, int line) const {
  // Breadth first from `to` along references: the shortest way back to `from` closes a cycle.
  std::vector<size_t> came_from(layers_.size(), kNone);
  std::deque<size_t> queue = {to};
  came_from[to] = to;
  while (from < layers_.size() && came_from[from] == kNone && !queue.empty()) {
    const size_t layer = queue.front();
    queue.pop_front();
    for (const size_t next : references(layer)) {
      if (came_from[next] != kNone) continue;
      came_from[next] = layer;
      queue.push_back(next);
    }
  }
  if (from >= layers_.size() || came_from[from] == kNone) {
    return reader_.fail(line, "forward reference: '" + names_[to] + "' stands below, on line " +
                                  std::to_string(layers_[to].line) + "; a layer's inputs stand above it");
  }
  constexpr size_t kShown = 20;
  std::vector<size_t> cycle = {from};
  for (size_t layer = from; layer != to;) {
    layer = came_from[layer];
    cycle.push_back(layer);
  }
  std::string path = names_[from];
  for (size_t i = 0; i < cycle.size(); ++i) {
    const size_t layer = cycle[cycle.size() - 1 - i];
    if (i < kShown || i + 1 == cycle.size()) path += " -> " + names_[layer];
    if (i == kShown && i + 1 < cycle.size()) path += " -> ...";
  }
  return reader_.fail(line, "the inputs form a cycle: " + path);
}

}  // namespace strand::graphs
