#include "graphs/description.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "engine/error.h"
#include "graphs/blocks.h"
#include "graphs/expand.h"
#include "graphs/io/utf8.h"
#include "graphs/reader.h"
#include "graphs/scalar.h"
#include "graphs/yaml.h"
#include "layers/registry.h"

namespace strand::graphs {
namespace {

constexpr int64_t kVersion = 1;
constexpr size_t kMostAxes = 8;

void check_version(const Reader& reader, const YamlNode& root) {
  const YamlNode* node = root.find("strand");
  if (node == nullptr) {
    throw reader.fail(root.line,
                      "missing key 'strand', the version of the format: 'strand: " + std::to_string(kVersion) + "'");
  }
  const int64_t version = reader.integer(*node, "strand", 1);
  if (version == kVersion) return;
  throw reader.fail(
      node->line,
      "format version " + std::to_string(version) + "; this program reads version " + std::to_string(kVersion),
      ErrorCategory::kUnsupported);
}

WeightsDescription read_weights(const Reader& reader, const YamlNode& node) {
  constexpr std::array<std::string_view, 4> kTypes = {"float32", "float16", "bfloat16", "float64"};
  WeightsDescription weights;
  weights.line = node.line;
  if (!node.is_map()) {
    weights.file = reader.text(node, "weights");
    return weights;
  }
  const YamlNode* seed = node.find("seed");
  reader.check_keys(node,
                    seed != nullptr ? std::vector<std::string>{"seed"} : std::vector<std::string>{"file", "dtype"},
                    seed != nullptr ? "random weights" : "weights");
  if (seed != nullptr) {
    weights.seed = static_cast<uint64_t>(reader.integer(*seed, "seed", 0));
    return weights;
  }
  weights.file = reader.text(reader.required(node, "file", "weights"), "weights: file");
  if (const YamlNode* dtype = node.find("dtype")) {
    weights.dtype = reader.text(*dtype, "weights: dtype");
    if (std::ranges::find(kTypes, weights.dtype) == kTypes.end()) {
      throw reader.fail(
          dtype->line, "unknown dtype " + in_quotes(weights.dtype) + ", expected float32, float16, bfloat16 or float64",
          ErrorCategory::kUnsupported);
    }
  }
  return weights;
}

std::vector<Dimension> read_shape(const Reader& reader, const YamlNode& node) {
  reader.expect_list(node, "shape");
  if (node.items.empty() || node.items.size() > kMostAxes) {
    throw reader.fail(node.line, "shape has " + std::to_string(node.items.size()) + " sizes, expected 1 to " +
                                     std::to_string(kMostAxes));
  }
  std::vector<Dimension> shape;
  for (const YamlNode& item : node.items) {
    const bool symbol = item.is_scalar() && !item.quoted && is_identifier(item.text);
    shape.push_back(symbol ? Dimension{.size = 0, .symbol = reader.text(item, "a size")}
                           : Dimension{.size = reader.integer(item, "a size", 1), .symbol = ""});
  }
  return shape;
}

void read_defaults(const Reader& reader, const YamlNode& node, InputDescription& input) {
  std::vector<std::string> symbols;
  for (const Dimension& dimension : input.shape) {
    if (!dimension.symbol.empty()) symbols.push_back(dimension.symbol);
  }
  reader.expect_map(node, "defaults");
  for (const YamlEntry& entry : node.entries) {
    if (std::ranges::find(symbols, entry.key) == symbols.end()) {
      throw reader.fail(entry.line, "defaults name " + in_quotes(entry.key) + ", which the shape does not" +
                                        layers::did_you_mean(entry.key, symbols));
    }
    input.defaults[entry.key] = reader.integer(entry.value, "default of '" + entry.key + "'", 1);
  }
}

InputDescription read_input(const Reader& reader, const YamlEntry& entry) {
  InputDescription input;
  input.name = entry.key;
  input.line = entry.line;
  reader.check_identifier(input.name, entry.line, "an input's name");
  const std::string what = "input '" + input.name + "'";
  reader.expect_map(entry.value, what);
  reader.check_keys(entry.value, {"shape", "defaults", "rate"}, what);
  input.shape = read_shape(reader, reader.required(entry.value, "shape", what));
  if (const YamlNode* defaults = entry.value.find("defaults")) read_defaults(reader, *defaults, input);
  if (const YamlNode* rate = entry.value.find("rate")) input.rate = reader.integer(*rate, "rate", 1);
  return input;
}

void read_inputs(const Reader& reader, const YamlNode& node, Description& description) {
  reader.expect_map(node, "inputs");
  if (node.entries.empty()) throw reader.fail(node.line, "inputs is empty, expected at least one input");
  std::map<std::string, int64_t> defaults;
  for (const YamlEntry& entry : node.entries) {
    description.inputs.push_back(read_input(reader, entry));
    for (const auto& [symbol, size] : description.inputs.back().defaults) {
      const int64_t first = defaults.emplace(symbol, size).first->second;
      if (first == size) continue;
      throw reader.fail(entry.line, "default of '" + symbol + "' is " + std::to_string(size) + ", and " +
                                        std::to_string(first) + " in an input above");
    }
  }
}

std::string read_name(const Reader& reader, const YamlNode& root) {
  if (const YamlNode* name = root.find("name")) return reader.text(*name, "name");
  return std::filesystem::path(reader.file()).stem().string();
}

}  // namespace

Description read_description(std::string_view text, const std::string& file) {
  const YamlNode root = parse_yaml(text, file);
  Reader reader(file);
  reader.expect_map(root, "the description");
  check_version(reader, root);
  const std::string what = "the description";
  reader.check_keys(root, {"strand", "name", "weights", "inputs", "blocks", "layers", "outputs"}, what);

  Description description;
  description.file = file;
  description.name = read_name(reader, root);
  if (const YamlNode* weights = root.find("weights")) description.weights = read_weights(reader, *weights);
  read_inputs(reader, reader.required(root, "inputs", what), description);
  const YamlNode* blocks_node = root.find("blocks");
  const Blocks blocks = blocks_node == nullptr ? Blocks() : read_blocks(reader, *blocks_node);
  const std::vector<LayerNode> layers = read_layers(reader, reader.required(root, "layers", what));
  expand(reader, blocks, layers, root.find("outputs"), description);
  return description;
}

std::string location(const Description& description, const LayerDescription& layer) {
  return description.file + ":" + std::to_string(layer.line) + ": " + layer.type + " " + in_quotes(layer.path);
}

}  // namespace strand::graphs
