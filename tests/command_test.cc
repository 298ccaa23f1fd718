// The `strand` command from outside: what it prints, what it writes, and how it exits.

#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/session.h"
#include "graphs/io/npy.h"
#include "graphs/io/npz.h"
#include "graphs/io/safetensors.h"
#include "graphs/io/wav.h"
#include "graphs/network.h"
#include "tests/run_command.h"

namespace {

using strand::DType;
using strand::Shape;
using strand::Tensor;
using strand::testing::CommandResult;
using strand::testing::contains;
using strand::testing::kNetwork;
using strand::testing::random_tensor;
using strand::testing::read_text;
using strand::testing::run_strand;
using strand::testing::TemporaryFolder;

constexpr const char* kTwoInputs = R"(strand: 1
name: two
weights: {seed: 0}
inputs:
  a: {shape: [1, 3, length], defaults: {length: 20}}
  b: {shape: [1, 3, length]}
layers:
  - {name: sum, type: Add, inputs: [a, b]}
  - {name: half, type: Conv1d, in_channels: 3, out_channels: 1, kernel_size: 2, stride: 2, inputs: sum}
outputs: [sum, half]
)";

// What the library makes of the same input.
std::vector<float> expected_output(const Tensor& input) {
  const auto network = strand::graphs::Network::from_memory(kNetwork, {});
  strand::graphs::CompileOptions options;
  options.dimensions = {{"length", input.shape()[-1]}};
  strand::Session session(network.compile(options));
  const strand::TensorView view{{DType::kFloat32, {1, 2, input.shape()[-1]}}, input.view().data, {}};
  const auto outputs = session.run_to_host({&view, 1});
  const auto values = outputs[0].as<const float>();
  return {values.begin(), values.end()};
}

std::vector<float> values_of(const Tensor& tensor) {
  const auto values = tensor.as<const float>();
  return {values.begin(), values.end()};
}

}  // namespace

TEST_CASE("every subcommand explains itself") {
  for (const char* command : {"run", "stream", "inspect", "compare", "bench", "layers"}) {
    CAPTURE(command);
    const CommandResult result = run_strand({command, "--help"});
    CHECK(result.code == 0);
    CHECK(contains(result.out, "strand " + std::string(command)));
    CHECK(result.err.empty());
  }
  CHECK(run_strand({"--help"}).code == 0);
  CHECK(contains(run_strand({"--version"}).out, "strand "));
}

TEST_CASE("a command line that makes no sense exits 2 with one line") {
  const std::vector<std::vector<std::string>> lines = {
      {}, {"walk"}, {"run"}, {"run", "net.yaml", "--bananas"}, {"bench"}, {"run", "net.yaml", "--threads", "-1"}};
  for (const auto& line : lines) {
    const CommandResult result = run_strand(line);
    CHECK(result.code == 2);
    CHECK(result.out.empty());
    CHECK(result.err.starts_with("strand: "));
    CHECK(std::ranges::count(result.err, '\n') == 1);
  }
}

TEST_CASE("run reads and writes .npy, and takes [C, L] as [1, C, L]") {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kNetwork);
  const Tensor input = random_tensor({2, 64});
  strand::write_npy(folder.file("x.npy"), input.view());
  const CommandResult result =
      run_strand({"run", net, "--input", folder.file("x.npy"), "--output", folder.file("y.npy")});
  INFO(result.err);
  REQUIRE(result.code == 0);
  CHECK(contains(result.out, "taken from [2, 64]"));
  CHECK(contains(result.out, "to " + folder.file("y.npy")));
  const Tensor output = strand::read_npy(folder.file("y.npy"));
  CHECK(output.shape() == Shape{1, 2, 64});
  CHECK(values_of(output) == expected_output(input));
  CHECK(folder.names() == std::vector<std::string>{"net.yaml", "x.npy", "y.npy"});
}

TEST_CASE("run takes several inputs by name and writes several outputs") {
  const TemporaryFolder folder;
  const std::string net = folder.write("two.yaml", kTwoInputs);
  strand::TensorMap inputs;
  inputs.emplace("a", random_tensor({1, 3, 10}, 1));
  inputs.emplace("b", random_tensor({1, 3, 10}, 2));
  strand::write_npy(folder.file("a.npy"), inputs.find("a")->second.view());
  strand::write_npy(folder.file("b.npy"), inputs.find("b")->second.view());
  strand::write_safetensors(folder.file("in.safetensors"), inputs);
  const CommandResult by_name =
      run_strand({"run", net, "--input", "a=" + folder.file("a.npy"), "--input", "b=" + folder.file("b.npy"),
                  "--output", "half=" + folder.file("half.npy"), "--output", folder.file("all.safetensors")});
  INFO(by_name.err);
  REQUIRE(by_name.code == 0);
  const strand::TensorMap all = strand::read_safetensors(folder.file("all.safetensors"));
  CHECK(all.size() == 2);
  CHECK(by_name.out.find("output   sum ") < by_name.out.find("output   half "));  // as in the description
  CHECK(all.find("half")->second.shape() == Shape{1, 1, 5});
  CHECK(values_of(strand::read_npy(folder.file("half.npy"))) == values_of(all.find("half")->second));
  CHECK(all.find("sum")->second.as<const float>()[7] ==
        inputs.find("a")->second.as<const float>()[7] + inputs.find("b")->second.as<const float>()[7]);

  CHECK(run_strand({"run", net, "--input", folder.file("in.safetensors")}).code == 0);
  if (strand::built_with_libzip()) {
    strand::write_npz(folder.file("in.npz"), inputs);
    const CommandResult zipped =
        run_strand({"run", net, "--input", folder.file("in.npz"), "--output", folder.file("out.npz")});
    CHECK(zipped.code == 0);
    CHECK(strand::read_npz(folder.file("out.npz")).size() == 2);
  }
  const CommandResult unnamed = run_strand({"run", net, "--input", folder.file("a.npy")});
  CHECK(unnamed.code == 2);
  CHECK(contains(unnamed.err, "say for which input"));
  const CommandResult missing = run_strand({"run", net, "--input", "a=" + folder.file("a.npy")});
  CHECK(missing.code == 2);
  CHECK(contains(missing.err, "input 'b' was not given"));
  const CommandResult unknown = run_strand({"run", net, "--input", "c=" + folder.file("a.npy")});
  CHECK(contains(unknown.err, "no input 'c'; there is a, b"));
}

TEST_CASE("run holds a sound file's rate and channels against the description") {
  if (!strand::built_with_sndfile()) return;
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kNetwork);
  strand::write_wav(folder.file("good.wav"), random_tensor({1, 2, 50}).view(), 16000);
  strand::write_wav(folder.file("fast.wav"), random_tensor({1, 2, 50}).view(), 44100);
  strand::write_wav(folder.file("mono.wav"), random_tensor({1, 1, 50}).view(), 16000);
  const CommandResult good =
      run_strand({"run", net, "--input", folder.file("good.wav"), "--output", folder.file("y.wav")});
  INFO(good.err);
  REQUIRE(good.code == 0);
  const strand::Audio written = strand::read_wav(folder.file("y.wav"));
  CHECK(written.rate == 16000);
  CHECK(written.samples.shape() == Shape{1, 2, 50});
  const CommandResult fast = run_strand({"run", net, "--input", folder.file("fast.wav")});
  CHECK(fast.code == 2);
  CHECK(contains(fast.err, "44100 Hz"));
  CHECK(contains(fast.err, "16000 Hz"));
  const CommandResult mono = run_strand({"run", net, "--input", folder.file("mono.wav")});
  CHECK(mono.code == 2);
  CHECK(contains(mono.err, "[1, 1, 50], expected [batch, 2, length]"));
}

TEST_CASE("run asks for a rate only where the output is a sound file") {
  if (!strand::built_with_sndfile()) return;
  const TemporaryFolder folder;
  const std::string net = folder.write("two.yaml", kTwoInputs);
  std::filesystem::create_directory(folder.file("x.wav.d"));
  // half has another length than the input, and only its folder is named as a sound file is.
  const CommandResult result =
      run_strand({"run", net, "--random", "--rate", "8000", "--output", "sum=" + folder.file("sum.wav"), "--output",
                  "half=" + folder.file("x.wav.d/half.npy")});
  INFO(result.err);
  CHECK(result.code == 0);
  const CommandResult unknown = run_strand({"run", net, "--random", "--output", "sum=" + folder.file("sum.wav"),
                                            "--output", "half=" + folder.file("x.wav.d/half.npy")});
  CHECK(unknown.code == 2);
  CHECK(contains(unknown.err, "no rate is known"));
}

TEST_CASE("run's sizes come from the inputs, and --set must agree") {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kNetwork);
  strand::write_npy(folder.file("x.npy"), random_tensor({1, 2, 30}).view());
  CHECK(run_strand({"run", net, "--input", folder.file("x.npy"), "--set", "length=30"}).code == 0);
  const CommandResult other = run_strand({"run", net, "--input", folder.file("x.npy"), "--set", "length=31"});
  CHECK(other.code == 2);
  CHECK(contains(other.err, "--set length=31, but the inputs given have length=30"));
  for (const char* set : {"length", "length=", "length=x", "=3", "length=-1", "length=99999999999999999999"}) {
    CHECK(run_strand({"run", net, "--random", "--set", set}).code == 2);
  }
  const CommandResult unknown = run_strand({"run", net, "--random", "--set", "width=3"});
  CHECK(unknown.code == 2);
  CHECK(contains(unknown.err, "width"));
}

TEST_CASE("run --random is the same for the same seed") {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kNetwork);
  const auto run = [&](const char* seed, const char* output) {
    return run_strand({"run", net, "--random", "--seed", seed, "--set", "batch=3", "--output", folder.file(output)});
  };
  REQUIRE(run("7", "a.npy").code == 0);
  REQUIRE(run("7", "b.npy").code == 0);
  REQUIRE(run("8", "c.npy").code == 0);
  CHECK(strand::read_npy(folder.file("a.npy")).shape() == Shape{3, 2, 100});
  CHECK(read_text(folder.file("a.npy")) == read_text(folder.file("b.npy")));
  CHECK(read_text(folder.file("a.npy")) != read_text(folder.file("c.npy")));
  const CommandResult nothing = run_strand({"run", net});
  CHECK(nothing.code == 2);
  CHECK(contains(nothing.err, "--random"));
}

TEST_CASE("run takes an implementation and a precision by name") {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kNetwork);
  const CommandResult reference = run_strand({"run", net, "--random", "--implementation", "cpu.reference"});
  CHECK(reference.code == 0);
  CHECK(contains(reference.out, "cpu.reference x 3"));
  CHECK(contains(run_strand({"run", net, "--random", "--threads", "1"}).out, "1 thread,"));
  CHECK(contains(run_strand({"run", net, "--random", "--precision", "float64"}).out, "float64 [1, 2, 100]"));
  CHECK(run_strand({"run", net, "--random", "--implementation", "cpu.bananas"}).code == 2);
  CHECK(run_strand({"run", net, "--random", "--precision", "float13"}).code == 2);
  CHECK(run_strand({"run", net, "--random", "--device", "tpu"}).code == 2);
}

TEST_CASE("inspect shows layers, totals, receptive field and memory") {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kNetwork);
  const CommandResult text = run_strand({"inspect", net, "--set", "length=200"});
  INFO(text.err);
  REQUIRE(text.code == 0);
  for (const char* part : {"stem + relu", "Conv1d + ReLU", "[1, 8, 200]", "16,000", "receptive field",
                           "9 samples, 4 before and 4 after", "peak memory"}) {
    CAPTURE(part);
    CHECK(contains(text.out, part));
  }
  const CommandResult json = run_strand({"inspect", net, "--json"});
  REQUIRE(json.code == 0);
  const auto parsed = nlohmann::json::parse(json.out);
  CHECK(parsed["layers"].size() == 2);
  CHECK(parsed["layers"][0]["layer"] == "relu");
  CHECK(parsed["layers"][0]["fused"] == std::vector<std::string>{"stem", "relu"});
  CHECK(parsed["layers"][0]["parameters"] == 2 * 8 * 5 + 8);
  CHECK(parsed["parameters"] == 2 * 8 * 5 + 8 + 8 * 2 * 3 + 2);
  CHECK(parsed["multiply_adds"] == 100 * (2 * 8 * 5 + 8 * 2 * 3));
  CHECK(parsed["receptive_fields"][0]["receptive_field"] == 9);
  CHECK(parsed["peak_bytes"] == parsed["weight_bytes"].get<int64_t>() + parsed["arena_bytes"].get<int64_t>());
  const auto apart = nlohmann::json::parse(run_strand({"inspect", net, "--json", "--no-fuse"}).out);
  CHECK(apart["layers"].size() == 3);
  CHECK(apart["layers"][0]["fused"].empty());
  CHECK(apart["parameters"] == parsed["parameters"]);
  const auto halves = nlohmann::json::parse(run_strand({"inspect", net, "--json", "--precision", "float16"}).out);
  CHECK(halves["layers"][0]["outputs"][0]["dtype"] == "float32");  // on the CPU
  CHECK(run_strand({"inspect", net, "--precision", "bfloat16", "--no-half-storage"}).code == 0);
}

TEST_CASE("inspect works without the weights file, and says so") {
  const TemporaryFolder folder;
  std::string text = kNetwork;
  text.replace(text.find("{seed: 0}"), 9, "gone.safetensors");
  const std::string net = folder.write("net.yaml", text);
  const CommandResult result = run_strand({"inspect", net});
  CHECK(result.code == 0);
  CHECK(contains(result.err, "gone.safetensors"));
  CHECK(contains(result.out, "stem"));
  CHECK(run_strand({"run", net, "--random"}).code == 2);
  CHECK(run_strand({"inspect", net, "--weights", folder.file("none.safetensors")}).code == 2);
  CHECK(run_strand({"inspect", folder.file("no.yaml")}).code == 2);
}

TEST_CASE("compare exits 0 within the bounds and 1 past them") {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kNetwork);
  const CommandResult good = run_strand({"compare", net, "--devices", "cpu"});
  INFO(good.out, good.err);
  CHECK(good.code == 0);
  CHECK(contains(good.out, "every error is within its bound"));
  CHECK(contains(good.out, "random N(0, 1)"));
  CHECK(contains(good.out, "head"));

  const Tensor input = random_tensor({1, 2, 40});
  std::vector<float> output = expected_output(input);
  const auto store = [&](const std::string& name, const Shape& shape) {
    strand::TensorMap stored;
    stored.emplace("audio", strand::copy_of(input.view()));
    stored.emplace("head", Tensor(shape, std::span<const float>(output)));
    strand::write_safetensors(folder.file(name), stored);
    return folder.file(name);
  };
  CHECK(run_strand({"compare", net, "--devices", "cpu", "--against", store("good.safetensors", {1, 2, 40})}).code == 0);
  CHECK(run_strand({"compare", net, "--devices", "cpu", "--against", store("shape.safetensors", {1, 1, 80})}).code ==
        2);
  strand::TensorMap outputs_alone;
  outputs_alone.emplace("head", Tensor({1, 2, 40}, std::span<const float>(output)));
  strand::write_safetensors(folder.file("alone.safetensors"), outputs_alone);
  const CommandResult alone =
      run_strand({"compare", net, "--devices", "cpu", "--against", folder.file("alone.safetensors")});
  CHECK(alone.code == 2);
  CHECK(contains(alone.err, "not the input 'audio' that they are of"));
  output[5] += 1e-3F;
  const CommandResult bad =
      run_strand({"compare", net, "--devices", "cpu", "--against", store("bad.safetensors", {1, 2, 40})});
  CHECK(bad.code == 1);
  CHECK(contains(bad.out, "FAILED"));
  output[5] = NAN;
  CHECK(run_strand({"compare", net, "--devices", "cpu", "--against", store("nan.safetensors", {1, 2, 40})}).code == 1);
}

TEST_CASE("bench times a network, as text and as JSON") {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kNetwork);
  const CommandResult text = run_strand({"bench", net, "--seconds", "0.05"});
  INFO(text.err);
  REQUIRE(text.code == 0);
  for (const char* part : {"median", "p95", "p99", "samples/s", "times real time", "FLOP/s", "relu"}) {
    CAPTURE(part);
    CHECK(contains(text.out, part));
  }
  const CommandResult json = run_strand({"bench", net, "--repeat", "12", "--json"});
  REQUIRE(json.code == 0);
  const auto parsed = nlohmann::json::parse(json.out);
  CHECK(parsed["runs"] == 12);
  CHECK(parsed["layers"].size() == 2);
  CHECK(parsed["median_ms"].get<double>() > 0);
  CHECK(parsed["median_ms"].get<double>() <= parsed["p99_ms"].get<double>());
}

TEST_CASE("bench --conv1d times and checks every implementation") {
  const TemporaryFolder folder;
  const std::string cases = folder.write("cases.txt",
                                         "# made for this test\n"
                                         "# name N Cin Cout L K s d pad groups goal_ms\n"
                                         "plain 2 8 16 500 3 1 1 1 1 0.5\n"
                                         "strided 1 6 4 300 5 3 2 0 2 -\n\n"
                                         "depthwise 1 8 8 200 3 1 4 4 8 1e-2\n");
  const CommandResult text = run_strand({"bench", "--conv1d", cases, "--repeat", "2", "--check"});
  INFO(text.out, text.err);
  REQUIRE(text.code == 0);
  for (const char* part : {"plain", "strided", "depthwise", "cpu.", "of floor", "Geometric means"}) {
    CAPTURE(part);
    CHECK(contains(text.out, part));
  }
  const CommandResult json = run_strand(
      {"bench", "--conv1d", cases, "--repeat", "2", "--filter", "str", "--json", "--implementation", "cpu.reference"});
  REQUIRE(json.code == 0);
  const auto parsed = nlohmann::json::parse(json.out);
  REQUIRE(parsed["cases"].size() == 1);
  CHECK(parsed["cases"][0]["results"].size() == 1);
  CHECK(parsed["cases"][0]["results"][0]["error_over_eps_sum"].get<double>() <= 1.01);

  const CommandResult bad = run_strand({"bench", "--conv1d", folder.write("bad.txt", "# x\na 1 2 3\n")});
  CHECK(bad.code == 2);
  CHECK(contains(bad.err, "bad.txt:2"));
  CHECK(run_strand({"bench", "--conv1d", cases, "--filter", "bananas"}).code == 2);
  CHECK(run_strand({"bench", "--conv1d", folder.write("big.txt", "a 1 1 1 10 11 1 1 0 1\n")}).code == 2);
}

TEST_CASE("layers lists types and fields") {
  const std::string all = run_strand({"layers"}).out;
  CHECK(contains(all, "Conv1d: "));
  CHECK(contains(all, "fields  in_channels, out_channels, kernel_size, stride (1), "));
  CHECK(contains(all, "cpu     eigen, reference\n"));
  CHECK(contains(run_strand({"layers", "--markdown"}).out,
                 "| ReLU |  | any | pointwise | native | native, reference |\n"));
  const CommandResult fields = run_strand({"layers", "Conv1d"});
  CHECK(fields.code == 0);
  CHECK(contains(fields.out, "dilation"));
  CHECK(contains(fields.out, "required"));
  const CommandResult unknown = run_strand({"layers", "Conv1"});
  CHECK(unknown.code == 2);
  CHECK(contains(unknown.err, "Conv1d"));
}
