// Silero VAD over 60 s of speech, chunk by chunk, h and c and the 64 samples of context carried by the caller, against
// what ONNX Runtime gave in float32. Its own error and ours in double differ by 9.3e-7 at most.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "engine/session.h"
#include "graphs/io/npy.h"
#include "graphs/io/wav.h"
#include "graphs/network.h"
#include "tests/cuda_required.h"
#include "tests/shared_data.h"

namespace strand::testing {
namespace {

constexpr size_t kContext = 64;
constexpr size_t kChunk = 512;

double worst_difference(const graphs::Network& network, const graphs::CompileOptions& options,
                        std::span<const float> samples, std::span<const float> expected) {
  Session session(network.compile(options));
  std::vector<float> input(kContext + kChunk);
  std::vector<float> zeros(128);
  Tensor h({1, 128}, zeros);
  Tensor c({1, 128}, zeros);
  double worst = 0;
  for (size_t chunk = 0; chunk < expected.size(); ++chunk) {
    std::copy_n(samples.begin() + static_cast<ptrdiff_t>(chunk * kChunk), kChunk, input.begin() + kContext);
    const Tensor x({1, 1, static_cast<int64_t>(input.size())}, input);
    std::vector<Tensor> outputs = session.run_to_host(std::vector<TensorView>{x.view(), h.view(), c.view()});
    const Tensor probability = outputs[0].to(DType::kFloat64);
    worst = std::max(worst, std::fabs(probability.as<const double>()[0] - static_cast<double>(expected[chunk])));
    h = std::move(outputs[1]);
    c = std::move(outputs[2]);
    std::copy(input.end() - kContext, input.end(), input.begin());
  }
  return worst;
}

TEST_CASE("Silero VAD over a minute of speech") {
  const auto folder = shared_data("silero");
  if (!folder || !built_with_sndfile()) return;
  graphs::LoadOptions load;
  load.weights = *folder / "silero_vad_16k_op15_weights.safetensors";
  const graphs::Network network =
      graphs::Network::load(std::string(STRAND_SOURCE_DIR) + "/examples/networks/silero_vad.yaml", load);
  const Audio audio = read_wav(*folder / "test.wav");
  const Tensor expected = read_npy(*folder / "ref_ort_op15_probs.npy");
  const auto samples = audio.samples.as<const float>();
  REQUIRE(samples.size() == static_cast<size_t>(expected.shape()[0]) * kChunk);

  graphs::CompileOptions options;
  options.precision = Precision::kFloat64;
  CHECK(worst_difference(network, options, samples, expected.as<const float>()) <= 1e-6);
  options.precision = Precision::kFloat32;
  CHECK(worst_difference(network, options, samples, expected.as<const float>()) <= 5e-6);
  if (!cuda_available()) return;
  options.device = {DeviceType::kCuda, 0};
  CHECK(worst_difference(network, options, samples, expected.as<const float>()) <= 5e-6);
}

}  // namespace
}  // namespace strand::testing
