#pragma once
// One-layer cases from a text file: a row a case,
//   name shape[,shape...] against type [field=value ...]
// with shapes such as 16x256x65536, and `against` the name of an earlier case or "-". Plain values.

#include <filesystem>
#include <string>
#include <vector>

namespace strand::tools {

struct LayerCase {
  std::string name;
  std::string against;      // the case whose time this one's is held against; empty: none
  std::string layer;        // type and fields as they were written, for people
  std::string description;  // a network of this layer alone (YAML), with random weights
};

// Error(kParse) with file and line for a row that is not as above. What the layer thinks of its fields shows when the
// description is loaded.
std::vector<LayerCase> read_layer_cases(const std::filesystem::path& path);

}  // namespace strand::tools
