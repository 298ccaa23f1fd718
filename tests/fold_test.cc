// Layers that are one multiply-add a channel, folded into the weights of the sums before them: what is folded, what is
// left, and that the numbers stay within the bounds of the layers as described, in double.

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "graphs/compare.h"
#include "graphs/inspect.h"
#include "graphs/verify.h"
#include "layers/channel_affine.h"
#include "tests/make_layer.h"
#include "tests/stream_check.h"

namespace strand::testing {
namespace {

using graphs::CompileOptions;
using graphs::Network;
using Steps = std::vector<std::string>;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A layer a line; `fields` may name its inputs.
std::string line(const std::string& name, const std::string& type, const std::string& fields = "") {
  return "  - {name: " + name + ", type: " + type + (fields.empty() ? "" : ", " + fields) + "}\n";
}

std::string conv(const std::string& fields = "kernel_size: 3, padding: 1", int outputs = 8,
                 const std::string& type = "Conv1d") {
  return line("c", type, "in_channels: 8, out_channels: " + std::to_string(outputs) + ", " + fields);
}

std::string norm(int channels = 8, const std::string& fields = "", const std::string& name = "bn") {
  return line(name, "BatchNorm1d", "num_features: " + std::to_string(channels) + (fields.empty() ? "" : ", " + fields));
}

std::string described(const std::string& layers, const std::string& outputs = "",
                      const std::string& shape = "[2, 8, length], defaults: {length: 300}") {
  return "strand: 1\nname: folded\ninputs:\n  x: {shape: " + shape + "}\nlayers:\n" + layers +
         (outputs.empty() ? "" : "outputs: [" + outputs + "]\n");
}

// Random tensors for all that the network asks for; variances are not below 0.
TensorMap random_weights(const std::string& yaml) {
  graphs::LoadOptions options;
  options.seed = 0;
  TensorMap weights;
  const Network network = Network::from_memory(yaml, {}, options);
  for (const graphs::Node& node : network.graph().nodes) {
    for (const layers::Parameter& parameter : node.layer->parameters()) {
      Tensor tensor = random_tensor(parameter.shape);
      if (parameter.name == "running_var") {
        for (float& value : tensor.as<float>()) value = std::fabs(value);
      }
      weights.insert_or_assign(node.weights_path + "." + parameter.name, std::move(tensor));
    }
  }
  return weights;
}

Steps step_names(const Network& network, const CompileOptions& options = {}) {
  Steps names;
  const std::shared_ptr<const Plan> plan = network.compile(options);
  for (const PlanStep& step : plan->steps) names.push_back(step.name);
  return names;
}

CompileOptions unfused() {
  CompileOptions options;
  options.fuse = false;
  return options;
}

Tensor input_of(const Network& network) {
  std::vector<int64_t> sizes;
  for (const graphs::Dimension& size : network.graph().inputs[0].description.shape) {
    sizes.push_back(size.symbol.empty() ? size.size : 300);
  }
  return random_tensor(Shape(sizes));
}

// Each step within its bound of the layers as described, in double, on every device; outputs too where `whole`.
void check_bounds(const Network& network, const Tensor& x, bool whole = true) {
  TensorMap inputs;
  inputs.emplace("x", copy_of(x.view()));
  graphs::CompareOptions options;
  const graphs::Truth truth = graphs::find_truth(network, inputs, options);
  for (const Device device : {Device{}, Device{DeviceType::kCuda, 0}}) {
    if (device.is_cuda() && !cuda_available()) continue;
    options.compile.device = device;
    const graphs::DeviceErrors errors = graphs::compare_device(network, inputs, truth, options);
    for (const graphs::LayerErrors& layer : errors.layers) {
      CHECK_MESSAGE(layer.errors.of_bound <= 1, layer.type << " on " << to_string(device) << ": "
                                                           << layer.errors.of_bound << " of its bound, seed "
                                                           << test_seed());
    }
    if (whole) CHECK_MESSAGE(errors.ok(), "on " << to_string(device) << ", seed " << test_seed());
  }
}

void check_folded(const std::string& yaml, const Steps& steps) {
  CAPTURE(yaml);
  const Network network = Network::from_memory(yaml, random_weights(yaml));
  CHECK(step_names(network) == steps);
  check_bounds(network, input_of(network));
}

// Of one channel, and the first of its weights.
struct Numbers {
  const char* what;
  float weight, conv_bias, gamma, beta, mean, variance;
  bool folded;
};

}  // namespace

TEST_CASE("a batch norm after a convolution is folded into it") {
  for (const char* fields :
       {"kernel_size: 3, padding: 1", "kernel_size: 3, padding: 1, bias: false", "kernel_size: 1, groups: 8",
        "kernel_size: 5, groups: 4, stride: 2, bias: false", "kernel_size: 9, dilation: 3, padding: causal",
        "kernel_size: 4, padding: 2, padding_mode: reflect, bias: false",
        "kernel_size: 3, padding: 1, padding_mode: circular"}) {
    for (const int channels : {8, 24}) check_folded(described(conv(fields, channels) + norm(channels)), {"bn"});
  }
  check_folded(described(conv() + norm(8, "affine: false")), {"bn"});
  check_folded(described(conv("kernel_size: 3", 1) + norm(1)), {"bn"});
}

TEST_CASE("a batch norm after a transposed convolution or a matrix product is folded too") {
  for (const char* fields : {"kernel_size: 4, stride: 2, padding: 1", "kernel_size: 3, stride: 5, bias: false",
                             "kernel_size: 4, groups: 2, stride: 2", "kernel_size: 6, groups: 8, dilation: 2"}) {
    for (const int channels : {8, 24}) {
      check_folded(described(conv(fields, channels, "ConvTranspose1d") + norm(channels)), {"bn"});
    }
  }
  for (const char* bias : {"true", "false"}) {
    const std::string linear = line("l", "Linear", std::string("in_features: 8, out_features: 24, bias: ") + bias);
    check_folded(described(linear + norm(24), "", "[50, 8]"), {"bn"});
  }
  // Its features are the last axis, and not the channels.
  check_folded(described(line("l", "Linear", "in_features: 8, out_features: 8") + norm(), "", "[2, 8, 8]"),
               {"l", "bn"});
}

TEST_CASE("what follows goes on as an epilogue") {
  const std::string relu = line("relu", "ReLU");
  const std::string add = line("add", "Add", "inputs: [relu, x]");
  check_folded(described(conv() + norm() + relu), {"relu"});
  check_folded(described(conv() + norm() + relu + add), {"add"});
  check_folded(described(conv() + norm() + line("sum", "Add", "inputs: [x, bn]") + line("last", "PReLU")), {"last"});
  check_folded(described(conv("kernel_size: 3, padding: 1", 16) + norm(16) + line("glu", "GLU", "dim: 1")), {"glu"});
  check_folded(described(conv() + line("drop", "Dropout") + norm() + line("last", "Snake", "channels: 8")), {"last"});
  // Of two branches each its own; the first one takes the sum.
  const std::string second = line("d", "Conv1d", "inputs: [x], in_channels: 8, out_channels: 8, kernel_size: 1");
  check_folded(described(conv() + norm() + second + norm(8, "", "bn2") + line("sum", "Add", "inputs: [bn, bn2]") +
                         line("last", "ReLU")),
               {"bn2", "last"});
}

TEST_CASE("what would not be the same is left") {
  // Padding is of zeros, and not of what they become.
  check_folded(described(norm() + conv()), {"bn", "c"});
  check_folded(described(norm() + conv("kernel_size: 3")), {"bn", "c"});
  check_folded(described(conv() + line("relu", "ReLU") + norm()), {"relu", "bn"});
  check_folded(described(conv() + line("add", "Add", "inputs: [c, x]") + norm()), {"add", "bn"});
  check_folded(described(conv() + norm() + line("last", "Add", "inputs: [bn, c]")), {"c", "bn", "last"});
  check_folded(described(conv() + norm() + norm(8, "inputs: [c]", "bn2"), "bn, bn2"), {"c", "bn", "bn2"});
  check_folded(described(conv() + norm(), "c, bn"), {"c", "bn"});
  // Weights are rounded once.
  check_folded(described(conv() + norm() + norm(8, "", "bn2")), {"bn", "bn2"});
  check_folded(described(conv() + norm(8, "implementation: cpu.native")), {"c", "bn"});
}

TEST_CASE("it can be switched off, and leaves the reference, kept values and what is asked for by name") {
  const std::string yaml = described(conv() + norm() + line("relu", "ReLU"));
  const Network network = Network::from_memory(yaml, random_weights(yaml));
  const Steps apart = {"c", "bn", "relu"};
  CHECK(step_names(network, unfused()) == apart);
  CompileOptions options;
  options.precision = Precision::kFloat64;
  CHECK(step_names(network, options) == apart);
  for (const char* name : {"cpu.native", "cpu.reference"}) {
    options = {};
    options.implementation = name;
    CHECK(step_names(network, options) == apart);
  }
  options.implementation = "cpu.eigen";
  CHECK(step_names(network, options) == Steps{"relu"});
  options = {};
  options.keep = {"c"};
  CHECK(step_names(network, options) == apart);
  options.keep = {"bn"};
  CHECK(step_names(network, options) == Steps{"bn", "relu"});
}

TEST_CASE("a network that is compiled both ways has each one's weights") {
  const std::string yaml = described(conv() + norm() + line("relu", "ReLU"));
  const TensorMap weights = random_weights(yaml);
  const Network once = Network::from_memory(yaml, weights);
  const Network twice = Network::from_memory(yaml, weights);
  const Tensor x = input_of(once);
  const auto apart = run_whole(once, unfused(), x);
  const auto folded = run_whole(twice, {}, x);
  CHECK(!same_bits(apart[0], folded[0]));
  CHECK(same_bits(run_whole(once, {}, x)[0], folded[0]));
  CHECK(same_bits(run_whole(twice, unfused(), x)[0], apart[0]));
  for (const graphs::Node& node : twice.graph().nodes) {
    for (const auto& [name, tensor] : twice.weights(node)) {
      const auto given = weights.at(node.weights_path + "." + name).as<const float>();
      CHECK(std::ranges::equal(tensor.as<const float>(), given));
    }
  }
}

TEST_CASE("layers that share their weights are folded apart") {
  const std::string fields = "in_channels: 8, out_channels: 8, kernel_size: 3, padding: 1, weights: shared";
  check_folded(
      described(line("a", "Conv1d", fields) + norm(8, "", "bn1") + line("b", "Conv1d", fields + ", inputs: [x]") +
                    norm(8, "", "bn2") + line("c", "Conv1d", fields + ", inputs: [x]"),
                "bn1, bn2, c"),
      {"bn1", "bn2", "c"});
  check_folded(described(line("a", "Conv1d", fields) + norm(8, "weights: n", "bn1") + line("b", "Conv1d", fields) +
                         norm(8, "weights: n", "bn2")),
               {"bn1", "bn2"});
}

TEST_CASE("numbers near the ends of their ranges are folded where the bound holds, and left where it would not") {
  constexpr float kAbout = 0.7F;
  for (const Numbers& n : {
           Numbers{"no variance", kAbout, 0.3F, 1.5F, 0.1F, 0.2F, 0, true},
           Numbers{"the least variance", kAbout, 0.3F, 1.5F, 0.1F, 0.2F, 1e-45F, true},
           Numbers{"a large scale", kAbout, 0.3F, 1e25F, 0.1F, 0.2F, 0, true},
           Numbers{"a small scale", kAbout, 0.3F, 1e-25F, 0.1F, 0.2F, 1, true},
           Numbers{"no scale", kAbout, 0.3F, 0, 0.1F, 0.2F, 1, true},
           Numbers{"the mean is the bias", kAbout, 0.3F, 1.5F, 0, 0.3F, 1, true},
           Numbers{"nearly", kAbout, 1000.00006F, 300, 0, 1000, 0, true},
           Numbers{"the largest variance", kAbout, 0.3F, 1.5F, 0.1F, 0.2F, 3e38F, true},
           Numbers{"an infinite variance", kAbout, 0.3F, 1.5F, 0.1F, 0.2F, kInf, true},
           Numbers{"a variance that is no number", kAbout, 0.3F, 1.5F, 0.1F, 0.2F, kNan, false},
           Numbers{"an infinite scale", kAbout, 0.3F, kInf, 0.1F, 0.2F, 1, false},
           Numbers{"a scale that is no number", kAbout, 0.3F, kNan, 0.1F, 0.2F, 1, false},
           Numbers{"an infinite mean", kAbout, 0.3F, 1.5F, 0.1F, kInf, 1, false},
           Numbers{"a shift that is no number", kAbout, 0.3F, 1.5F, kNan, 0.2F, 1, false},
           Numbers{"a weight that is no number", kNan, 0.3F, 1.5F, 0.1F, 0.2F, 1, false},
           Numbers{"an infinite bias", kAbout, kInf, 1.5F, 0.1F, 0.2F, 1, false},
           Numbers{"a weight that becomes too large", 1e30F, 0.3F, 1e9F, 0.1F, 0.2F, 1, false},
           Numbers{"a bias that becomes too large", 1e-9F, 1e30F, 1e9F, 0.1F, 0.2F, 1, false},
           Numbers{"a weight that becomes too small", 1e-20F, 0.3F, 1e-20F, 0.1F, 0.2F, 1, false},
           Numbers{"a difference that double has lost", kAbout, 2, 0.50001F, -1, 1, 0.25F, false},
       }) {
    CAPTURE(std::string(n.what));
    const std::string yaml = described(conv() + norm(8, "eps: 1.0e-5"));
    TensorMap weights = random_weights(yaml);
    const auto set = [&](const char* name, float value) {
      const auto values = weights.at(name).as<float>();
      values[values.size() / 8] = value;  // the first of channel 1
    };
    set("c.weight", n.weight);
    set("c.bias", n.conv_bias);
    set("bn.weight", n.gamma);
    set("bn.bias", n.beta);
    set("bn.running_mean", n.mean);
    set("bn.running_var", n.variance);
    const Network network = Network::from_memory(yaml, weights);
    CHECK(step_names(network) == (n.folded ? Steps{"bn"} : Steps{"c", "bn"}));
    if (!n.folded) continue;  // what BatchNorm1d itself makes of them is not asked here
    check_bounds(network, input_of(network), false);
    const Tensor silence({DType::kFloat32, {2, 8, 300}, 2});
    std::ranges::fill(silence.as<float>(), 0.0F);
    check_bounds(network, silence, false);
  }
}

TEST_CASE("signals that are not finite come through a folded network as through one that is not") {
  const std::string yaml = described(conv() + norm());
  TensorMap weights = random_weights(yaml);
  weights.at("bn.weight").as<float>()[2] = 0;
  weights.at("c.weight").as<float>()[5] = 0;
  const Network network = Network::from_memory(yaml, weights);
  const Tensor x = input_of(network);
  x.as<float>()[100] = kInf;
  x.as<float>()[700] = -kInf;
  x.as<float>()[1500] = kNan;
  CHECK(step_names(network) == Steps{"bn"});
  check_bounds(network, x, false);
}

TEST_CASE("a variance below 0 is an error that names the batch norm") {
  const std::string yaml = described(conv() + norm());
  TensorMap weights = random_weights(yaml);
  weights.at("bn.running_var").as<float>()[3] = -0.5F;
  const Network network = Network::from_memory(yaml, weights);
  for (const bool fuse : {true, false}) {
    CompileOptions options;
    options.fuse = fuse;
    CHECK_THROWS_WITH_AS(network.compile(options), "network:7: BatchNorm1d 'bn': running_var[3] is -0.500000, below 0",
                         Error);
  }
}

TEST_CASE("weights are computed in double, and rounded once") {
  const auto fold = [](const layers::Layer& layer, const TensorType& input, const Parameters& parameters,
                       std::span<const layers::ChannelAffine> next) {
    WeightStore store;
    layers::Weights weights("layer", Device{}, store);
    for (const auto& [name, tensor] : parameters) weights.set(name, tensor);
    return layer.fold(next, std::vector{input}, weights);
  };
  const auto draw = [](size_t channels) {
    const Tensor numbers = random_tensor({static_cast<int64_t>(channels), 3});
    std::vector<layers::ChannelAffine> next;
    for (size_t c = 0; c < channels; ++c) {
      const auto at = [&](size_t i) { return static_cast<double>(numbers.as<const float>()[c * 3 + i]) / 3; };
      next.push_back({at(0), at(1), at(2)});
    }
    return next;
  };
  // [8 outputs, 2 inputs of a group, 3], and [8 inputs, 3 outputs of a group, 5].
  const auto conv = make_layer("Conv1d", {{"in_channels", int64_t{8}},
                                          {"out_channels", int64_t{8}},
                                          {"kernel_size", int64_t{3}},
                                          {"groups", int64_t{4}},
                                          {"bias", false}});
  const auto transposed = make_layer("ConvTranspose1d", {{"in_channels", int64_t{8}},
                                                         {"out_channels", int64_t{12}},
                                                         {"kernel_size", int64_t{5}},
                                                         {"groups", int64_t{4}}});
  struct Case {
    const layers::Layer& layer;
    size_t channels;
    std::function<size_t(size_t)> channel_of;  // of an element of the weight
  };
  for (const Case& each : {Case{*conv, 8, [](size_t i) { return i / 6; }},
                           Case{*transposed, 12, [](size_t i) { return i / 15 / 2 * 3 + i / 5 % 3; }}}) {
    const TensorType input{DType::kFloat32, {1, 8, 20}, 2};
    const Parameters parameters = random_parameters(each.layer);
    const std::vector<layers::ChannelAffine> next = draw(each.channels);
    const auto folded = fold(each.layer, input, parameters, next);
    REQUIRE(folded);
    CHECK(folded->layer->parameters().size() == 2);
    CHECK(folded->layer->infer(std::vector{input}) == each.layer.infer(std::vector{input}));
    const auto old = parameters.at("weight").as<const float>();
    const auto found = folded->weights.at("weight").as<const float>();
    REQUIRE(found.size() == old.size());
    size_t wrong = 0;
    for (size_t i = 0; i < old.size(); ++i) {
      const double exact = static_cast<double>(old[i]) * next[each.channel_of(i)].scale;
      wrong += found[i] == static_cast<float>(exact) ? 0 : 1;
    }
    CHECK(wrong == 0);
    const auto bias = folded->weights.at("bias").as<const float>();
    REQUIRE(bias.size() == each.channels);
    for (size_t c = 0; c < each.channels; ++c) {
      const bool had = parameters.contains("bias");
      const double before = had ? static_cast<double>(parameters.at("bias").as<const float>()[c]) : 0;
      const double exact = (before - next[c].centre) * next[c].scale + next[c].shift;
      CHECK(std::fabs(static_cast<double>(bias[c]) - exact) <= 0x1.01p-24 * std::fabs(exact));
    }
  }
}

TEST_CASE("a summary tells what was folded, and choices are kept by what is computed") {
  const std::string yaml = described(conv("kernel_size: 3, bias: false") + norm() + line("relu", "ReLU"));
  const Network network = Network::from_memory(yaml, random_weights(yaml));
  const graphs::NetworkSummary folded = graphs::summarise(network, {});
  const graphs::NetworkSummary apart = graphs::summarise(network, unfused());
  REQUIRE(folded.layers.size() == 1);
  CHECK(folded.layers[0].type == "Conv1d + BatchNorm1d + ReLU");
  CHECK(folded.layers[0].fused == Steps{"c", "bn", "relu"});
  CHECK(folded.parameters == apart.parameters);
  CHECK(folded.multiply_adds < apart.multiply_adds);
  CHECK(folded.weight_bytes < apart.weight_bytes);
  CHECK(network.tuning_keys({})[0].find(" bias") != std::string::npos);
  CHECK(network.tuning_keys(unfused())[0].find(" bias") == std::string::npos);
}

TEST_CASE("folded networks give the same bits offline, tiled and streamed") {
  const std::string stem = conv("kernel_size: 5, padding: causal, bias: false") + norm() + line("relu", "ReLU");
  const std::string down =
      line("down", "Conv1d", "in_channels: 8, out_channels: 6, kernel_size: 4, stride: 2, padding: 1");
  const std::string up =
      line("up", "ConvTranspose1d", "in_channels: 6, out_channels: 8, kernel_size: 4, stride: 2, padding: 1");
  const std::string yaml = described(stem + down + norm(6, "", "bn2") + up + norm(8, "", "bn3") +
                                     line("last", "Add", "inputs: [bn3, relu]"));
  const Network network = Network::from_memory(yaml, random_weights(yaml));
  CHECK(step_names(network) == Steps{"relu", "bn2", "bn3", "last"});
  TensorMap inputs;
  inputs.emplace("x", input_of(network));
  graphs::VerifyOptions options;
  options.chunks = {1, 7, 64};
  options.tiles = {16, 50};
  for (const graphs::VerifiedRun& run : graphs::verify(network, inputs, options)) {
    CHECK_MESSAGE(run.ok(), run.way << ": " << run.refused << run.different << " of " << run.compared << " differ");
  }
}

}  // namespace strand::testing
