// `strand stream` from outside: the sound of a file or a pipe in chunks gives what `strand run` gives on the whole.

#include <cmath>
#include <cstring>
#include <limits>

#include "graphs/io/npy.h"
#include "graphs/io/wav.h"
#include "graphs/stream.h"
#include "tests/run_command.h"
#include "tools/time_histogram.h"

namespace strand::testing {
namespace {

// Branches of different delay, reflected ends, a stride that chunks are no multiple of; two channels in and three out.
constexpr const char* kStreamed = R"(strand: 1
name: streamed
weights: {seed: 4}
inputs:
  audio: {shape: [batch, 2, length], defaults: {batch: 1, length: 100}, rate: 16000}
layers:
  - {name: stem, type: Conv1d, in_channels: 2, out_channels: 4, kernel_size: 5, padding: 2, padding_mode: reflect}
  - {name: relu, type: ReLU}
  - {name: past, type: Conv1d, in_channels: 4, out_channels: 4, kernel_size: 3, dilation: 8, padding: causal}
  - {name: add, type: Add, inputs: [past, relu]}
  - {name: half, type: Conv1d, in_channels: 4, out_channels: 3, kernel_size: 4, stride: 2, padding: 1}
outputs: [half]
)";

constexpr const char* kTwoOutputs = R"(strand: 1
name: two
weights: {seed: 4}
inputs:
  audio: {shape: [1, 1, length]}
layers:
  - {name: a, type: Conv1d, in_channels: 1, out_channels: 1, kernel_size: 3, padding: causal}
  - {name: b, type: Conv1d, in_channels: 1, out_channels: 2, kernel_size: 3, stride: 3}
outputs: [a, b]
)";

std::vector<float> interleaved(const Tensor& sound) {
  const int64_t channels = sound.shape()[-2];
  const int64_t frames = sound.shape()[-1];
  std::vector<float> samples;
  for (int64_t t = 0; t < frames; ++t) {
    for (int64_t c = 0; c < channels; ++c)
      samples.push_back(sound.as<const float>()[static_cast<size_t>(c * frames + t)]);
  }
  return samples;
}

template <class T>
std::string raw(const std::vector<T>& samples) {
  return {reinterpret_cast<const char*>(samples.data()), samples.size() * sizeof(T)};
}

// A line for the shell, its exit status that of the last program.
CommandResult run_line(const TemporaryFolder& folder, const std::string& line) {
  const std::string all =
      "( " + line + " ) >" + shell_quoted(folder.file("out")) + " 2>" + shell_quoted(folder.file("err"));
  const int status = std::system(("bash -c " + shell_quoted(all)).c_str());
  CommandResult result;
  if (WIFEXITED(status)) result.code = WEXITSTATUS(status);
  result.out = read_text(folder.file("out"));
  result.err = read_text(folder.file("err"));
  std::filesystem::remove(folder.file("out"));
  std::filesystem::remove(folder.file("err"));
  return result;
}

std::string stream_line(const std::string& network, const std::string& options) {
  return shell_quoted(STRAND_COMMAND) + " stream " + shell_quoted(network) + " " + options;
}

// A sound, the network, and what `strand run` makes of it.
struct Case {
  TemporaryFolder folder;
  std::string net = folder.write("net.yaml", kStreamed);
  Tensor sound;
  Tensor expected;
  std::string raw_input;
  std::string raw_output;

  explicit Case(int64_t frames = 1001) : sound(random_tensor({1, 2, frames}, 5)) {
    write_npy(folder.file("x.npy"), sound.view());
    REQUIRE(run_strand({"run", net, "--input", folder.file("x.npy"), "--output", folder.file("y.npy")}).code == 0);
    expected = read_npy(folder.file("y.npy"));
    raw_input = raw(interleaved(sound));
    raw_output = raw(interleaved(expected));
    folder.write("x.raw", raw_input);
  }
};

TEST_CASE("a raw stream gives the bits of the whole sound, whatever the chunk") {
  const Case sound;
  for (const char* chunk : {"1", "7", "64", "480", "4096"}) {
    CAPTURE(chunk);
    const CommandResult result =
        run_line(sound.folder, "cat " + shell_quoted(sound.folder.file("x.raw")) + " | " +
                                   stream_line(sound.net, "--rate 16000 --chunk " + std::string(chunk)));
    INFO(result.err);
    CHECK(result.code == 0);
    CHECK(result.out == sound.raw_output);
    for (const char* part : {"network    streamed", "latency ", "state ", "real time  factor", "median", "p99", "worst",
                             "overruns ", "underruns ", "at 8000 Hz  to standard output, float32"}) {
      CHECK(contains(result.err, part));
    }
  }
}

TEST_CASE("a stream that begins in silence is one that zeros went before") {
  const Case sound;
  const auto out = [&](const std::string& options, const std::string& input) {
    sound.folder.write("in.raw", input);
    return run_line(sound.folder, stream_line(sound.net, options + " <" + shell_quoted(sound.folder.file("in.raw"))))
        .out;
  };
  const int64_t before = 200;  // frames; half as many come out
  const std::string zeros(before * 2 * sizeof(float), '\0');
  const std::string expected = out("", zeros + sound.raw_input).substr(before / 2 * 3 * sizeof(float));
  CHECK(expected != sound.raw_output);
  CHECK(out("--start silence --chunk 7", sound.raw_input) == expected);
  CHECK(out("--start silence --silence 0.1", sound.raw_input) == expected);
}

TEST_CASE("files in, files out, and both ways into a pipe") {
  if (!built_with_sndfile()) return;
  const Case sound;
  const auto& folder = sound.folder;
  write_wav(folder.file("x.wav"), sound.sound.view(), 16000);
  for (const char* chunk : {"1", "7", "480", "4096"}) {
    CAPTURE(chunk);
    const CommandResult result = run_strand(
        {"stream", sound.net, "--chunk", chunk, "--input", folder.file("x.wav"), "--output", folder.file("y.wav")});
    INFO(result.err);
    REQUIRE(result.code == 0);
    CHECK(result.err.empty());
    CHECK(contains(result.out, "1,001 samples, 0.063 s"));
    CHECK(!contains(result.out, "underruns"));
    const Audio written = read_wav(folder.file("y.wav"));
    CHECK(written.rate == 8000);
    CHECK(raw(interleaved(written.samples)) == sound.raw_output);
  }
  const std::string input = "--input " + shell_quoted(folder.file("x.wav"));
  CHECK(run_line(folder, stream_line(sound.net, input)).out == sound.raw_output);
  const CommandResult filed = run_line(
      folder, stream_line(sound.net, "--output " + shell_quoted(folder.file("y.wav")) + " <" + folder.file("x.raw")));
  CHECK(filed.code == 0);
  CHECK(contains(filed.out, "underruns"));
  CHECK(raw(interleaved(read_wav(folder.file("y.wav")).samples)) == sound.raw_output);
  CHECK(folder.names() == std::vector<std::string>{"net.yaml", "x.npy", "x.raw", "x.wav", "y.npy", "y.wav"});
}

TEST_CASE("16-bit samples are scaled, rounded and clipped") {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", R"(strand: 1
name: same
inputs:
  x: {shape: [1, 1, length], rate: 8000}
layers:
  - {name: y, type: Add, inputs: [x, x]}
)");
  const std::vector<int16_t> samples = {0, 1, -1, 100, 16383, 16384, -16384, -16385, 32767, -32768};
  folder.write("x.raw", raw(samples));
  const CommandResult result =
      run_line(folder, stream_line(net, "--chunk 3 --format s16 <" + shell_quoted(folder.file("x.raw"))));
  INFO(result.err);
  CHECK(result.code == 0);
  CHECK(result.out == raw(std::vector<int16_t>{0, 2, -2, 200, 32766, 32767, -32768, -32768, 32767, -32768}));
  CHECK(contains(result.err, "clipped    4 samples"));
}

TEST_CASE("one of several outputs is named, and starts are as the library's") {
  const TemporaryFolder folder;
  const std::string net = folder.write("two.yaml", kTwoOutputs);
  folder.write("x.raw", raw(interleaved(random_tensor({1, 1, 20}))));
  const std::string from = " --chunk 4 <" + shell_quoted(folder.file("x.raw"));
  const CommandResult unnamed = run_line(folder, stream_line(net, "--rate 9000" + from));
  CHECK(unnamed.code == 2);
  CHECK(contains(unnamed.err, "--output -: say which output, as NAME=-; there is a, b"));
  const CommandResult unknown = run_line(folder, stream_line(net, "--rate 9000 --output c=-" + from));
  CHECK(contains(unknown.err, "no output 'c'"));
  CHECK(contains(run_line(folder, stream_line(net, "--output a=-" + from)).err, "no rate is known"));
  const auto out = [&](const std::string& options) { return run_line(folder, stream_line(net, options + from)).out; };
  const std::string a = out("--rate 9000 --output a=-");
  CHECK(a.size() == 20 * sizeof(float));
  CHECK(out("--rate 9000 --output b=-").size() == 2 * 6 * sizeof(float));
  CHECK(out("--rate 9000 --output a=- --start context") == a.substr(2 * sizeof(float)));
  // The layer itself pads with zeros, so that silence is what it begins with in any case.
  CHECK(out("--rate 9000 --output a=- --start silence --silence 0.01") == a);
  if (!built_with_sndfile()) return;
  const CommandResult fraction =
      run_line(folder, stream_line(net, "--rate 10000 --output b=" + shell_quoted(folder.file("b.wav")) + from));
  CHECK(fraction.code == 2);
  CHECK(contains(fraction.err, "3333.333333 samples a second (1 for 3 of the input)"));
}

TEST_CASE("a file's length counts where padding depends on it") {
  if (!built_with_sndfile()) return;
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", R"(strand: 1
name: same
weights: {seed: 1}
inputs:
  x: {shape: [1, 1, length], defaults: {length: 40}, rate: 8000}
layers:
  - {name: y, type: Conv1d, in_channels: 1, out_channels: 1, kernel_size: 7, stride: 4, padding: same_tf}
)");
  for (const int64_t frames : {39, 40, 101}) {
    CAPTURE(frames);
    write_wav(folder.file("x.wav"), random_tensor({1, 1, frames}).view(), 8000);
    const std::vector<std::string> ends = {"--input", folder.file("x.wav"), "--output"};
    const auto made = [&](std::vector<std::string> line, const std::string& target) {
      line.insert(line.end(), ends.begin(), ends.end());
      line.push_back(folder.file(target));
      REQUIRE(run_strand(line).code == 0);
      return raw(interleaved(read_wav(folder.file(target)).samples));
    };
    CHECK(made({"stream", net, "--chunk", "8"}, "a.wav") == made({"run", net, "--rate", "2000"}, "b.wav"));
  }
}

TEST_CASE("a reader that goes ends the stream well") {
  const Case sound;
  const std::string line = stream_line(sound.net, "--chunk 16 --rate 16000");
  const CommandResult result =
      run_line(sound.folder, "cat /dev/zero | " + line + " | head -c 120 | wc -c; echo ${PIPESTATUS[1]}");
  INFO(result.err);
  CHECK(contains(result.out, "120\n0\n"));
  CHECK(contains(result.err, "ended      by who reads the output"));
  CHECK(contains(result.err, "real time"));
  CHECK(!contains(result.err, "strand: "));
}

TEST_CASE("a signal ends the sound, and all of it is written") {
  const Case sound;
  // What has come before the end is waited for; the rest comes of the end itself.
  const StreamTimes times(*graphs::compile_stream(graphs::Network::load(sound.net), {}, 7));
  StreamState state = times.start();
  times.advance(state, static_cast<int64_t>(sound.raw_input.size() / 8));
  const auto before_the_end = static_cast<size_t>(times.known(0, state)) * 12;
  REQUIRE(before_the_end < sound.raw_output.size());
  const std::string pipe = shell_quoted(sound.folder.file("pipe"));
  const std::string target = shell_quoted(sound.folder.file("y.raw"));
  const CommandResult result = run_line(
      sound.folder, "mkfifo " + pipe + "; (exec " + stream_line(sound.net, "--chunk 7 <" + pipe + " >" + target) +
                        ") & exec 5>" + pipe + "; cat " + shell_quoted(sound.folder.file("x.raw")) +
                        " >&5; for i in $(seq 600); do [ $(stat -c %s " + target + ") -ge " +
                        std::to_string(before_the_end) + " ] && break; sleep 0.1; done; kill -TERM $!; wait $!; " +
                        "echo code $?");
  INFO(result.out, result.err);
  CHECK(contains(result.out, "code 0"));
  CHECK(contains(result.err, "ended      by a signal"));
  CHECK(read_text(sound.folder.file("y.raw")) == sound.raw_output);
}

TEST_CASE("a cut sample is an error once all before it was written") {
  const Case sound;
  for (const size_t bytes : {size_t{1}, size_t{4}, size_t{7}}) {
    CAPTURE(bytes);
    sound.folder.write("cut.raw", sound.raw_input + std::string(bytes, 'x'));
    const std::string cut = " <" + shell_quoted(sound.folder.file("cut.raw"));
    const CommandResult result = run_line(sound.folder, stream_line(sound.net, "--chunk 13" + cut));
    CHECK(result.code == 2);
    CHECK(result.out == sound.raw_output);
    CHECK(contains(result.err, "strand: standard input ends within a frame: " + std::to_string(bytes) + " bytes of 8"));
    CHECK(contains(result.err, "overruns"));
    if (!built_with_sndfile()) continue;
    const std::string target = "--output " + shell_quoted(sound.folder.file("y.wav"));
    CHECK(run_line(sound.folder, stream_line(sound.net, target + cut)).code == 2);
    CHECK(raw(interleaved(read_wav(sound.folder.file("y.wav")).samples)) == sound.raw_output);
  }
}

TEST_CASE("what can't be streamed exits 2, says why, and leaves the output as it was") {
  const Case sound;
  const TemporaryFolder& folder = sound.folder;
  if (built_with_sndfile()) {
    write_wav(folder.file("fast.wav"), random_tensor({1, 2, 50}).view(), 44100);
    write_wav(folder.file("mono.wav"), random_tensor({1, 1, 50}).view(), 16000);
    write_wav(folder.file("good.wav"), random_tensor({1, 2, 50}).view(), 16000);
  }
  const std::string one_input = "inputs:\n  x: {shape: [1, 1, length], rate: 16000}\nlayers:\n";
  const std::string head = "strand: 1\nname: n\nweights: {seed: 0}\n";
  const std::string whole =
      folder.write("whole.yaml", head + one_input + "  - {name: p, type: AdaptiveAvgPool1d, output_size: 1}\n");
  const std::string inputs =
      folder.write("inputs.yaml", head +
                                      "inputs:\n  x: {shape: [1, 1, length]}\n  y: {shape: [1, 1, length]}\n"
                                      "layers:\n  - {name: a, type: Add, inputs: [x, y]}\n");
  const std::string fixed = folder.write(
      "fixed.yaml", head + "inputs:\n  x: {shape: [1, 1, 64], rate: 16000}\nlayers:\n  - {name: a, type: ReLU}\n");
  const std::string flat = folder.write(
      "flat.yaml", head + "inputs:\n  x: {shape: [1, length], rate: 16000}\nlayers:\n  - {name: a, type: ReLU}\n");
  folder.write("y.wav", "precious");
  // Without libsndfile a WAV file as output would be refused before anything else.
  const std::string to_file = built_with_sndfile() ? "--output " + folder.file("y.wav") : "";
  const std::string zeros = " </dev/zero";
  struct Row {
    std::string network;
    std::string options;
    std::string message;
    bool needs_sound = false;
  };
  const std::vector<Row> rows = {
      {sound.net, "--rate 48000 " + to_file + zeros,
       "--rate 48000, but input 'audio' of " + sound.net + " expects 16000 Hz"},
      {sound.net, to_file + " --input " + folder.file("fast.wav"),
       "fast.wav: has a rate of 44100 Hz, but input 'audio'", true},
      {sound.net, to_file + " --input " + folder.file("mono.wav"), "[1, 1, 100], expected [batch, 2, length]", true},
      {sound.net, to_file + " --input " + folder.file("none.wav"), "none.wav", true},
      {sound.net, to_file + " --input " + folder.file("x.npy"), "x.npy: no audio", true},
      {sound.net, to_file + " --format s16 --input " + folder.file("good.wav"), "--format is that of raw samples",
       true},
      {sound.net, to_file + " <" + folder.file("good.wav"), "standard input is a WAV file", true},
      {sound.net, to_file + " <" + folder.file("."), "standard input can't be read: Is a directory"},
      {sound.net, "--output " + folder.file("y.npy") + zeros, "y.npy: expected a .wav file"},
      {sound.net, "--output " + folder.file("no/y.wav") + zeros, "no/y.wav: can't be written", true},
      {sound.net, to_file + " --silence 1" + zeros, "--silence goes with --start silence"},
      {sound.net, to_file + " --start bananas" + zeros, "--start"},
      {sound.net, to_file + " --chunk 0" + zeros, "--chunk"},
      {sound.net, to_file + " --set batch=2" + zeros, "batch=2"},
      {whole, to_file + zeros, "AdaptiveAvgPool1d 'p' can't be computed piece by piece"},
      {inputs, to_file + zeros, "has 2 inputs; stream takes networks of one"},
      {fixed, to_file + zeros, "no input has an open length"},
      {flat, to_file + zeros, "has 2 axes, expected [batch, channels, length]"}};
  for (const Row& row : rows) {
    if (row.needs_sound && !built_with_sndfile()) continue;
    const CommandResult result = run_line(folder, stream_line(row.network, row.options));
    CAPTURE(row.options);
    INFO(result.err);
    CHECK(result.code == 2);
    CHECK(contains(result.err, row.message));
    CHECK(read_text(folder.file("y.wav")) == "precious");
  }
}

TEST_CASE("an end that can't be mirrored is an error, and nothing before it is lost") {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kStreamed);
  folder.write("x.raw", raw(interleaved(random_tensor({1, 2, 2}))));
  const CommandResult result = run_line(folder, stream_line(net, "<" + shell_quoted(folder.file("x.raw"))));
  CHECK(result.code == 2);
  CHECK(contains(result.err, "too few to mirror 2"));
  CHECK(contains(result.err, "2 samples, "));
  folder.write("x.raw", "");
  const CommandResult empty = run_line(folder, stream_line(net, "<" + shell_quoted(folder.file("x.raw"))));
  INFO(empty.err);
  CHECK(empty.code == 0);
  CHECK(empty.out.empty());
}

TEST_CASE("a histogram of times knows its quantiles to 1.6% in memory that stays") {
  tools::TimeHistogram times;
  CHECK(times.quantile(0.5) == 0);
  for (int64_t i = 1; i <= 100'000; ++i) times.add(i * 37);
  CHECK(times.count() == 100'000);
  CHECK(times.worst() == 3'700'000);
  CHECK(times.total() == 37 * int64_t{100'000} * 100'001 / 2);
  for (const double share : {0.00001, 0.01, 0.5, 0.99, 1.0}) {
    const double truth = share * 3'700'000;
    CHECK(static_cast<double>(times.quantile(share)) >= truth - 1e-6);
    CHECK(static_cast<double>(times.quantile(share)) <= truth * (1 + 1.0 / 64));
  }
  times.add(std::numeric_limits<int64_t>::max());
  times.add(-5);
  CHECK(times.quantile(1) == std::numeric_limits<int64_t>::max());
}

}  // namespace
}  // namespace strand::testing
