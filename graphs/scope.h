#pragma once
// The names that stand for values in one list of layers (the network's, or one instance of a block's body), and what a
// reference such as `conv`, `lstm:h_n` or `net.2` leads to. Single-threaded; made anew for every instance of a block.

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "graphs/blocks.h"
#include "graphs/description.h"
#include "graphs/reader.h"

namespace strand::graphs {

// What a name stands for.
struct Binding {
  std::vector<std::pair<std::string, Source>> outputs;  // by name; the first is the one meant without a name
  bool is_layer = false;                                // of a layer type: its outputs' names are not known here
};

Binding bind(const Source& source);  // one value without further outputs

class Scope {
 public:
  // `names` are the layers' own, in order. Error(kSchema) where a name comes twice.
  Scope(const Reader& reader, const std::vector<LayerNode>& layers, std::vector<std::string> names);

  void add_input(const std::string& name, const Source& source, int line);
  void add(const std::string& name, Binding binding) { bindings_[name] = std::move(binding); }
  const std::string& name(size_t layer) const { return names_[layer]; }

  // What `reference`, in the inputs of layer number `layer` (or an output of the whole, at the end), leads to.
  // Error(kSchema) for an unknown name, and one that stands below: with the path where it makes a cycle.
  Source resolve(std::string_view reference, size_t layer, int line) const;
  // The same for a reference that may be `net.*` or `net.*:skip`: each repeat in order.
  std::vector<Source> resolve_all(std::string_view reference, size_t layer, int line) const;

 private:
  Error unknown(std::string_view base, int line) const;
  Error forward(size_t from, size_t to, int line) const;
  std::vector<size_t> references(size_t layer) const;

  const Reader& reader_;
  const std::vector<LayerNode>& layers_;
  std::vector<std::string> names_;
  std::map<std::string, size_t, std::less<>> positions_;
  std::map<std::string, Binding, std::less<>> bindings_;
};

}  // namespace strand::graphs
