// Every layer against PyTorch: golden/layers*.py made the cases. The reference is held to a double's precision, so that
// what all implementations are compared with is itself the truth; the others to their layer's bound.

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "graphs/io/safetensors.h"
#include "tests/make_layer.h"

namespace strand::testing {
namespace {

using nlohmann::json;

layers::AttributeValue attribute(const json& value) {
  if (value.is_null()) return layers::Null{};
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  return value.get<std::vector<int64_t>>();
}

struct Golden {
  std::unique_ptr<layers::Layer> layer;
  std::vector<Tensor> inputs;
  Parameters parameters;
  std::vector<Tensor> outputs;  // float64
};

Golden golden_case(const json& description, const std::string& name, const TensorMap& file) {
  static const layers::LayerRegistry registry = layers::default_registry();
  layers::Attributes attributes;
  for (const auto& [field, value] : description["fields"].items()) attributes.set(field, attribute(value));
  Golden golden;
  golden.layer = registry.make(description["type"].get<std::string>(), attributes);
  for (int i = 0; i < description["inputs"].get<int>(); ++i) {
    const auto input = file.find(name + ".input." + std::to_string(i));
    golden.inputs.push_back(input == file.end() ? Tensor() : copy_of(input->second.view()));
  }
  for (const layers::Parameter& parameter : golden.layer->parameters()) {
    const Tensor& tensor = file.at(name + "." + parameter.name);
    CHECK(tensor.shape() == parameter.shape);
    golden.parameters.emplace(parameter.name, copy_of(tensor.view()));
  }
  for (int i = 0; i < description["outputs"].get<int>(); ++i) {
    golden.outputs.push_back(copy_of(file.at(name + ".output." + std::to_string(i)).view()));
  }
  return golden;
}

// Both sides compute in double, each with an error of the layer's form.
void check_reference(const Truth& reference, size_t output, const Tensor& golden, const std::string& what) {
  const auto values = reference.values[output].as<const double>();
  const auto scales = reference.scales[output].as<const double>();
  const auto expected = golden.as<const double>();
  int64_t wrong = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double bound = 2 * reference.factor * 0x1p-53 * scales[i];
    if (!(std::fabs(values[i] - expected[i]) <= bound)) ++wrong;
  }
  CHECK_MESSAGE(wrong == 0, what << ": cpu.reference differs from PyTorch in " << wrong << " elements");
}

void check_case(const Golden& golden, const std::string& what) {
  Truth truth = reference_truth(*golden.layer, golden.inputs, golden.parameters);
  REQUIRE(truth.values.size() == golden.outputs.size());
  for (size_t i = 0; i < golden.outputs.size(); ++i) {
    REQUIRE_MESSAGE(truth.values[i].shape() == golden.outputs[i].shape(),
                    what << " gives " << to_string(truth.values[i].shape()));
    check_reference(truth, i, golden.outputs[i], what);
    truth.values[i] = copy_of(golden.outputs[i].view());
  }
  const PreparedLayer prepared(*golden.layer, golden.inputs, golden.parameters, DType::kFloat32, {});
  for (const layers::Implementation& implementation : prepared.implementations()) {
    const std::string& name = implementation.name;
    if (implementation.device == DeviceType::kCuda && !cuda_available()) continue;
    const auto outputs = run_implementation(*golden.layer, name, golden.inputs, golden.parameters);
    const Comparison comparison = compare(outputs, truth);
    CHECK_MESSAGE(comparison.wrong == 0,
                  what << " " << name << ": " << comparison.wrong << " wrong, first " << comparison.first);
  }
}

TEST_CASE("every layer and option agrees with PyTorch") {
  size_t cases = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(STRAND_SOURCE_DIR) / "tests/golden")) {
    const std::string file_name = entry.path().filename().string();
    if (!file_name.starts_with("layers") || entry.path().extension() != ".safetensors") continue;
    Metadata metadata;
    const TensorMap file = read_safetensors(entry.path(), &metadata);
    cases += metadata.size();
    for (const auto& [name, description] : metadata) {
      const std::string what = file_name + " " + name + " " + description;
      CAPTURE(what);
      check_case(golden_case(json::parse(description), name, file), what);
    }
  }
  CHECK(cases >= 270);
}

}  // namespace
}  // namespace strand::testing
