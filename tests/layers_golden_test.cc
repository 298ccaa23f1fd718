// Every layer against PyTorch: golden/layers*.py made the cases. The reference is held to a double's precision, so that
// what all implementations are compared with is itself the truth; the others to their layer's bound.

#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

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

// What the cases show of a type, to be held against what it says of itself.
struct Seen {
  std::set<std::string> implementations;
  bool same_shape = true;
  bool pointwise = true;
  bool whole = false;
  bool recurrent = false;
};

// Where the last axis is time, if the layer takes that.
void look_at_times(const Golden& golden, Seen& seen) {
  std::vector<TensorType> types;
  for (const Tensor& input : golden.inputs) {
    const int rank = input.shape().rank();
    types.push_back({DType::kFloat32, input.shape(), rank > 0 ? rank - 1 : TensorType::kNoTime});
  }
  const size_t outputs = golden.layer->infer(types).size();
  for (size_t input = 0; input < types.size(); ++input) {
    for (size_t output = 0; output < outputs; ++output) {
      const TimeMap map = golden.layer->time_map(static_cast<int>(input), static_cast<int>(output), types);
      seen.whole = seen.whole || map.is_whole();
      seen.recurrent = seen.recurrent || map.stateful;
      seen.pointwise = seen.pointwise && !map.is_whole() && !map.stateful && map.numerator == map.denominator &&
                       map.first == 0 && map.last == 0;
    }
  }
}

void check_type(const layers::LayerType& type, const Seen& seen) {
  CAPTURE(type.name);
  std::set<std::string> listed;
  for (const std::string& name : type.implementations) {
    if (name.starts_with("cpu.") || cuda::built_with_cuda()) listed.insert(name);
  }
  CHECK(seen.implementations == listed);
  if (type.shapes == "any") CHECK(seen.same_shape);
  if (type.time == "pointwise") CHECK(seen.pointwise);
  if (seen.whole) CHECK_MESSAGE(type.time.find("whole") != std::string::npos, type.time);
  if (seen.recurrent) CHECK_MESSAGE(type.time.find("recurrent") != std::string::npos, type.time);
}

void check_case(const Golden& golden, const std::string& what, Seen& seen) {
  Truth truth = reference_truth(*golden.layer, golden.inputs, golden.parameters);
  REQUIRE(truth.values.size() == golden.outputs.size());
  for (size_t i = 0; i < golden.outputs.size(); ++i) {
    REQUIRE_MESSAGE(truth.values[i].shape() == golden.outputs[i].shape(),
                    what << " gives " << to_string(truth.values[i].shape()));
    check_reference(truth, i, golden.outputs[i], what);
    truth.values[i] = copy_of(golden.outputs[i].view());
  }
  seen.same_shape = seen.same_shape && golden.outputs[0].shape() == golden.inputs[0].shape();
  look_at_times(golden, seen);
  const PreparedLayer prepared(*golden.layer, golden.inputs, golden.parameters, DType::kFloat32, {});
  bool on_cuda = !cuda_available();
  for (const layers::Implementation& implementation : prepared.implementations()) {
    const std::string& name = implementation.name;
    seen.implementations.insert(name);
    if (implementation.device == DeviceType::kCuda) {
      if (!cuda_available() || !implementation.declined.empty()) continue;
      on_cuda = true;
    }
    const auto outputs = run_implementation(*golden.layer, name, golden.inputs, golden.parameters);
    const Comparison comparison = compare(outputs, truth);
    CHECK_MESSAGE(comparison.wrong == 0,
                  what << " " << name << ": " << comparison.wrong << " wrong, first " << comparison.first);
  }
  CHECK_MESSAGE((on_cuda || prepared.implementations().empty()), what << ": all implementations on CUDA decline");
}

TEST_CASE("every layer and option agrees with PyTorch") {
  size_t cases = 0;
  std::map<std::string, Seen> types;
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
      const json fields = json::parse(description);
      check_case(golden_case(fields, name, file), what, types[fields["type"].get<std::string>()]);
    }
  }
  CHECK(cases >= 270);
  const layers::LayerRegistry registry = layers::default_registry();
  for (const auto& entry : registry.types()) {
    const layers::LayerType& type = entry.second;
    if (type.name == "Conv1d" || type.implementations.empty()) continue;  // has its own test; a view computes nothing
    CHECK_MESSAGE(types.count(type.name) == 1, type.name << " has no case");
    check_type(type, types[type.name]);
  }
}

TEST_CASE("Conv1d lists its implementations") {
  const auto layer =
      make_layer("Conv1d", {{"in_channels", int64_t{1}}, {"out_channels", int64_t{1}}, {"kernel_size", int64_t{1}}});
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({1, 1, 4}));
  const Parameters parameters = random_parameters(*layer);
  const PreparedLayer prepared(*layer, inputs, parameters, DType::kFloat32, {});
  Seen seen;
  for (const layers::Implementation& implementation : prepared.implementations()) {
    seen.implementations.insert(implementation.name);
  }
  const layers::LayerRegistry registry = layers::default_registry();
  check_type(registry.types().at("Conv1d"), seen);
}

}  // namespace
}  // namespace strand::testing
