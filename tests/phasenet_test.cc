// PhaseNet's weights and eight seismograms: our YAML gives the stored probabilities, and gives others where
// TensorFlow's SAME is taken for PyTorch's symmetric padding, which has the same shapes.

#include <doctest/doctest.h>

#include <array>
#include <fstream>
#include <iterator>
#include <string>

#include "graphs/compare.h"
#include "graphs/io/npy.h"
#include "graphs/io/safetensors.h"
#include "tests/cuda_required.h"
#include "tests/shared_data.h"

namespace strand::testing {
namespace {

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE_MESSAGE(at != std::string::npos, from);
  return text.replace(at, from.size(), to);
}

std::string example() {
  std::ifstream file(std::string(STRAND_SOURCE_DIR) + "/examples/networks/phasenet.yaml");
  REQUIRE(file);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return replaced(text, "weights: {seed: 0}", "weights: from_the_test.safetensors");
}

TEST_CASE("PhaseNet on eight seismograms") {
  const auto folder = shared_data("phasenet");
  if (!folder) return;
  const TensorMap weights = read_safetensors(*folder / "phasenet.safetensors");
  TensorMap inputs;
  inputs.emplace("seismogram", read_npy(*folder / "input_f32.npy"));
  TensorMap expected;
  expected.emplace("probabilities", read_npy(*folder / "probs_f64.npy"));

  const graphs::Network network = graphs::Network::from_memory(example(), weights);
  graphs::CompareOptions options;
  options.threads = 2;
  options.compile.dimensions = {{"batch", 8}};
  const graphs::Truth truth = graphs::find_truth(network, inputs, options);
  const graphs::ElementErrors of_truth =
      graphs::element_errors(truth.outputs.at("probabilities"), expected.at("probabilities"), std::array{1e-12});
  CHECK_MESSAGE(of_truth.ok(), "cpu.reference: largest difference " << of_truth.largest);

  std::vector<Device> devices = {{DeviceType::kCpu, 0}};
  if (cuda_available()) devices.push_back({DeviceType::kCuda, 0});
  for (const Device device : devices) {
    CAPTURE(to_string(device));
    options.compile.device = device;
    const graphs::DeviceErrors errors = graphs::compare_device(network, inputs, truth, options);
    CHECK(errors.ok());
    const auto against = graphs::compare_outputs(errors.values, expected, truth);
    REQUIRE(against.size() == 1);
    CHECK(against[0].errors.ok());
    MESSAGE(to_string(device) << ": largest difference " << against[0].errors.largest << ", "
                              << against[0].errors.of_bound << " of the bound");
  }

  const graphs::Network symmetric =
      graphs::Network::from_memory(replaced(example(), "padding: same_tf", "padding: 3"), weights);
  options.compile.device = {};
  const graphs::Truth other = graphs::find_truth(symmetric, inputs, options);
  CHECK(graphs::element_errors(other.outputs.at("probabilities"), expected.at("probabilities"), std::array{1e-12})
            .largest > 0.01);
}

}  // namespace
}  // namespace strand::testing
