// Networks from text in memory: weights, sizes, choices of implementation, and numbers end to end on every backend.
#include "graphs/network.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "engine/cuda_runtime.h"
#include "engine/session.h"
#include "tests/cuda_required.h"

namespace strand::graphs {
namespace {

constexpr const char* kTcn = R"(strand: 1
name: tcn
weights: {seed: 7}
inputs:
  audio: {shape: [batch, 1, length], defaults: {batch: 2, length: 300}, rate: 8000}
blocks:
  residual:
    parameters: [channels, dilation]
    layers:
      - {name: conv1, type: Conv1d, in_channels: $channels, out_channels: $channels, kernel_size: 3, dilation: $dilation, padding: causal}
      - {name: relu1, type: ReLU}
      - {name: add, type: Add, inputs: [relu1, x]}
layers:
  - {name: stem, type: Conv1d, in_channels: 1, out_channels: 8, kernel_size: 7, stride: 2, padding: 3}
  - {name: norm, type: BatchNorm1d, num_features: 8}
  - {name: net, repeat: {dilation: [1, 2, 4]}, type: residual, channels: 8}
  - {name: head, type: Conv1d, in_channels: 8, out_channels: 3, kernel_size: 1}
  - {name: probabilities, type: Softmax, dim: 1}
outputs: [probabilities]
)";

constexpr const char* kOneLayer = R"(strand: 1
name: one
inputs:
  x: {shape: [batch, 2, length], defaults: {batch: 1, length: 4}}
layers:
  - {name: conv, type: Conv1d, in_channels: 2, out_channels: 1, kernel_size: 1}
)";

Tensor random_input(const Shape& shape, unsigned seed) {
  Tensor tensor(TensorType{DType::kFloat32, shape});
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (float& value : tensor.as<float>()) value = normal(random);
  return tensor;
}

Tensor run_one(const Network& network, const CompileOptions& options, const Tensor& input, int threads = 1) {
  Session session(network.compile(options), threads);
  const std::vector<TensorView> inputs = {input.view()};
  return std::move(session.run_to_host(inputs)[0]);
}

double largest_difference(const Tensor& a, const Tensor& b) {
  const Tensor x = a.to(DType::kFloat64);
  const Tensor y = b.to(DType::kFloat64);
  REQUIRE(x.shape() == y.shape());
  double largest = 0;
  for (size_t i = 0; i < x.as<double>().size(); ++i) {
    const double difference = std::fabs(x.as<double>()[i] - y.as<double>()[i]);
    REQUIRE_FALSE(std::isnan(difference));
    largest = std::max(largest, difference);
  }
  return largest;
}

TensorMap one_layer_weights() {
  TensorMap weights;
  weights.emplace("conv.weight", Tensor({1, 2, 1}, std::vector<float>{2, -3}));
  weights.emplace("conv.bias", Tensor({1}, std::vector<float>{0.5F}));
  return weights;
}

std::string error_of(const std::string& yaml, const TensorMap& weights, ErrorCategory category) {
  try {
    Network::from_memory(yaml, weights);
  } catch (const Error& error) {
    CHECK(to_string(error.category()) == to_string(category));
    return error.what();
  }
  return "no error";
}

TEST_CASE("weights given as tensors are used by name") {
  const Network network = Network::from_memory(kOneLayer, one_layer_weights());
  const Tensor input({1, 2, 4}, std::vector<float>{1, 2, 3, 4, 10, 20, 30, 40});
  const Tensor output = run_one(network, {}, input);
  CHECK(output.shape() == Shape{1, 1, 4});
  for (size_t t = 0; t < 4; ++t) {
    CHECK(output.as<float>()[t] == doctest::Approx(2 * (static_cast<double>(t) + 1) * (1 - 15) + 0.5));
  }
}

TEST_CASE("every weight that does not fit is listed") {
  TensorMap weights;
  weights.emplace("conv.weight", Tensor({2, 1, 1}, std::vector<float>{2, -3}));
  weights.emplace("conv.wieght", Tensor({1}, std::vector<float>{1}));
  weights.emplace("conv.num_batches_tracked", Tensor(TensorType{DType::kInt64, {}}));
  const std::string text = error_of(kOneLayer, weights, ErrorCategory::kWeights);
  CHECK(text.find("3 weights do not fit") != std::string::npos);
  CHECK(text.find("'conv.weight' has shape [2, 1, 1], expected [1, 2, 1]") != std::string::npos);
  CHECK(text.find("missing 'conv.bias' [1], for network:6: Conv1d 'conv'") != std::string::npos);
  CHECK(text.find("unused 'conv.wieght' [1]") != std::string::npos);
}

TEST_CASE("a bias beside bias: false is refused") {
  std::string yaml = kOneLayer;
  yaml.replace(yaml.find("kernel_size: 1"), 14, "kernel_size: 1, bias: false");
  CHECK(error_of(yaml, one_layer_weights(), ErrorCategory::kWeights).find("unused 'conv.bias'") != std::string::npos);
}

TEST_CASE("another dtype is converted only where the description declares it") {
  TensorMap weights = one_layer_weights();
  weights.at("conv.weight") = weights.at("conv.weight").to(DType::kFloat16);
  const std::string text = error_of(kOneLayer, weights, ErrorCategory::kWeights);
  CHECK(text.find("'conv.weight' is float16, expected float32") != std::string::npos);

  weights = one_layer_weights();
  weights.at("conv.weight") = weights.at("conv.weight").to(DType::kFloat16);
  const std::string yaml = std::string(kOneLayer) + "weights: {file: w.safetensors, dtype: float16}\n";
  const Network network = Network::from_memory(yaml, weights);
  CHECK(network.weights(network.graph().nodes[0]).at("weight").as<float>()[1] == -3.0F);
}

TEST_CASE("weight normalisation is folded in both of PyTorch's spellings") {
  for (const auto& [g, v] :
       {std::pair{"conv.weight_g", "conv.weight_v"},
        std::pair{"conv.parametrizations.weight.original0", "conv.parametrizations.weight.original1"}}) {
    TensorMap weights;
    weights.emplace(g, Tensor({1, 1, 1}, std::vector<float>{10}));
    weights.emplace(v, Tensor({1, 2, 1}, std::vector<float>{3, -4}));
    weights.emplace("conv.bias", Tensor({1}, std::vector<float>{0}));
    const Network network = Network::from_memory(kOneLayer, weights);
    const Tensor& weight = network.weights(network.graph().nodes[0]).at("weight");
    CHECK(weight.as<float>()[0] == doctest::Approx(6));
    CHECK(weight.as<float>()[1] == doctest::Approx(-8));
  }
}

TEST_CASE("random weights depend on the seed and the path alone") {
  LoadOptions options;
  options.seed = 7;
  const Network a = Network::from_memory(kTcn, {}, options);
  const Network b = Network::from_memory(kTcn, {});
  options.seed = 8;
  const Network c = Network::from_memory(kTcn, {}, options);
  const auto first = [](const Network& network, size_t node) {
    return network.weights(network.graph().nodes[node]).at("weight").as<const float>()[0];
  };
  CHECK(first(a, 0) == first(b, 0));
  CHECK(first(a, 0) != first(c, 0));
  CHECK(first(a, 2) != first(a, 5));
  const double bound = 1 / std::sqrt(7.0);
  double sum = 0;
  for (const float weight : a.weights(a.graph().nodes[0]).at("weight").as<const float>()) {
    CHECK(std::fabs(weight) <= bound);
    sum += std::fabs(weight);
  }
  CHECK(sum / 56 == doctest::Approx(bound / 2).epsilon(0.25));
}

TEST_CASE("random weights past their limit are refused by layer, before memory is asked for") {
  for (const int64_t kernel_size : {(int64_t{1} << 29) + 1, int64_t{1} << 31, int64_t{1} << 40}) {
    CAPTURE(kernel_size);
    std::string yaml = kOneLayer;
    yaml.replace(yaml.find("kernel_size: 1"), 14, "kernel_size: " + std::to_string(kernel_size));
    LoadOptions options;
    options.seed = 1;
    try {
      Network::from_memory(yaml, {}, options);
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(to_string(error.category()) == to_string(ErrorCategory::kLimit));
      CHECK(std::string(error.what()).starts_with("network:6: Conv1d 'conv': random 'weight' [1, 2, "));
    }
  }
}

TEST_CASE("a network that no memory suffices for names itself and its largest layer") {
  std::string yaml = kOneLayer;
  yaml += "  - {name: pad, type: Pad, padding: 100000000000000}\n";
  const auto plan = Network::from_memory(yaml, one_layer_weights()).compile();
  try {
    const Session session(plan);
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(to_string(error.category()) == to_string(ErrorCategory::kLimit));
    const std::string text = error.what();
    CAPTURE(text);
    CHECK(text.starts_with("memory of network 'one', most of it at network:7: Pad 'pad': no memory for "));
  }
}

TEST_CASE("an output of a block that nobody uses is not computed, and its weights are no surprise") {
  const std::string yaml = R"(strand: 1
name: one
inputs: {x: {shape: [1, 1, 4]}}
blocks:
  b:
    layers:
      - {name: scale, type: Conv1d, in_channels: 1, out_channels: 1, kernel_size: 1, bias: false}
      - {name: skip, type: Conv1d, inputs: x, in_channels: 1, out_channels: 1, kernel_size: 1, bias: false}
    outputs: [scale, skip]
layers:
  - {name: net, repeat: 2, type: b}
  - {name: sum, type: Add, inputs: "net.*:skip"}
)";
  const auto weight = [](float value) { return Tensor({1, 1, 1}, std::vector<float>{value}); };
  TensorMap weights;
  weights.emplace("net.0.scale.weight", weight(2));
  weights.emplace("net.0.skip.weight", weight(3));
  weights.emplace("net.1.skip.weight", weight(5));
  const std::vector<float> ones(4, 1.0F);
  const auto sum = [&] {
    const Network network = Network::from_memory(yaml, weights);
    CHECK(network.graph().nodes.size() == 4);
    return run_one(network, {}, Tensor({1, 1, 4}, ones)).as<const float>()[0];
  };
  CHECK(sum() == 13);
  weights.emplace("net.1.scale.weight", weight(7));
  CHECK(sum() == 13);
  std::string unused = yaml;
  unused.replace(unused.find("outputs: [scale, skip]"), 22, "outputs: [skip]       ");
  CHECK_THROWS_AS(Network::from_memory(unused, weights), Error);
}

TEST_CASE("a size that two inputs share is listed once") {
  const Network network = Network::from_memory(R"(strand: 1
inputs: {a: {shape: [batch, 2]}, b: {shape: [batch, 2]}}
layers: [{name: sum, type: Add, inputs: [a, b]}]
)",
                                               {});
  CompileOptions options;
  options.dimensions = {{"btach", 5}};
  CHECK_THROWS_WITH_AS(network.compile(options), "network: no size is called 'btach'; there is batch", Error);
}

TEST_CASE("values that are not finite are told") {
  TensorMap weights = one_layer_weights();
  weights.at("conv.bias").as<float>()[0] = NAN;
  const Network network = Network::from_memory(kOneLayer, weights);
  REQUIRE(network.warnings().size() == 1);
  CHECK(network.warnings()[0] == "1 of 1 values of 'conv.bias' are not finite");
}

TEST_CASE("sizes come from defaults, options and inputs") {
  const Network network = Network::from_memory(kTcn, {});
  CHECK(network.compile()->input_type(0).shape == Shape{2, 1, 300});
  CompileOptions options;
  options.dimensions = match_dimensions(network.graph(), {{"audio", Shape{5, 1, 1001}}});
  const auto plan = network.compile(options);
  CHECK(plan->output_type(0).shape == Shape{5, 3, 501});
  CHECK(plan->output_type(0).time_axis == 2);
  CHECK_THROWS_WITH_AS(match_dimensions(network.graph(), {{"audio", Shape{5, 2, 1001}}}),
                       "network:5: input 'audio' has shape [5, 2, 1001], expected [batch, 1, length]", Error);
  options.dimensions = {{"lenght", 5}};
  CHECK_THROWS_WITH_AS(network.compile(options), "network: no size is called 'lenght'; there is batch, length", Error);
  options.dimensions = {{"length", 0}};
  CHECK_THROWS_AS(network.compile(options), Error);
}

TEST_CASE("a network gives the reference's numbers on every backend") {
  const Network network = Network::from_memory(kTcn, {});
  const unsigned seed = std::random_device{}();
  CAPTURE(seed);
  const Tensor input = random_input({2, 1, 300}, seed);
  CompileOptions options;
  options.precision = Precision::kFloat64;
  const Tensor truth = run_one(network, options, input);
  CHECK(truth.type().dtype == DType::kFloat64);
  options.precision = Precision::kFloat32;
  options.implementation = "cpu.reference";
  // What is left of a float64 computation whose every layer rounds its output to float32: the unit of error here.
  const double unit = largest_difference(run_one(network, options, input), truth);
  CHECK(unit > 0);
  CHECK(unit < 1e-6);
  options.implementation = "";
  CHECK(largest_difference(run_one(network, options, input), truth) <= 4 * unit);
  const Tensor one = run_one(network, options, input, 1);
  const Tensor three = run_one(network, options, input, 3);
  CHECK(largest_difference(one, three) == 0);
  if (!testing::cuda_available()) return;
  options.device = {DeviceType::kCuda, 0};
  const Tensor on_cuda = run_one(network, options, input);
  CHECK(largest_difference(on_cuda, truth) <= 4 * unit);
  CHECK(largest_difference(run_one(network, options, input), on_cuda) == 0);
}

TEST_CASE("memory that values share does not change the numbers") {
  const Network network = Network::from_memory(kTcn, {});
  const Tensor input = random_input({2, 1, 300}, 5);
  CompileOptions options;
  const auto shared = network.compile(options);
  options.keep_values = true;
  const auto apart = network.compile(options);
  CHECK(shared->arena_bytes < apart->arena_bytes);
  CHECK(largest_difference(run_one(network, options, input), run_one(network, {}, input)) == 0);
}

TEST_CASE("implementations are chosen by name, in the description or in the options") {
  std::string yaml = kTcn;
  CompileOptions options;
  options.implementation = "cpu.reference";
  const Network network = Network::from_memory(yaml, {});
  const auto by_name = network.compile(options);
  for (const PlanStep& step : by_name->steps) CHECK(step.implementation == "cpu.reference");
  options.implementation = "cpu.nothing";
  CHECK_THROWS_WITH_AS(network.compile(options), "network: no layer has an implementation 'cpu.nothing'", Error);
  options.implementation = "cuda.im2col";  // for the other device: ignored
  CHECK(network.compile(options)->steps[0].implementation != "cpu.reference");

  yaml.replace(yaml.find("stride: 2"), 9, "stride: 2, implementation: cpu.reference");
  const auto plan = Network::from_memory(yaml, {}).compile();
  CHECK(plan->steps[0].implementation == "cpu.reference");
  CHECK(plan->steps[2].implementation != "cpu.reference");
}

TEST_CASE("what can't be provided is refused before anything runs") {
  const Network network = Network::from_memory(kTcn, {});
  CompileOptions options;
  // Less than float32 may be computed in float32.
  options.precision = Precision::kBFloat16;
  CHECK(network.compile(options)->precision == Precision::kBFloat16);
  options.precision = Precision::kFloat32;
  options.device = {DeviceType::kCuda, 99};
  try {
    network.compile(options);
    FAIL("cuda:99 was accepted");
  } catch (const Error& error) {
    CHECK(to_string(error.category()) == to_string(ErrorCategory::kDevice));
  }
}

}  // namespace
}  // namespace strand::graphs
