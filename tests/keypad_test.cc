// The keypad example: its network against PyTorch's stored output, its call against the digits dialled, on every
// device; and the decoding rule at its edges. The two files are taken apart here, so that it runs without libzip and
// libsndfile, as on a bare GPU machine.

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "engine/session.h"
#include "examples/keypad/decode.h"
#include "graphs/compare.h"
#include "graphs/io/npy.h"
#include "graphs/io/npz.h"
#include "graphs/io/wav.h"
#include "tests/cuda_required.h"

namespace strand::testing {
namespace {

const std::string kFolder = std::string(STRAND_SOURCE_DIR) + "/examples/keypad/";

std::string read_bytes(const std::string& name) {
  std::ifstream file(kFolder + name, std::ios::binary);
  REQUIRE_MESSAGE(file, name);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A little-endian number; both files and every machine that we build for are.
template <class T>
T number(const std::string& bytes, size_t at) {
  REQUIRE(at + sizeof(T) <= bytes.size());
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

bool floats_equal(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::ranges::equal(a.as<const float>(), b.as<const float>());
}

// reference.npz: numpy.savez stores without compression, a local header before each array.
TensorMap reference() {
  const std::string bytes = read_bytes("reference.npz");
  TensorMap arrays;
  for (size_t at = 0; bytes.compare(at, 4, "PK\x03\x04") == 0;) {
    REQUIRE(number<uint16_t>(bytes, at + 8) == 0);  // the method: stored
    const size_t size = number<uint32_t>(bytes, at + 18);
    const size_t name_size = number<uint16_t>(bytes, at + 26);
    const std::string name = bytes.substr(at + 30, name_size);
    at += 30 + name_size + number<uint16_t>(bytes, at + 28);
    REQUIRE(at + size <= bytes.size());
    arrays.emplace(name.substr(0, name.find(".npy")),
                   parse_npy(std::as_bytes(std::span(bytes)).subspan(at, size), name));
    at += size;
  }
  return arrays;
}

// call.wav: the canonical header of 44 bytes, then 16-bit samples.
Tensor call() {
  const std::string bytes = read_bytes("call.wav");
  REQUIRE(bytes.compare(36, 4, "data") == 0);
  std::vector<float> samples(number<uint32_t>(bytes, 40) / 2);
  for (size_t i = 0; i < samples.size(); ++i) samples[i] = number<int16_t>(bytes, 44 + 2 * i) / 32768.0F;
  return {{1, 1, static_cast<int64_t>(samples.size())}, std::span<const float>(samples)};
}

std::vector<Device> devices() {
  std::vector<Device> result = {parse_device("cpu")};
  if (cuda_available()) result.push_back(parse_device("cuda"));
  return result;
}

// Probabilities of a frame each: `key` has `probability`, silence the rest.
struct Frame {
  char key = ' ';  // ' ': silence
  float probability = 0.9F;
};

std::string decoded(const std::vector<Frame>& frames) {
  std::vector<float> probabilities(static_cast<size_t>(keypad::kChannels) * frames.size(), 0.0F);
  for (size_t t = 0; t < frames.size(); ++t) {
    const size_t silence = static_cast<size_t>(keypad::kSilence) * frames.size() + t;
    probabilities[silence] = 1;
    if (frames[t].key == ' ') continue;
    probabilities[keypad::kKeys.find(frames[t].key) * frames.size() + t] = frames[t].probability;
    probabilities[silence] -= frames[t].probability;
  }
  return keypad::text(keypad::decode(probabilities));
}

std::string decoded(const std::string& keys) {
  std::vector<Frame> frames;
  for (const char key : keys) frames.push_back({key});
  return decoded(frames);
}

}  // namespace

TEST_CASE("keypad: the network gives PyTorch's probabilities") {
  const graphs::Network network = graphs::Network::load(kFolder + "keypad.yaml");
  TensorMap stored = reference();
  REQUIRE(stored.size() == 2);
  TensorMap inputs;
  inputs.emplace("audio", std::move(stored.at("audio")));
  TensorMap expected;
  expected.emplace("probabilities", std::move(stored.at("probabilities")));

  graphs::CompareOptions options;
  options.compile.dimensions = graphs::match_dimensions(network.graph(), {{"audio", inputs.at("audio").shape()}});
  options.threads = 2;
  const graphs::Truth truth = graphs::find_truth(network, inputs, options);
  for (const Device device : devices()) {
    CAPTURE(to_string(device));
    options.compile.device = device;
    const graphs::DeviceErrors errors = graphs::compare_device(network, inputs, truth, options);
    CHECK(errors.ok());
    const std::vector<graphs::OutputErrors> against = graphs::compare_outputs(errors.values, expected, truth);
    REQUIRE(against.size() == 1);
    CHECK(against[0].errors.ok());
    MESSAGE(to_string(device) << ": largest difference " << against[0].errors.largest << ", "
                              << against[0].errors.of_bound << " of the bound");
  }
}

TEST_CASE("keypad: the digits of the call") {
  const graphs::Network network = graphs::Network::load(kFolder + "keypad.yaml");
  const Tensor audio = call();
  std::string expected = read_bytes("expected.txt");
  expected.erase(expected.find_last_not_of('\n') + 1);
  for (const Device device : devices()) {
    CAPTURE(to_string(device));
    graphs::CompileOptions options;
    options.device = device;
    options.dimensions = graphs::match_dimensions(network.graph(), {{"audio", audio.shape()}});
    Session session(network.compile(options), 2);
    const std::vector<Tensor> outputs = session.run_to_host(std::array{audio.view()});
    CHECK(outputs[0].shape() == Shape{1, keypad::kChannels, audio.shape()[2] / keypad::kHop});
    CHECK(keypad::text(keypad::decode(outputs[0].as<const float>())) == expected);
  }
}

TEST_CASE("keypad: the libraries read its files to the same numbers") {
  if (built_with_libzip()) {
    const TensorMap arrays = read_npz(kFolder + "reference.npz");
    for (const auto& [name, array] : reference()) CHECK(floats_equal(arrays.at(name), array));
  }
  if (built_with_sndfile()) {
    const Audio audio = read_wav(kFolder + "call.wav");
    CHECK(audio.rate == 8000);
    CHECK(floats_equal(audio.samples, call()));
  }
}

TEST_CASE("keypad: a key counts from three frames on") {
  CHECK(decoded("").empty());
  CHECK(decoded("  55  ").empty());
  CHECK(decoded("  555  ") == "5");
  CHECK(decoded("555555555") == "5");
  CHECK(decoded("55 55 55").empty());
  CHECK(decoded("123A456B789C*0#D").empty());
  CHECK(decoded("111222333AAA444555666BBB777888999CCC***000###DDD") == keypad::kKeys);
}

TEST_CASE("keypad: the same key counts again after two frames of silence, and after another key") {
  CHECK(decoded("555 555") == "5");
  CHECK(decoded("555  555") == "55");
  CHECK(decoded("555  55").size() == 1);
  CHECK(decoded("555 5 555") == "5");  // silence, but never twice in a row
  CHECK(decoded("5552555") == "5");
  CHECK(decoded("555222555") == "525");
}

TEST_CASE("keypad: a probability of exactly one half is silence") {
  const float above = std::nextafter(0.5F, 1.0F);
  CHECK(decoded({{'7', 0.5F}, {'7', 0.5F}, {'7', 0.5F}}).empty());
  CHECK(decoded({{'7', above}, {'7', above}, {'7', above}}) == "7");
  CHECK(decoded({{'7', 0.9F}, {'7', 0.9F}, {'7', 0.5F}, {'7', 0.9F}}).empty());
}

TEST_CASE("keypad: when a digit was, and how sure") {
  constexpr size_t kFrames = 9;
  std::vector<float> probabilities(static_cast<size_t>(keypad::kChannels) * kFrames, 0.0F);
  const std::array<float, kFrames> ones = {0, 0.75F, 1, 1, 0.25F, 1, 0, 0, 0};  // the first channel, "1"
  std::ranges::copy(ones, probabilities.begin());
  const std::vector<keypad::Digit> digits = keypad::decode(probabilities);
  REQUIRE(digits.size() == 1);
  CHECK(digits[0].key == '1');
  CHECK(digits[0].begin == 1);
  CHECK(digits[0].end == 6);
  CHECK(digits[0].probability == 0.8);
}

}  // namespace strand::testing
