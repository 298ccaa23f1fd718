// The pass fuse, on and off: what it fuses as epilogues (fold_test.cc has the folds), what it leaves, and that the
// numbers are the same.

#include "graphs/fuse.h"

#include <doctest/doctest.h>

#include "graphs/compare.h"
#include "graphs/inspect.h"
#include "graphs/verify.h"
#include "layers/epilogue.h"
#include "tests/make_layer.h"
#include "tests/stream_check.h"

namespace strand::testing {
namespace {

using graphs::CompileOptions;
using graphs::Network;
using layers::Epilogue;

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

TEST_CASE("every implementation of Conv1d keeps its bound with every epilogue") {
  using Function = Epilogue::Function;
  std::vector<Epilogue> epilogues;
  const double parameters[][3] = {{0, 0, 0}, {0, 0, 0}, {0.1, 0, 0}, {-0.5, 0.7, 0}, {1.1, 0.6, 0.9}, {0, 0, 0},
                                  {0, 0, 0}, {0, 0, 0}, {0, 0, 0},   {0, 0, 0},      {0, 0, 0},       {0, 0, 0}};
  for (int function = 0; function <= static_cast<int>(Function::kSnake); ++function) {
    for (const auto residual : {Epilogue::Residual::kNone, Epilogue::Residual::kBefore, Epilogue::Residual::kAfter}) {
      Epilogue epilogue;
      epilogue.function = static_cast<Function>(function);
      for (int i = 0; i < 3; ++i) epilogue.parameters[i] = parameters[function][i];
      epilogue.residual = residual;
      if (function % 2 == 0) epilogue.scale = -1.7;
      epilogues.push_back(epilogue);
    }
  }
  for (const auto gate : {layers::HalfFunction::kSigmoid, layers::HalfFunction::kGELU}) {
    Epilogue epilogue = epilogues.back();
    epilogue.gated = true;
    epilogue.activation = gate == layers::HalfFunction::kGELU ? gate : layers::HalfFunction::kTanh;
    epilogue.gate = gate;
    epilogues.push_back(epilogue);
  }
  const auto shape = [](int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t groups) {
    return make_layer("Conv1d", {{"in_channels", in},
                                 {"out_channels", out},
                                 {"kernel_size", kernel},
                                 {"stride", stride},
                                 {"groups", groups},
                                 {"padding", kernel / 2}});
  };
  for (const auto& [layer, input] : {std::pair{shape(3, 4, 3, 1, 1), Shape{2, 3, 61}},
                                     {shape(48, 34, 3, 2, 1), Shape{2, 48, 269}},
                                     {shape(32, 130, 1, 1, 1), Shape{1, 32, 200}},
                                     {shape(2, 22, 5, 1, 1), Shape{2, 2, 2201}},   // cuda.few_channels: few inputs
                                     {shape(9, 16, 5, 1, 1), Shape{1, 9, 1303}},   // and few outputs
                                     {shape(20, 2, 3, 2, 1), Shape{2, 20, 1301}},  // by tap
                                     {shape(6, 6, 5, 1, 6), Shape{2, 6, 300}}}) {
    for (const Epilogue& epilogue : epilogues) {
      const std::shared_ptr<const layers::Layer> fused = layer->absorb(epilogue);
      REQUIRE(fused != nullptr);
      std::vector<Tensor> inputs;
      inputs.push_back(random_tensor(input));
      const std::vector<TensorType> plain = layer->infer(std::vector{inputs[0].type()});
      if (epilogue.residual != Epilogue::Residual::kNone) {
        Shape residual = plain[0].shape;
        if (epilogue.gated) residual.set(1, residual[1] / 2);
        inputs.push_back(random_tensor(residual));
      }
      const std::string what = "function " + std::to_string(static_cast<int>(epilogue.function)) + " residual " +
                               std::to_string(static_cast<int>(epilogue.residual)) + (epilogue.gated ? " gated" : "") +
                               " on " + to_string(input);
      const Report report = check_against_reference(*fused, inputs, random_parameters(*fused), what, 2);
      CHECK_MESSAGE(report.run >= 1, what);
    }
  }
}

}  // namespace strand::testing
