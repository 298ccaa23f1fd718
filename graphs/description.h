#pragma once
// What a YAML file says, with blocks expanded and names resolved: a flat list of layers in an order in which each one's
// inputs stand above it. Plain values; nothing here knows yaml-cpp or what a layer computes.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "layers/attributes.h"

namespace strand::graphs {

// "16" or "batch".
struct Dimension {
  int64_t size = 0;  // where `symbol` is empty
  std::string symbol;
};

struct InputDescription {
  std::string name;
  std::vector<Dimension> shape;
  std::map<std::string, int64_t> defaults;  // of the symbols
  int64_t rate = 0;                         // Hz; 0: not said
  int line = 0;
};

// Where a layer's input comes from: a network input, or an output of a layer above.
struct Source {
  bool is_input = false;
  int index = 0;     // into Description::inputs or ::layers
  std::string port;  // the layer's output by name; empty: its first
};

struct LayerDescription {
  std::string path;          // "net.3.conv1"
  std::string weights_path;  // where its parameters lie in the state_dict; `path` unless the layer says otherwise
  std::string type;
  layers::Attributes attributes;             // the type's own fields: no name, type, inputs, weights, implementation
  std::vector<std::string> implementations;  // asked for by name, at most one a device
  std::vector<Source> inputs;                // by position, or ...
  std::map<std::string, Source> inputs_by_port;
  bool may_be_unused = false;  // one of several outputs of a block: nobody has to use it
  int line = 0;
};

struct OutputDescription {
  std::string name;
  Source source;
};

struct WeightsDescription {
  std::string file;               // relative to the description's folder; or ...
  std::optional<uint64_t> seed;   // random ones
  std::string dtype = "float32";  // of the file's tensors; others than float32 are converted
  int line = 0;
};

struct Description {
  std::string file;  // for messages: "net.yaml"
  std::string name;
  WeightsDescription weights;
  std::vector<InputDescription> inputs;
  std::vector<LayerDescription> layers;
  std::vector<OutputDescription> outputs;
};

// Reads a description. `file` stands before the line in messages. Error(kParse) for what is not YAML or not UTF-8,
// Error(kSchema) for what breaks the format's rules, Error(kLimit) past 16 MiB, 100,000 layers or 1,024 bytes a name,
// Error(kUnsupported) for a later version of the format.
Description read_description(std::string_view text, const std::string& file);

// "net.yaml:14: Conv1d 'enc.1'", to stand before a message.
std::string location(const Description& description, const LayerDescription& layer);

}  // namespace strand::graphs
