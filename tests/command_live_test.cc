// `strand stream --streams` from outside.

#include "engine/cuda_runtime.h"
#include "tests/run_command.h"

namespace strand::testing {
namespace {

TEST_CASE("live streams are timed, a row for each number of them") {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", R"(strand: 1
name: live
weights: {seed: 4}
inputs:
  audio: {shape: [batch, 1, length], defaults: {batch: 1, length: 100}, rate: 48000}
layers:
  - {name: a, type: Conv1d, in_channels: 1, out_channels: 4, kernel_size: 3, dilation: 8, padding: causal}
  - {name: b, type: Conv1d, in_channels: 4, out_channels: 1, kernel_size: 4, stride: 2, padding: 1}
)");
  const auto timed = [&](std::vector<std::string> options) {
    options.insert(options.begin(), {"stream", net, "--seconds", "0.1"});
    return run_strand(options);
  };
  const CommandResult result = timed({"--streams", "1,12", "--chunk", "96"});
  INFO(result.err);
  CHECK(result.code == 0);
  CHECK(contains(result.out, "96 samples at 48000 Hz, 2.000 ms"));
  CHECK(contains(result.out, "\n     12  "));
  CHECK(contains(result.out, "look-ahead 1 of"));
  const CommandResult odd = timed({"--streams", "2", "--chunk", "95"});
  CHECK(odd.code == 2);
  CHECK(contains(odd.err,
                 "a chunk of 95 samples: live streams of 'live' take a multiple of 2, the period of its strides"));
  const CommandResult sound = timed({"--streams", "2", "--input", "x.wav"});
  CHECK(sound.code == 2);
  CHECK(contains(sound.err, "--input excludes --streams"));
  if (cuda::device_count() == 0) return;
  const CommandResult single = timed({"--device", "cuda"});
  CHECK(single.code == 2);
  CHECK(contains(single.err, "a stream of any chunk runs on the CPU"));
  CHECK(timed({"--device", "cuda", "--streams", "1,64"}).code == 0);
}

}  // namespace
}  // namespace strand::testing
