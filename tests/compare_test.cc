// graphs/compare and graphs/inspect as a program calls them.

#include "graphs/compare.h"

#include <doctest/doctest.h>

#include <cmath>

#include "graphs/inspect.h"
#include "graphs/normal.h"
#include "layers/function_kernel.h"

namespace strand::graphs {
namespace {

constexpr const char* kTwoConvolutions = R"(strand: 1
name: two
weights: {seed: 3}
inputs:
  x: {shape: [1, 16, length], defaults: {length: 400}}
layers:
  - {name: a, type: Conv1d, in_channels: 16, out_channels: 32, kernel_size: 5}
  - {name: relu, type: ReLU}
  - {name: b, type: Conv1d, in_channels: 32, out_channels: 8, kernel_size: 3}
outputs: [b]
)";

TensorMap random_inputs(const Shape& shape) {
  Tensor x(TensorType{DType::kFloat32, shape});
  fill_normal(x.as<float>(), 5);
  TensorMap inputs;
  inputs.emplace("x", std::move(x));
  return inputs;
}

// One float32 sum, tap by tap: what the end-to-end allowance is measured in.
std::vector<float> sequential_conv(const std::vector<float>& x, size_t in_channels, const Tensor& weight,
                                   const Tensor& bias) {
  const size_t length = x.size() / in_channels;
  const auto out_channels = static_cast<size_t>(weight.shape()[0]);
  const auto taps = static_cast<size_t>(weight.shape()[2]);
  const auto w = weight.as<const float>();
  std::vector<float> y;
  for (size_t o = 0; o < out_channels; ++o) {
    for (size_t t = 0; t + taps <= length; ++t) {
      float sum = bias.as<const float>()[o];
      for (size_t c = 0; c < in_channels; ++c) {
        for (size_t k = 0; k < taps; ++k) {
          sum = std::fma(w[(o * in_channels + c) * taps + k], x[c * length + t + k], sum);
        }
      }
      y.push_back(sum);
    }
  }
  return y;
}

// y = x + 1 in float32, but off by a millionth on the CPU's fast path.
class WrongLayer final : public layers::Layer {
 public:
  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override { return {inputs[0]}; }
  std::vector<layers::Implementation> implementations(const layers::PrepareArgs& args) const override {
    const bool in_double = args.inputs[0].dtype == DType::kFloat64;
    const int64_t count = args.inputs[0].shape.elements();
    const auto wrong = [count](const Context&, const Bindings& bindings) {
      for (int64_t i = 0; i < count; ++i) {
        bindings.outputs[0].ptr<float>()[i] = bindings.inputs[0].ptr<float>()[i] * 1.000001F;
      }
    };
    const auto right = [count](const Context&, const Bindings& bindings) {
      for (int64_t i = 0; i < count; ++i) {
        bindings.outputs[0].ptr<double>()[i] = bindings.inputs[0].ptr<double>()[i];
      }
    };
    return {{"cpu.wrong", DeviceType::kCpu, in_double ? "float64" : "", [=] { return layers::function_kernel(wrong); }},
            {"cpu.reference", DeviceType::kCpu, in_double ? "" : "float32",
             [=] { return layers::function_kernel(right); }}};
  }
};

}  // namespace

TEST_CASE("a network on the CPU is within its bounds, and within four sequential float32 runs") {
  const Network network = Network::from_memory(kTwoConvolutions, {});
  const TensorMap inputs = random_inputs({1, 16, 400});
  const CompareOptions options;
  const Truth truth = find_truth(network, inputs, options);
  const DeviceErrors errors = compare_device(network, inputs, truth, options);
  CHECK(errors.ok());
  REQUIRE(errors.layers.size() == 2);
  CHECK(errors.layers[0].path == "relu");
  CHECK(errors.layers[0].type == "Conv1d + ReLU");
  CHECK(errors.layers[0].errors.largest > 0);
  REQUIRE(errors.outputs.size() == 1);
  CHECK(errors.outputs[0].errors.of_bound > 0);
}

TEST_CASE("the drawn float32 run errs as much as a real one") {
  const Network network = Network::from_memory(kTwoConvolutions, {});
  const TensorMap inputs = random_inputs({1, 16, 400});
  const Truth truth = find_truth(network, inputs, {});
  const auto& nodes = network.graph().nodes;
  const auto x = inputs.find("x")->second.as<const float>();
  const TensorMap& first = network.weights(nodes[0]);
  const TensorMap& second = network.weights(nodes[2]);
  std::vector<float> y =
      sequential_conv({x.begin(), x.end()}, 16, first.find("weight")->second, first.find("bias")->second);
  for (float& value : y) value = std::max(value, 0.0F);
  y = sequential_conv(y, 32, second.find("weight")->second, second.find("bias")->second);
  const Tensor& exact = truth.outputs.find("b")->second;
  const ElementErrors errors = element_errors(Tensor(exact.shape(), std::span<const float>(y)), exact,
                                              std::vector<double>{truth.allowances.find("b")->second});
  // A quarter of the allowance is what the drawn run erred.
  MESSAGE("sequential float32 error over the drawn run's: " << 4 * errors.of_bound);
  CHECK(4 * errors.of_bound > 0.4);
  CHECK(4 * errors.of_bound < 2.5);
}

TEST_CASE("the truth is what a network compiled for float64 gives") {
  const Network network = Network::from_memory(kTwoConvolutions, {});
  const TensorMap inputs = random_inputs({1, 16, 400});
  CompareOptions options;
  const Truth truth = find_truth(network, inputs, options);
  options.compile.precision = Precision::kFloat64;
  const DeviceErrors errors = compare_device(network, inputs, truth, options);
  CHECK(errors.outputs[0].errors.largest == 0);
}

TEST_CASE("a layer that is wrong by a millionth is found") {
  layers::LayerRegistry registry;
  registry.add({"Wrong", "", {}, [](const layers::Attributes&) { return std::make_unique<WrongLayer>(); }});
  LoadOptions load;
  load.registry = &registry;
  const Network network = Network::from_memory(
      "strand: 1\nname: wrong\nweights: {seed: 0}\ninputs:\n  x: {shape: [1, 4, length], defaults: {length: 9}}\n"
      "layers:\n  - {name: w, type: Wrong}\noutputs: [w]\n",
      {}, load);
  const TensorMap inputs = random_inputs({1, 4, 9});
  const Truth truth = find_truth(network, inputs, {});
  const DeviceErrors errors = compare_device(network, inputs, truth, {});
  CHECK_FALSE(errors.ok());
  CHECK_FALSE(errors.layers[0].errors.ok());
  CHECK_FALSE(errors.outputs[0].errors.ok());
  CHECK(errors.layers[0].errors.relative < 2e-6);
}

TEST_CASE("infinities and NaN must be where the truth has them") {
  const std::vector<double> bound{1};
  const auto of_bound = [&](float value, double truth) {
    return element_errors(Tensor({1}, std::span<const float>(&value, 1)),
                          Tensor({1}, std::span<const double>(&truth, 1)), bound)
        .of_bound;
  };
  CHECK(of_bound(INFINITY, INFINITY) == 0);
  CHECK(of_bound(NAN, NAN) == 0);
  CHECK(of_bound(INFINITY, 1e39) == 0);  // past float32
  CHECK(of_bound(INFINITY, 1) == INFINITY);
  CHECK(of_bound(-INFINITY, INFINITY) == INFINITY);
  CHECK(of_bound(NAN, 1) == INFINITY);
  CHECK(of_bound(1, NAN) == INFINITY);
  CHECK(of_bound(1.5F, 1) == doctest::Approx(0.5));
}

TEST_CASE("a summary adds up") {
  const Network network = Network::from_memory(kTwoConvolutions, {});
  CompileOptions options;
  options.dimensions = {{"length", 50}};
  options.fuse = false;
  const NetworkSummary summary = summarise(network, options);
  REQUIRE(summary.layers.size() == 3);
  CHECK(summary.layers[0].outputs[0].shape == Shape{1, 32, 46});
  CHECK(summary.layers[0].parameters == 32 * 16 * 5 + 32);
  CHECK(summary.parameters == 32 * 16 * 5 + 32 + 8 * 32 * 3 + 8);
  CHECK(summary.layers[0].multiply_adds == 46 * 32 * 16 * 5);
  CHECK(summary.layers[0].implementation().starts_with("cpu."));
  CHECK(summary.weight_bytes == 4 * summary.parameters);
  CHECK(summary.arena_bytes >= 4 * (32 * 46 + 32 * 46));
  REQUIRE(summary.extents.size() == 1);
  CHECK(summary.extents[0].extent.receptive_field == 7);
}

}  // namespace strand::graphs
