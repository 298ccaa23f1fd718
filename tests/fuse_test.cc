// The pass fuse, on and off: what it fuses as epilogues (fold_test.cc has the folds), what it leaves, and that the
// numbers are the same.

#include "graphs/fuse.h"

#include <doctest/doctest.h>

#include "graphs/compare.h"
#include "graphs/inspect.h"
#include "graphs/verify.h"
#include "tests/make_layer.h"
#include "tests/stream_check.h"

namespace strand::testing {
namespace {

using graphs::CompileOptions;
using graphs::Network;

// [2, 8, length] -> a convolution `c` of so many channels, and the layers after it.
std::string network_of(const std::string& rest, int channels = 8, const std::string& outputs = "",
                       const std::string& fields = "kernel_size: 3, padding: 1") {
  return "strand: 1\nname: fused\nweights: {seed: 4}\ninputs:\n  x: {shape: [2, 8, length], defaults: {length: 300}}\n"
         "layers:\n  - {name: c, type: Conv1d, in_channels: 8, out_channels: " +
         std::to_string(channels) + ", " + fields + "}\n" + rest +
         (outputs.empty() ? "" : "outputs: [" + outputs + "]\n");
}

// A layer a line; `fields` may name its inputs.
std::string line(const std::string& name, const std::string& type, const std::string& fields = "") {
  return "  - {name: " + name + ", type: " + type + (fields.empty() ? "" : ", " + fields) + "}\n";
}

std::vector<std::string> step_names(const Network& network, const CompileOptions& options) {
  std::vector<std::string> names;
  const std::shared_ptr<const Plan> plan = network.compile(options);
  for (const PlanStep& step : plan->steps) names.push_back(step.name);
  return names;
}

CompileOptions unfused() {
  CompileOptions options;
  options.fuse = false;
  return options;
}

// Compiles with and without the pass: so many steps, the same bits on the CPU, and within its bounds on every device.
void check_fused(const std::string& yaml, const std::vector<std::string>& steps) {
  CAPTURE(yaml);
  const Network network = Network::from_memory(yaml, {});
  CHECK(step_names(network, {}) == steps);
  const Tensor x = random_tensor({2, 8, 300});
  const auto on = run_whole(network, {}, x);
  const auto off = run_whole(network, unfused(), x);
  REQUIRE(on.size() == off.size());
  for (size_t i = 0; i < on.size(); ++i) CHECK(same_bits(on[i], off[i]));
  TensorMap inputs;
  inputs.emplace("x", copy_of(x.view()));
  graphs::CompareOptions options;
  const graphs::Truth truth = graphs::find_truth(network, inputs, options);
  for (const Device device : {Device{}, Device{DeviceType::kCuda, 0}}) {
    if (device.is_cuda() && !cuda_available()) continue;
    options.compile.device = device;
    const graphs::DeviceErrors errors = graphs::compare_device(network, inputs, truth, options);
    CHECK(errors.ok());
    for (const graphs::LayerErrors& layer : errors.layers) {
      CAPTURE(layer.type);
      CHECK(layer.errors.of_bound <= 1);
    }
  }
}

struct Case {
  const char* type;
  const char* fields;
};

constexpr Case kAlone[] = {{"ReLU", ""},
                           {"LeakyReLU", "negative_slope: 0.2"},
                           {"PReLU", ""},
                           {"PReLU", "num_parameters: 8"},
                           {"Tanh", ""},
                           {"Sigmoid", ""},
                           {"SiLU", ""},
                           {"GELU", ""},
                           {"GELU", "approximate: tanh"},
                           {"ELU", "alpha: 0.5"},
                           {"SELU", ""},
                           {"CELU", "alpha: 0.7"},
                           {"Clamp", "min: -0.1"},
                           {"ReLU6", ""},
                           {"Hardtanh", ""},
                           {"Snake", "channels: 8"},
                           {"Snake", "channels: 8, alpha_logscale: true"},
                           {"Snake1d", "channels: 8"},
                           {"SnakeBeta", "channels: 8"},
                           {"Identity", ""},
                           {"Dropout", ""},
                           {"Multiply", "value: 0.3"},
                           {"Add", "inputs: [c, x]"},
                           {"Add", "inputs: [x, c]"}};

}  // namespace

TEST_CASE("each layer that an epilogue can be is fused, and gives the same bits") {
  for (const Case& each : kAlone) check_fused(network_of(line("last", each.type, each.fields)), {"last"});
  for (const Case& each : {Case{"GLU", "dim: 1"}, Case{"GLU", "dim: -2"}, Case{"GatedActivation", ""},
                           Case{"GatedActivation", "activation: relu, gate: softsign"},
                           Case{"GatedActivation", "activation: gelu, gate: silu"},
                           Case{"GatedActivation", "activation: hardtanh, gate: identity"}}) {
    // One pair of rows, a block of them and a part, more than the buffer holds at once.
    for (const int channels : {2, 16, 210}) {
      check_fused(network_of(line("last", each.type, each.fields), channels), {"last"});
    }
  }
}

TEST_CASE("layers that an epilogue can't be stay") {
  for (const Case& each : {Case{"Mish", ""}, Case{"Softmax", "dim: 1"}, Case{"Multiply", "inputs: [c, x]"},
                           Case{"Subtract", "inputs: [c, x]"}, Case{"Add", "value: 1.0"}, Case{"Divide", "value: 3.0"},
                           Case{"Add", "inputs: [c, x, x]"}, Case{"Add", "inputs: [c, c]"}, Case{"Magnitude", ""}}) {
    check_fused(network_of(line("last", each.type, each.fields)), {"c", "last"});
  }
}

TEST_CASE("chains are fused as far as one epilogue goes") {
  const std::string relu = line("relu", "ReLU");
  check_fused(network_of(relu + line("last", "Add", "inputs: [relu, x]")), {"last"});
  check_fused(network_of(line("add", "Add", "inputs: [x, c]") + line("last", "PReLU", "num_parameters: 8")), {"last"});
  check_fused(network_of(line("gate", "GatedActivation") + line("add", "Add", "inputs: [gate, x]") +
                             line("last", "Multiply", "value: 0.7071067811865476"),
                         16),
              {"last"});
  check_fused(network_of(line("gate", "GLU", "dim: 1") + line("snake", "Snake", "channels: 8") +
                             line("last", "Add", "inputs: [x, snake]"),
                         16),
              {"last"});
  check_fused(network_of(line("drop", "Dropout") + relu + line("last", "Dropout1d")), {"last"});
  check_fused(network_of(relu + line("last", "Tanh")), {"relu", "last"});
  check_fused(network_of(relu + line("add", "Add", "inputs: [relu, x]") + line("last", "ReLU")), {"add", "last"});
  check_fused(network_of(line("scale", "Multiply", "value: 2.0") + line("last", "ReLU")), {"scale", "last"});
  check_fused(network_of(relu + line("last", "GLU", "dim: 1")), {"relu", "last"});
  check_fused(network_of(line("add", "Add", "inputs: [c, x]") + line("last", "Add", "inputs: [add, x]")),
              {"add", "last"});
  // The convolutions of two branches: one of them takes the sum.
  check_fused(network_of(line("d", "Conv1d", "inputs: [x], in_channels: 8, out_channels: 8, kernel_size: 1") +
                         line("add", "Add", "inputs: [c, d]") + line("last", "ReLU")),
              {"d", "last"});
}

TEST_CASE("a pointwise convolution of one channel is computed with the one that it is added to") {
  const auto network = [](const std::string& fields, const std::string& mix, const std::string& rest, int channels = 8,
                          const std::string& outputs = "") {
    const std::string one = line("one", "Conv1d", "inputs: [x], in_channels: 8, out_channels: 1, " + fields);
    const std::string m =
        line("m", "Conv1d", "inputs: [one], in_channels: 1, out_channels: " + std::to_string(channels) + ", " + mix);
    return network_of(one + m + rest, channels, outputs, fields);
  };
  const std::string same = "kernel_size: 3, padding: 1";
  const std::string add = line("sum", "Add", "inputs: [c, m]");
  for (const char* mix : {"kernel_size: 1", "kernel_size: 1, bias: false"}) {
    check_fused(network(same, mix, add), {"one", "sum"});
    check_fused(network(same, mix, line("sum", "Add", "inputs: [m, c]")), {"one", "sum"});
    for (const char* last : {"ReLU", "LeakyReLU", "Tanh"}) {
      check_fused(network(same, mix, add + line("last", last)), {"one", "last"});
    }
    check_fused(
        network(same, mix, add + line("p", "PReLU", "num_parameters: 8") + line("last", "Multiply", "value: 0.3")),
        {"one", "last"});
    // Few rows, and more than a block of them; strides, groups, taps in several chunks.
    for (const int channels : {1, 3, 6, 22}) check_fused(network(same, mix, add, channels), {"one", "sum"});
    check_fused(network("kernel_size: 5, stride: 3, padding_mode: reflect, padding: 2", mix, add), {"one", "sum"});
    check_fused(network("kernel_size: 200, dilation: 300, padding: same", mix, add + line("last", "ReLU")),
                {"one", "last"});
    check_fused(network_of(line("one", "Mean", "inputs: [x], dim: 1, keepdim: true") +
                               line("m", "Conv1d", std::string("in_channels: 1, out_channels: 8, ") + mix) + add,
                           8, "", "kernel_size: 3, padding: 1, groups: 4"),
                {"one", "sum"});
  }
  // Another kernel, a layer after it, a function before the sum, a second reader, a name that was asked for.
  check_fused(network(same, same, add), {"one", "m", "sum"});
  check_fused(
      network(same, "kernel_size: 1", line("r", "Softsign", "inputs: [m]") + line("sum", "Add", "inputs: [c, r]")),
      {"one", "m", "r", "sum"});
  check_fused(network_of(line("r", "ReLU") + line("one", "Mean", "inputs: [x], dim: 1, keepdim: true") +
                         line("m", "Conv1d", "in_channels: 1, out_channels: 8, kernel_size: 1") +
                         line("sum", "Add", "inputs: [r, m]")),
              {"one", "m", "sum"});
  check_fused(network(same, "kernel_size: 1", add, 8, "sum, m"), {"one", "m", "sum"});
  check_fused(network(same, "kernel_size: 1, implementation: cpu.reference", add), {"one", "m", "sum"});
  // Where time lies along the batch neither convolution has it, but the channel that is mixed does.
  check_fused(
      "strand: 1\nname: turned\nweights: {seed: 4}\ninputs:\n  x: {shape: [2, 8, length], defaults: {length: 300}}\n"
      "layers:\n" +
          line("t", "Transpose", "dim0: 0, dim1: 2") +
          line("c", "Conv1d", "in_channels: 8, out_channels: 5, kernel_size: 1") +
          line("one", "Mean", "inputs: [t], dim: 1, keepdim: true") +
          line("m", "Conv1d", "in_channels: 1, out_channels: 5, kernel_size: 1") + line("sum", "Add", "inputs: [c, m]"),
      {"t", "one", "m", "sum"});
  const graphs::NetworkSummary summary =
      graphs::summarise(Network::from_memory(network(same, "kernel_size: 1", add), {}), {});
  CHECK(summary.layers[1].type == "Conv1d + Conv1d + Add");
  CHECK(summary.layers[1].fused == std::vector<std::string>{"c", "m", "sum"});
  CHECK(summary.parameters == 8 * 8 * 3 + 8 + 8 * 3 + 1 + 8 + 8);
}

TEST_CASE("strides, groups and other ends") {
  const std::string last = line("last", "Snake", "channels: 8");
  for (const char* fields :
       {"kernel_size: 5, stride: 3", "kernel_size: 9, dilation: 4, padding: causal, bias: false",
        "kernel_size: 3, groups: 8", "kernel_size: 4, groups: 2, padding_mode: reflect, padding: 2",
        "kernel_size: 129, padding: same", "kernel_size: 2, dilation: 120"}) {
    check_fused(network_of(last, 8, "", fields), {"last"});
  }
  check_fused(network_of(line("last", "GLU", "dim: 1"), 8, "", "kernel_size: 40, stride: 7, bias: false"), {"last"});
  // Taps in several chunks: the residual comes with the last of them.
  check_fused(
      network_of(line("last", "Add", "inputs: [c, x]"), 8, "", "kernel_size: 200, dilation: 300, padding: same"),
      {"last"});
  // cpu.eigen has no gates of groups, and nothing slower is taken for it.
  check_fused(network_of(line("last", "GLU", "dim: 1"), 8, "", "kernel_size: 3, groups: 2"), {"c", "last"});
}

TEST_CASE("a value that is read elsewhere is not fused away") {
  const std::string relu = line("relu", "ReLU");
  check_fused(network_of(relu + line("last", "Add", "inputs: [relu, c]")), {"c", "relu", "last"});
  check_fused(network_of(relu, 8, "c, relu"), {"c", "relu"});
  check_fused(network_of(relu + line("last", "Tanh", "inputs: [relu]"), 8, "relu, last"), {"relu", "last"});
  // Along time, where halves are not of channels, and where the residual is stretched.
  check_fused(network_of(line("last", "GLU", "dim: 2")), {"c", "last"});
  check_fused(
      network_of(line("mean", "Mean", "inputs: [x], dim: 2, keepdim: true") + line("last", "Add", "inputs: [c, mean]")),
      {"c", "mean", "last"});
  check_fused(network_of(line("last", "Add", "inputs: [c, x]"), 1), {"c", "last"});
}

TEST_CASE("the pass can be switched off, and does not touch the reference or what is asked for by name") {
  const std::string yaml = network_of(line("relu", "ReLU"));
  const Network network = Network::from_memory(yaml, {});
  const std::vector<std::string> both = {"c", "relu"};
  CHECK(step_names(network, unfused()) == both);
  CompileOptions options;
  options.precision = Precision::kFloat64;
  CHECK(step_names(network, options) == both);
  for (const char* name : {"cpu.native", "cpu.reference"}) {
    options = {};
    options.implementation = name;
    CHECK(step_names(network, options) == both);
  }
  options.implementation = "cpu.eigen";
  CHECK(step_names(network, options) == std::vector<std::string>{"relu"});
  check_fused(network_of(line("relu", "ReLU", "implementation: cpu.native")), both);
  // The reference of a convolution takes epilogues too.
  check_fused(network_of(line("last", "SiLU"), 8, "", "kernel_size: 3, implementation: cpu.eigen"), {"last"});
  const Network named = Network::from_memory(
      network_of(line("last", "SiLU"), 8, "", "kernel_size: 3, implementation: cpu.reference"), {});
  CHECK(step_names(named, {}) == std::vector<std::string>{"last"});
}

TEST_CASE("a kept value is not fused away, and can be read") {
  const Network network =
      Network::from_memory(network_of(line("relu", "ReLU") + line("last", "Add", "inputs: [relu, x]")), {});
  CompileOptions options;
  options.keep = {"c"};
  CHECK(step_names(network, options) == std::vector<std::string>{"c", "relu", "last"});
  options.keep = {"relu"};
  CHECK(step_names(network, options) == std::vector<std::string>{"relu", "last"});
  const Tensor x = random_tensor({2, 8, 300});
  Session session(network.compile(options));
  session.run(std::vector{x.view()});
  REQUIRE(session.plan().kept.size() == 1);
  const Tensor found = copy_of(session.value(session.plan().kept[0].value));
  CompileOptions all = unfused();
  all.keep_values = true;
  Session apart(network.compile(all));
  apart.run(std::vector{x.view()});
  const Tensor expected = copy_of(apart.value(apart.plan().steps[1].outputs[0]));
  CHECK(std::ranges::equal(found.as<const float>(), expected.as<const float>()));
  options.keep = {"gone"};
  CHECK_THROWS_WITH_AS(network.compile(options), "network: no layer 'gone' to keep", Error);
}

TEST_CASE("a summary tells what was fused") {
  const Network network =
      Network::from_memory(network_of(line("relu", "ReLU") + line("last", "Add", "inputs: [relu, x]")), {});
  const graphs::NetworkSummary fused = graphs::summarise(network, {});
  const graphs::NetworkSummary apart = graphs::summarise(network, unfused());
  REQUIRE(fused.layers.size() == 1);
  CHECK(fused.layers[0].type == "Conv1d + ReLU + Add");
  CHECK(fused.layers[0].fused == std::vector<std::string>{"c", "relu", "last"});
  CHECK(fused.parameters == apart.parameters);
  CHECK(fused.multiply_adds == apart.multiply_adds);
  CHECK(fused.arena_bytes < apart.arena_bytes);
  CHECK(network.tuning_keys({})[0] != network.tuning_keys(unfused())[0]);
}

TEST_CASE("fused networks give the same bits offline, tiled and streamed") {
  // A residual that comes earlier than the convolution's own input, one that comes later, and strides around both.
  const std::string late =
      line("a", "Conv1d", "inputs: [x], in_channels: 8, out_channels: 8, kernel_size: 9, padding: [0, 8]");
  for (const std::string& rest :
       {line("relu", "ReLU") + line("last", "Add", "inputs: [relu, x]"),
        line("b", "Tanh", "inputs: [x]") + line("last", "Add", "inputs: [c, b]"),
        // What is mixed in comes earlier than the convolution's own input.
        line("one", "Mean", "inputs: [x], dim: 1, keepdim: true") +
            line("m", "Conv1d", "in_channels: 1, out_channels: 8, kernel_size: 1") +
            line("sum", "Add", "inputs: [c, m]") + line("last", "LeakyReLU"),
        late + line("b", "MaxPool1d", "inputs: [a], kernel_size: 3, stride: 1, padding: 1") +
            line("sum", "Add", "inputs: [c, b]") + line("last", "ReLU"),
        line("p", "PReLU", "num_parameters: 8") +
            line("down", "Conv1d", "in_channels: 8, out_channels: 16, kernel_size: 4, stride: 2, padding: 1") +
            line("g", "GLU", "dim: 1") + line("pool", "AvgPool1d", "inputs: [p], kernel_size: 2") +
            line("last", "Add", "inputs: [pool, g]")}) {
    CAPTURE(rest);
    const Network network = Network::from_memory(network_of(rest), {});
    TensorMap inputs;
    inputs.emplace("x", random_tensor({2, 8, 300}));
    graphs::VerifyOptions options;
    options.chunks = {1, 7, 64};
    options.tiles = {16, 50};
    for (const graphs::VerifiedRun& run : graphs::verify(network, inputs, options)) {
      if (rest.find("MaxPool1d") != std::string::npos && run.way.starts_with("live") &&
          run.way.find("context") == std::string::npos) {
        CHECK(run.refused.find("MaxPool1d 'b' can't be computed in live streams: its padding") != std::string::npos);
        continue;
      }
      CHECK_MESSAGE(run.ok(), run.way << ": " << run.refused << run.different << " of " << run.compared << " differ");
    }
    const Tensor& x = inputs.find("x")->second;
    StreamSession session(graphs::compile_stream(network, {}, 64), {.max_chunk = 64});
    CHECK(same_bits(stream(session, x, {5, 64, 1})[0], run_whole(network, unfused(), x)[0]));
  }
}

}  // namespace strand::testing
