#pragma once
// The layer types that a description may name. A plain value: copy default_registry(), add your own types, and pass it
// to Network::load. Not thread-safe while types are added.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "layers/attributes.h"
#include "layers/layer.h"

namespace strand::layers {

struct LayerType {
  std::string name;     // PyTorch's, where it has one
  std::string summary;  // one line
  std::vector<Field> fields;
  std::function<std::unique_ptr<Layer>(const Attributes& attributes)> make;
  // For people: `strand layers` prints them, and layers_golden_test holds them against the layer.
  std::string shapes = "any";
  std::string time = "pointwise";
  std::vector<std::string> implementations = {"cuda.native", "cpu.native", "cpu.reference"};  // none: a view
};

class LayerRegistry {
 public:
  void add(LayerType type);  // Error(kSchema) where the name is taken
  const std::map<std::string, LayerType, std::less<>>& types() const { return types_; }

  // Checks the values against the type's fields, fills in the fields that were left out and makes the layer.
  // Error(kUnsupported) on an unknown type and Error(kSchema) on an unknown, missing or mistyped field, each with the
  // nearest name where there is one.
  std::unique_ptr<Layer> make(std::string_view type, Attributes attributes) const;

 private:
  std::map<std::string, LayerType, std::less<>> types_;
};

// Every layer of the folders in layers/.
LayerRegistry default_registry();

// The name nearest to `name` (by edit distance, at most a third of its length), or what a Keras name is called here;
// empty where nothing is near.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);
// "; did you mean 'dilation'?", or nothing where nothing is near.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace strand::layers
