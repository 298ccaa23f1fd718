// Every implementation of Conv1d against PyTorch's own numbers (golden/conv1d.py).

#include <doctest/doctest.h>

#include <sstream>

#include "graphs/io/safetensors.h"
#include "tests/conv1d_table.h"
#include "tests/run_layer.h"

namespace strand::testing {
namespace {

// The layer of a case named "07 k3 s3 d4 g1 p0 zeros".
std::unique_ptr<layers::Layer> layer_of(const std::string& name, const Tensor& x, const Tensor& weight, bool bias) {
  layers::Attributes attributes;
  std::istringstream words(name);
  std::string word;
  words >> word;
  const std::map<char, std::string> fields = {
      {'k', "kernel_size"}, {'s', "stride"}, {'d', "dilation"}, {'g', "groups"}};
  for (size_t i = 0; i < fields.size() && words >> word; ++i) {
    attributes.set(fields.at(word[0]), int64_t{std::stoll(word.substr(1))});
  }
  words >> word;
  const std::string padding = word.substr(1);
  if (padding.find_first_not_of("0123456789") == std::string::npos) {
    attributes.set("padding", int64_t{std::stoll(padding)});
  } else {
    attributes.set("padding", padding);
  }
  words >> word;
  attributes.set("padding_mode", word);
  attributes.set("in_channels", x.shape()[1]);
  attributes.set("out_channels", weight.shape()[0]);
  attributes.set("bias", bias);
  return layers::default_registry().make("Conv1d", attributes);
}

TEST_CASE("conv1d: PyTorch's goldens") {
  const TensorMap file = read_safetensors(STRAND_SOURCE_DIR "/tests/golden/conv1d.safetensors");
  int cases = 0;
  for (const auto& [key, y] : file) {
    if (!key.ends_with(".y")) continue;
    ++cases;
    const std::string name = key.substr(0, key.size() - 2);
    INFO(name);
    std::vector<Tensor> inputs;
    inputs.push_back(copy_of(file.at(name + ".x").view()));
    Parameters parameters;
    parameters.emplace("weight", copy_of(file.at(name + ".weight").view()));
    const auto bias = file.find(name + ".bias");
    if (bias != file.end()) parameters.emplace("bias", copy_of(bias->second.view()));
    const auto layer = layer_of(name, inputs[0], parameters.at("weight"), bias != file.end());

    // The reference is held to PyTorch's numbers, all others to the reference.
    Truth truth = reference_truth(*layer, inputs, parameters);
    REQUIRE(truth.values[0].shape() == y.shape());
    std::vector<Tensor> golden;
    golden.push_back(copy_of(y.view()));
    truth.factor = 1;  // PyTorch summed in double too: what differs is the rounding to float32
    const Comparison comparison = compare(golden, truth);
    CHECK_MESSAGE(comparison.wrong == 0, comparison.first);
    check_against_reference(*layer, inputs, parameters, name);
  }
  CHECK(cases == 26);
}

}  // namespace
}  // namespace strand::testing
