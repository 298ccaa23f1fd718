// examples/networks: every network loads, tells its shapes and runs within its layers' bounds; and those that
// tests/networks/ built from PyTorch's modules give PyTorch's output for the same weights, by their state_dict's names.

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "graphs/compare.h"
#include "graphs/inspect.h"
#include "graphs/io/safetensors.h"
#include "tests/cuda_required.h"
#include "tests/run_layer.h"

namespace strand::testing {
namespace {

using nlohmann::json;

const std::filesystem::path kSource = STRAND_SOURCE_DIR;

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE_MESSAGE(file, path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  size_t at = text.find(from);
  REQUIRE_MESSAGE(at != std::string::npos, "nothing to replace: " << from);
  for (; at != std::string::npos; at = text.find(from, at + to.size())) text.replace(at, from.size(), to);
  return text;
}

// What reference.py's values() makes of a name and shape, bit for bit: no product here is rounded.
class Uniform {
 public:
  explicit Uniform(const std::string& name) {
    for (const char c : name) key_ = (key_ ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  }
  double operator()() {
    uint64_t z = key_ += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return static_cast<double>((z ^ (z >> 31)) >> 40) * 0x1p-23 - 1;
  }

 private:
  uint64_t key_ = 0xCBF29CE484222325;
};

using Shapes = std::map<std::string, std::vector<int64_t>>;

Shapes shapes_of(const std::string& text) { return json::parse(text).get<Shapes>(); }

Tensor input_of(const std::string& name, const Shape& shape) {
  Tensor tensor(TensorType{DType::kFloat32, shape});
  Uniform uniform("input." + name);
  for (float& value : tensor.as<float>()) value = static_cast<float>(uniform());
  return tensor;
}

bool ends_with_one_of(const std::string& name, std::initializer_list<const char*> ends) {
  return std::ranges::any_of(ends, [&](const char* end) { return name.ends_with(end); });
}

Tensor weight_of(const std::string& name, const Shape& shape, double gain) {
  double offset = 0;
  double scale = 0;
  int axes = 0;
  for (int i = 0; i < shape.rank(); ++i) axes += shape[i] > 1 ? 1 : 0;
  if (ends_with_one_of(name, {"bias", "beta", "running_mean"})) {
    scale = 0.125;
  } else if (name.ends_with("filter")) {
    offset = static_cast<double>(1 / static_cast<float>(shape.elements()));
    scale = offset / 4;
  } else if (axes < 2 || ends_with_one_of(name, {"alpha", "running_var"})) {
    const double size = ends_with_one_of(name, {"weight_g", "original0"}) ? gain : 1;
    offset = size;
    scale = size * 0.25;
  } else {
    scale = gain * static_cast<double>(
                       static_cast<float>(std::sqrt(3 / static_cast<double>(shape.elements(1, shape.rank())))));
  }
  Tensor tensor(TensorType{DType::kFloat32, shape});
  Uniform uniform(name);
  for (float& value : tensor.as<float>()) value = static_cast<float>(offset + scale * uniform());
  return tensor;
}

std::vector<Device> devices() {
  std::vector<Device> result = {{DeviceType::kCpu, 0}};
  if (cuda_available()) result.push_back({DeviceType::kCuda, 0});
  return result;
}

void check_devices(const graphs::Network& network, const TensorMap& inputs, const graphs::Truth& truth,
                   const TensorMap& expected, graphs::CompareOptions options) {
  for (const Device device : devices()) {
    CAPTURE(to_string(device));
    options.compile.device = device;
    const graphs::DeviceErrors errors = graphs::compare_device(network, inputs, truth, options);
    for (const graphs::LayerErrors& layer : errors.layers) {
      CHECK_MESSAGE(layer.errors.ok(), layer.type << " " << layer.path << " " << layer.implementation << ": "
                                                  << layer.errors.of_bound << " of its bound");
    }
    for (const graphs::OutputErrors& output : errors.outputs) CHECK_MESSAGE(output.errors.ok(), output.name);
    for (const graphs::OutputErrors& output : graphs::compare_outputs(errors.values, expected, truth)) {
      CHECK_MESSAGE(output.errors.ok(), output.name << " against PyTorch: " << output.errors.of_bound);
    }
  }
}

// The reference computes in double as PyTorch did; where weight norm was folded, each with weights that may be an eps
// apart.
void check_truth(const graphs::Truth& truth, const TensorMap& expected, bool folded) {
  REQUIRE(truth.outputs.size() == expected.size());
  for (const auto& entry : expected) {
    const std::string& name = entry.first;
    const Tensor& tensor = entry.second;
    CAPTURE(name);
    const Tensor& output = truth.outputs.at(name);
    REQUIRE(output.shape() == tensor.shape());
    double largest = 0;
    for (const double value : tensor.as<const double>()) largest = std::max(largest, std::fabs(value));
    CHECK(largest > 0);
    const double bound = folded ? 4 * truth.allowances.at(name) : 1e-11 * largest;
    const graphs::ElementErrors errors = graphs::element_errors(output, tensor, std::array{bound});
    CHECK_MESSAGE(errors.ok(), "cpu.reference against PyTorch: " << errors.largest << ", allowed " << bound);
  }
}

void check_against_pytorch(const std::string& text, const std::filesystem::path& golden) {
  Metadata metadata;
  const TensorMap expected = read_safetensors(golden, &metadata);
  std::string yaml = replaced(text, "weights: {seed: 0}", "weights: from_the_test.safetensors");
  const auto replace = json::parse(metadata.at("replace")).get<std::vector<std::array<std::string, 2>>>();
  for (const auto& [from, to] : replace) yaml = replaced(yaml, from, to);
  const double gain = metadata.contains("gain") ? std::stod(metadata.at("gain")) : 1;
  TensorMap weights;
  bool folded = false;
  for (const auto& [name, shape] : shapes_of(metadata.at("weights"))) {
    weights.emplace(name, weight_of(name, Shape(shape), gain));
    folded = folded || ends_with_one_of(name, {"_g", "original0"});
  }
  const graphs::Network network = graphs::Network::from_memory(yaml, weights);
  TensorMap inputs;
  for (const auto& [name, shape] : shapes_of(metadata.at("inputs"))) {
    inputs.emplace(name, input_of(name, Shape(shape)));
  }
  graphs::CompareOptions options;
  options.threads = 2;
  std::map<std::string, Shape> shapes;
  for (const auto& [name, tensor] : inputs) shapes.emplace(name, tensor.shape());
  options.compile.dimensions = graphs::match_dimensions(network.graph(), shapes);
  const graphs::Truth truth = graphs::find_truth(network, inputs, options);
  check_truth(truth, expected, folded);
  check_devices(network, inputs, truth, expected, options);
}

// Those whose output is held against the reference's own by another test.
void check_random(const graphs::Network& network) {
  graphs::CompareOptions options;
  options.threads = 2;
  TensorMap inputs;
  for (const graphs::GraphInput& input : network.graph().inputs) {
    std::vector<int64_t> sizes;
    for (const graphs::Dimension& size : input.description.shape) {
      sizes.push_back(size.symbol.empty() ? size.size : size.symbol == "length" ? 50 : 1);
      if (!size.symbol.empty()) options.compile.dimensions[size.symbol] = sizes.back();
    }
    inputs.emplace(input.description.name, input_of(input.description.name, Shape(sizes)));
  }
  check_devices(network, inputs, graphs::find_truth(network, inputs, options), {}, options);
}

TEST_CASE("example networks tell their shapes, and give PyTorch's output") {
  std::vector<std::filesystem::path> networks;
  for (const auto& entry : std::filesystem::directory_iterator(kSource / "examples/networks")) {
    if (entry.path().extension() == ".yaml") networks.push_back(entry.path());
  }
  REQUIRE(networks.size() > 20);
  std::ranges::sort(networks);
  for (size_t i = first_tried(networks.size()); i < networks.size(); i += tried_step(networks.size())) {
    const std::string name = networks[i].stem().string();
    CAPTURE(name);
    const auto start = std::chrono::steady_clock::now();
    const std::string text = text_of(networks[i]);
    const graphs::Network network = graphs::Network::load(networks[i]);
    CHECK(network.graph().name == name);
    const graphs::NetworkSummary summary = graphs::summarise(network, {});
    CHECK(summary.parameters > 0);
    const std::filesystem::path golden = kSource / "tests/networks" / (name + ".safetensors");
    if (std::filesystem::exists(golden)) {
      check_against_pytorch(text, golden);
    } else {
      check_random(network);
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    MESSAGE(name << ": " << summary.parameters << " parameters, " << seconds.count() << " s");
  }
}

// How many batch norms are steps of their own, of all. Those that are left stand behind an activation, a sum, a pool or
// a concatenation.
TEST_CASE("batch norms behind convolutions are no steps of the example networks") {
  struct Norms {
    const char* network;
    int all, left;
  };
  for (const Norms& norms : {Norms{"m5", 4, 0},
                             {"quartznet_15x5", 93, 0},
                             {"phasenet", 18, 0},
                             {"basenji", 30, 0},
                             {"ecg_resnet", 11, 5},
                             {"inceptiontime", 8, 7},
                             {"spliceai_10k", 32, 16},
                             {"ecapa_tdnn", 31, 31}}) {
    CAPTURE(std::string(norms.network));
    const graphs::Network network =
        graphs::Network::load(kSource / "examples/networks" / (std::string(norms.network) + ".yaml"));
    graphs::CompileOptions options;
    const auto count = [&] {
      return std::ranges::count(network.compile(options)->steps, "BatchNorm1d", &PlanStep::type);
    };
    const size_t fused = network.compile(options)->steps.size();
    CHECK(count() == norms.left);
    options.fuse = false;
    CHECK(count() == norms.all);
    CHECK(fused + static_cast<size_t>(norms.all - norms.left) <= network.compile(options)->steps.size());
  }
}

}  // namespace
}  // namespace strand::testing
