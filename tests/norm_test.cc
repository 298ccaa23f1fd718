#include <cmath>
#include <limits>

#include "tests/make_layer.h"

namespace strand::testing {
namespace {

Parameters statistics(const layers::Layer& layer) {
  Parameters parameters = random_parameters(layer);
  for (float& variance : parameters.at("running_var").as<float>()) variance = variance * variance + 0.01F;
  return parameters;
}

TEST_CASE("BatchNorm1d at odd sizes, with and without affine parameters") {
  for (const bool affine : {true, false}) {
    for (const int64_t channels : {1, 3, 16, 33}) {
      const auto layer = make_layer("BatchNorm1d", {{"num_features", channels}, {"affine", affine}, {"eps", 1e-3}});
      for (const Shape& shape : {Shape{2, channels}, Shape{1, channels, 1}, Shape{2, channels, 31},
                                 Shape{3, channels, 64}, Shape{0, channels, 5}, Shape{2, channels, 0}}) {
        std::vector<Tensor> inputs;
        inputs.push_back(random_tensor(shape));
        check_layer(*layer, inputs, statistics(*layer), "BatchNorm1d on " + to_string(shape));
      }
    }
  }
}

TEST_CASE("BatchNorm1d far from zero: what cancels is in the bound") {
  const auto layer = make_layer("BatchNorm1d", {{"num_features", 3}});
  Parameters parameters = statistics(*layer);
  parameters.at("running_mean") = tensor_of({3}, {1000, -1000, 1e6F});
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({4, 3, 50}));
  for (float& x : inputs[0].as<float>()) x += 1000;
  check_layer(*layer, inputs, parameters, "BatchNorm1d with an offset");
}

TEST_CASE("BatchNorm1d takes NaN and Inf as float32 does") {
  const auto layer = make_layer("BatchNorm1d", {{"num_features", 2}});
  std::vector<float> values(2 * 2 * 9, 1);
  values[4] = std::numeric_limits<float>::quiet_NaN();
  values[20] = -std::numeric_limits<float>::infinity();
  std::vector<Tensor> inputs;
  inputs.push_back(tensor_of({2, 2, 9}, values));
  check_layer(*layer, inputs, statistics(*layer), "BatchNorm1d with NaN");
}

TEST_CASE("BatchNorm1d's shapes, parameters and errors") {
  const auto layer = make_layer("BatchNorm1d", {{"num_features", 3}, {"momentum", layers::Null{}}});
  CHECK(infer_one(*layer, {signal({2, 3, 5})}) == signal({2, 3, 5}));
  CHECK(layer->parameters().size() == 4);
  CHECK(layer->parameters()[3].init == layers::Init::kOnes);
  CHECK(make_layer("BatchNorm1d", {{"num_features", 3}, {"affine", false}})->parameters().size() == 2);
  CHECK(refusal(ErrorCategory::kShape, [&] {
          output_shape(*layer, {2, 4, 5});
        }) == "input is [2, 4, 5], expected [N, 3] or [N, 3, L]");
  refusal(ErrorCategory::kShape, [&] { output_shape(*layer, {3}); });
  for (const double eps : {0.0, -1e-5, std::nan("")}) {
    refusal(ErrorCategory::kSchema, [&] { make_layer("BatchNorm1d", {{"num_features", 3}, {"eps", eps}}); });
  }
  refusal(ErrorCategory::kUnsupported, [] {
    make_layer("BatchNorm1d", {{"num_features", 3}, {"track_running_stats", false}});
  });
}

TEST_CASE("BatchNorm1d refuses a negative variance when it is prepared") {
  const auto layer = make_layer("BatchNorm1d", {{"num_features", 3}});
  Parameters parameters = statistics(*layer);
  parameters.at("running_var").as<float>()[1] = -0.5F;
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({1, 3, 4}));
  for (const char* name : {"cpu.native", "cpu.reference"}) {
    const std::string message =
        refusal(ErrorCategory::kNumeric, [&] { run_implementation(*layer, name, inputs, parameters); });
    CHECK(message == "running_var[1] is -0.500000, below 0");
  }
}

}  // namespace
}  // namespace strand::testing
