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
#include "tests/stream_check.h"

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

// Not causal: the stream comes late by what it says, and is then the whole run's, bit for bit.
TEST_CASE("PhaseNet as a stream") {
  const auto folder = shared_data("phasenet");
  if (!folder) return;
  // The crops of 3,000 samples, counted from the end.
  std::string open = replaced(example(), "[batch, 3, 3000], defaults: {batch: 1}",
                              "[batch, 3, length], defaults: {batch: 1, length: 3000}");
  open = replaced(open, "[channels, start, length]", "[channels, start, end]");
  open = replaced(open, "end: $start + $length", "end: $end");
  open = replaced(open, "start: 0, length: 47}", "start: 0, end: -1}");
  open = replaced(open, "start: 0, length: 188}", "start: 0, end: null}");
  open = replaced(open, "start: 1, length: 750}", "start: 1, end: -1}");
  open = replaced(open, "start: 0, length: 3000}\n", "start: 0, end: null}\n");
  const graphs::Network network =
      graphs::Network::from_memory(open, read_safetensors(*folder / "phasenet.safetensors"));
  const Tensor signal = read_npy(*folder / "input_f32.npy");
  graphs::CompileOptions options;
  options.dimensions = {{"batch", 8}, {"length", 3000}};
  const auto whole = run_whole(network, options, signal);
  for (const int64_t chunk : {7, 100, 3000}) {
    CAPTURE(chunk);
    StreamSession session(graphs::compile_stream(network, options, chunk), {.max_chunk = chunk});
    const int64_t latency = session.times().latency(0);
    CHECK(latency > 0);
    MESSAGE("latency " << latency << " samples");
    // Until the latency has passed nothing need come; after it all but as many samples have.
    int64_t pushed = 0;
    int64_t known = 0;
    while (pushed + chunk <= 3000) {
      known += session.push(std::vector{times_of(signal, pushed, chunk).view()})[0].shape()[2];
      pushed += chunk;
      if (known < pushed - latency) FAIL_CHECK("later than its latency: " << known << " after " << pushed);
    }
    session.reset();
    CHECK(same_bits(stream(session, signal, {chunk})[0], whole[0]));
  }
}

}  // namespace
}  // namespace strand::testing
