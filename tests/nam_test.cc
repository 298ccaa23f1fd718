// Neural Amp Modeler's captures: our YAML, their weights, and what their own
// player gave for ten seconds at 48 kHz. They are warmed with silence; layers
// that start at zeros instead differ for a receptive field, and are the same
// after it.

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "engine/session.h"
#include "graphs/io/npy.h"
#include "graphs/io/safetensors.h"
#include "graphs/network.h"
#include "tests/cuda_required.h"
#include "tests/shared_data.h"

namespace strand::testing {
namespace {

// Of the player's own builds among themselves it is 5e-6.
constexpr double kBound = 2e-5;

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE_MESSAGE(at != std::string::npos, from);
  return text.replace(at, from.size(), to);
}

std::string example(const std::string& name) {
  std::ifstream file(std::string(STRAND_SOURCE_DIR) + "/examples/networks/" + name);
  REQUIRE_MESSAGE(file, name);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return replaced(text, "weights: {seed: 0}", "weights: from_the_test.safetensors");
}

std::string without_warm_up(std::string text) {
  for (const char* layer : {"  - {name: warm_up", "  - {name: playing"}) {
    const size_t at = text.find(layer);
    REQUIRE(at != std::string::npos);
    text.erase(at, text.find('\n', at) + 1 - at);
  }
  for (size_t at = 0; (at = text.find("warm_up", at)) != std::string::npos;) text.replace(at, 7, "audio");
  return replaced(text, "sound: playing", "sound: head_scale");
}

struct Capture {
  TensorMap weights;
  Tensor input;
  std::vector<float> expected;
};

Capture read_capture(const std::filesystem::path& folder, const std::string& name) {
  Capture capture;
  capture.weights = read_safetensors(folder / (name + ".safetensors"));
  if (capture.weights.contains("head_scale")) {
    const auto scale = capture.weights.extract("head_scale");
    capture.weights.emplace("head_scale.weight", Tensor({1, 1, 1}, scale.mapped().as<const float>()));
  }
  const Tensor input = read_npy(folder / "input_10s_48k.npy");
  capture.input = Tensor({1, 1, input.shape().elements()}, input.as<const float>());
  const Tensor expected = read_npy(folder / ("out_" + name + ".npy"));
  capture.expected.assign(expected.as<const float>().begin(), expected.as<const float>().end());
  return capture;
}

Tensor play(const std::string& yaml, const TensorMap& weights, const std::vector<TensorView>& inputs, Device device) {
  const graphs::Network network = graphs::Network::from_memory(yaml, weights);
  graphs::CompileOptions options;
  options.device = device;
  options.dimensions = graphs::match_dimensions(network.graph(), {{"audio", inputs[0].shape()}});
  Session session(network.compile(options), 2);
  return std::move(session.run_to_host(inputs)[0]);
}

std::vector<Device> devices() {
  std::vector<Device> result = {{DeviceType::kCpu, 0}};
  if (cuda_available()) result.push_back({DeviceType::kCuda, 0});
  return result;
}

double largest_difference(std::span<const float> a, std::span<const float> b, size_t begin, size_t end) {
  double largest = 0;
  for (size_t i = begin; i < end; ++i) {
    const double difference = std::fabs(static_cast<double>(a[i]) - b[i]);
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

void check(const std::string& yaml, const std::string& name, size_t receptive_field, double zeros_differ_by) {
  const auto folder = shared_data("nam");
  if (!folder) return;
  const Capture capture = read_capture(*folder, name);
  const size_t length = capture.expected.size();
  for (const Device device : devices()) {
    CAPTURE(to_string(device));
    const Tensor warm = play(yaml, capture.weights, {capture.input.view()}, device);
    REQUIRE(warm.shape() == capture.input.shape());
    const double largest = largest_difference(warm.as<const float>(), capture.expected, 0, length);
    MESSAGE(name << " on " << to_string(device) << ": largest difference " << largest);
    CHECK(largest <= kBound);

    const Tensor zeros = play(without_warm_up(yaml), capture.weights, {capture.input.view()}, device);
    const auto samples = zeros.as<const float>();
    CHECK(largest_difference(samples, capture.expected, 0, receptive_field - 1) >= zeros_differ_by);
    CHECK(largest_difference(samples, capture.expected, receptive_field - 1, length) <= kBound);
  }
}

TEST_CASE("NAM: WaveNet A1 standard") { check(example("nam_wavenet_a1.yaml"), "wavenet_a1_standard", 4093, 0.1); }

TEST_CASE("NAM: WaveNet A2, 8 channels") { check(example("nam_wavenet_a2.yaml"), "A2_sub1", 6347, 0.001); }

TEST_CASE("NAM: WaveNet A2, 3 channels") {
  check(replaced(example("nam_wavenet_a2.yaml"), "channels: 8}", "channels: 3}"), "A2_sub0", 6347, 0.001);
}

// Its gates come in PyTorch's order, i f g o. The states that it stores are those after the silence; zeros are not.
TEST_CASE("NAM: LSTM") {
  const auto folder = shared_data("nam");
  if (!folder) return;
  Capture capture = read_capture(*folder, "lstm");
  TensorMap weights;
  const auto take = [&](const char* from, const char* to) {
    weights.emplace(to, std::move(capture.weights.extract(from).mapped()));
  };
  take("lstm0.weight_ih", "lstm.weight_ih_l0");
  take("lstm0.weight_hh", "lstm.weight_hh_l0");
  take("lstm0.bias", "lstm.bias_ih_l0");
  take("head.weight", "head.weight");
  take("head.bias", "head.bias");
  weights.emplace("lstm.bias_hh_l0", Tensor({12}, std::vector<float>(12, 0.0F)));
  const Tensor h({1, 1, 3}, capture.weights.at("lstm0.h0").as<const float>());
  const Tensor c({1, 1, 3}, capture.weights.at("lstm0.c0").as<const float>());
  const std::string yaml = example("nam_lstm.yaml");
  for (const Device device : devices()) {
    CAPTURE(to_string(device));
    const std::vector<TensorView> inputs = {capture.input.view(), h.view(), c.view()};
    const Tensor warm = play(yaml, weights, inputs, device);
    const double largest = largest_difference(warm.as<const float>(), capture.expected, 0, capture.expected.size());
    MESSAGE("lstm on " << to_string(device) << ": largest difference " << largest);
    CHECK(largest <= kBound);
  }
  const std::vector<TensorView> inputs = {capture.input.view(), h.view(), c.view()};
  const std::string cold = replaced(without_warm_up(yaml), "head_scale", "columns");
  const Tensor zeros({1, 1, 3}, std::vector<float>(3, 0.0F));
  const Tensor from_zeros = play(cold, weights, {capture.input.view(), zeros.view(), zeros.view()}, {});
  CHECK(largest_difference(from_zeros.as<const float>(), capture.expected, 0, 1000) >= 1e-3);
  const auto rows = weights.at("lstm.weight_ih_l0").as<float>();
  std::swap_ranges(rows.begin(), rows.begin() + 3, rows.begin() + 3);
  const Tensor swapped = play(yaml, weights, inputs, {});
  CHECK(largest_difference(swapped.as<const float>(), capture.expected, 0, capture.expected.size()) >= 1e-3);
}

}  // namespace
}  // namespace strand::testing
