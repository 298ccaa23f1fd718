#pragma once
// The layers and blocks of a description as they are written: keys sorted out and checked, nothing computed yet. All
// point into the YAML tree, which must outlive them.

#include <map>
#include <string>
#include <vector>

#include "graphs/reader.h"
#include "graphs/yaml.h"

namespace strand::graphs {

// One entry of a `layers` list. Pointers are null where the key was left out.
struct LayerNode {
  int line = 0;
  const YamlNode* name = nullptr;
  const YamlNode* type = nullptr;
  const YamlNode* inputs = nullptr;
  const YamlNode* repeat = nullptr;
  const YamlNode* weights = nullptr;
  const YamlNode* implementation = nullptr;
  std::vector<const YamlEntry*> fields;  // the type's own, or a block's parameters
};

struct BlockParameter {
  std::string name;
  const YamlNode* fallback = nullptr;  // of one that may be left out
};

struct BlockNode {
  std::string name;
  int line = 0;
  std::vector<BlockParameter> parameters;
  std::vector<std::string> inputs = {"x"};
  std::vector<LayerNode> layers;
  const YamlNode* outputs = nullptr;
};

using Blocks = std::map<std::string, BlockNode, std::less<>>;

std::vector<LayerNode> read_layers(const Reader& reader, const YamlNode& node);
Blocks read_blocks(const Reader& reader, const YamlNode& node);

}  // namespace strand::graphs
