#include "graphs/blocks.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <utility>

#include "graphs/io/utf8.h"
#include "graphs/scalar.h"

namespace strand::graphs {
namespace {

// The keys that every layer has, and where LayerNode keeps them.
constexpr std::array<std::pair<std::string_view, const YamlNode * LayerNode::*>, 6> kLayerKeys = {{
    {"name", &LayerNode::name},
    {"type", &LayerNode::type},
    {"inputs", &LayerNode::inputs},
    {"repeat", &LayerNode::repeat},
    {"weights", &LayerNode::weights},
    {"implementation", &LayerNode::implementation},
}};

LayerNode read_layer(const Reader& reader, const YamlNode& node) {
  reader.expect_map(node, "a layer");
  LayerNode layer;
  layer.line = node.line;
  for (const YamlEntry& entry : node.entries) {
    const auto key = std::ranges::find(kLayerKeys, entry.key, [](const auto& pair) { return pair.first; });
    if (key != kLayerKeys.end()) {
      layer.*(key->second) = &entry.value;
    } else if (is_identifier(entry.key)) {
      layer.fields.push_back(&entry);
    } else {
      throw reader.fail(entry.line, "unknown field " + in_quotes(entry.key));
    }
  }
  const std::string who = layer.name != nullptr && layer.name->is_scalar() ? "layer " + in_quotes(layer.name->text)
                                                                           : std::string("a layer");
  layer.name = &reader.required(node, "name", "a layer");
  layer.type = &reader.required(node, "type", who);
  return layer;
}

BlockParameter read_parameter(const Reader& reader, const YamlNode& node) {
  BlockParameter parameter;
  if (node.is_map() && node.entries.size() == 1) {
    parameter.name = node.entries.front().key;
    parameter.fallback = &node.entries.front().value;
    reader.check_identifier(parameter.name, node.line, "a parameter");
  } else if (node.is_scalar()) {
    parameter.name = reader.identifier(node, "a parameter");
  } else {
    throw reader.fail(node.line,
                      "a parameter is " + std::string(describe(node)) + ", expected a name or 'name: default'");
  }
  const bool taken = parameter.name == "index" ||
                     std::ranges::any_of(kLayerKeys, [&](const auto& key) { return key.first == parameter.name; });
  if (taken) throw reader.fail(node.line, "a parameter can't be called '" + parameter.name + "': that has a meaning");
  return parameter;
}

void read_block(const Reader& reader, const YamlNode& node, BlockNode& block) {
  reader.expect_map(node, "block '" + block.name + "'");
  const std::string what = "block '" + block.name + "'";
  reader.check_keys(node, {"parameters", "inputs", "layers", "outputs"}, what);
  std::set<std::string> names;
  if (const YamlNode* parameters = node.find("parameters")) {
    reader.expect_list(*parameters, "parameters");
    for (const YamlNode& item : parameters->items) {
      block.parameters.push_back(read_parameter(reader, item));
      const std::string& name = block.parameters.back().name;
      if (!names.insert(name).second) throw reader.fail(item.line, "duplicate parameter '" + name + "'");
    }
  }
  if (const YamlNode* inputs = node.find("inputs")) {
    reader.expect_list(*inputs, "a block's inputs");
    if (inputs->items.empty()) throw reader.fail(inputs->line, what + " has no inputs");
    block.inputs.clear();
    names.clear();
    for (const YamlNode& item : inputs->items) {
      block.inputs.push_back(reader.identifier(item, "a block's input"));
      const std::string& name = block.inputs.back();
      if (!names.insert(name).second) throw reader.fail(item.line, "duplicate input '" + name + "'");
    }
  }
  block.layers = read_layers(reader, reader.required(node, "layers", what));
  block.outputs = node.find("outputs");
}

}  // namespace

std::vector<LayerNode> read_layers(const Reader& reader, const YamlNode& node) {
  reader.expect_list(node, "layers");
  if (node.items.empty()) throw reader.fail(node.line, "layers is empty, expected at least one layer");
  std::vector<LayerNode> layers;
  layers.reserve(node.items.size());
  for (const YamlNode& item : node.items) layers.push_back(read_layer(reader, item));
  return layers;
}

Blocks read_blocks(const Reader& reader, const YamlNode& node) {
  Blocks blocks;
  reader.expect_map(node, "blocks");
  for (const YamlEntry& entry : node.entries) {
    reader.check_identifier(entry.key, entry.line, "a block's name");
    BlockNode& block = blocks[entry.key];
    block.name = entry.key;
    block.line = entry.line;
    read_block(reader, entry.value, block);
  }
  return blocks;
}

}  // namespace strand::graphs
