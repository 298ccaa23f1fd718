#include <cmath>
#include <limits>

#include "tests/make_layer.h"
#include "tests/run_pieces.h"

namespace strand::testing {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Snake's beta is a divisor: away from 0, and a logarithm not too large.
Parameters parameters_of(const layers::Layer& layer) {
  Parameters parameters = random_parameters(layer);
  for (auto& [name, tensor] : parameters) {
    if (name == "weight") continue;
    for (float& value : tensor.as<float>()) value = std::fabs(value) + 0.1F;
  }
  return parameters;
}

std::vector<Tensor> random_tensors(const std::vector<Shape>& shapes) {
  std::vector<Tensor> tensors;
  for (const Shape& shape : shapes) tensors.push_back(random_tensor(shape));
  return tensors;
}

std::vector<std::unique_ptr<layers::Layer>> of_channels(int64_t channels) {
  std::vector<std::unique_ptr<layers::Layer>> list;
  list.push_back(make_layer("PReLU", {{"num_parameters", channels}}));
  list.push_back(make_layer("PReLU"));
  list.push_back(make_layer("Snake", {{"channels", channels}}));
  list.push_back(make_layer("Snake", {{"channels", channels}, {"alpha_logscale", true}}));
  list.push_back(make_layer("Snake1d", {{"channels", channels}}));
  list.push_back(make_layer("SnakeBeta", {{"channels", channels}}));
  list.push_back(make_layer("SnakeBeta", {{"channels", channels}, {"alpha_logscale", true}}));
  return list;
}

TEST_CASE("activations with parameters at odd sizes") {
  for (const int64_t channels : {1, 3, 16}) {
    for (const auto& layer : of_channels(channels)) {
      for (const Shape& shape :
           {Shape{2, channels}, Shape{1, channels, 1}, Shape{2, channels, 31}, Shape{3, channels, 64},
            Shape{2, channels, 3, 5}, Shape{0, channels, 5}, Shape{2, channels, 0}, Shape{2, channels, 20001}}) {
        check_layer(*layer, random_tensors({shape}), parameters_of(*layer), "on " + to_string(shape));
      }
    }
  }
  check_layer(*make_layer("PReLU"), Shape{7}, "PReLU");
}

TEST_CASE("Snake far from zero, with NaN and Inf") {
  const auto layer = make_layer("SnakeBeta", {{"channels", 2}});
  std::vector<Tensor> inputs = random_tensors({{3, 2, 400}});
  for (float& x : inputs[0].as<float>()) x *= 3000;
  inputs[0].as<float>()[5] = kNan;
  inputs[0].as<float>()[1000] = kInf;
  check_layer(*layer, inputs, parameters_of(*layer), "SnakeBeta, far");
  const auto prelu = make_layer("PReLU", {{"num_parameters", 2}});
  inputs[0].as<float>()[7] = -kInf;
  check_layer(*prelu, inputs, parameters_of(*prelu), "PReLU, far");
}

TEST_CASE("halves of every axis, gated by every function") {
  for (const char* gate : {"identity", "relu", "tanh", "sigmoid", "softsign", "silu", "gelu", "hardtanh"}) {
    for (const char* activation : {"tanh", "identity", gate}) {
      const auto layer =
          make_layer("GatedActivation", {{"activation", std::string(activation)}, {"gate", std::string(gate)}});
      check_layer(*layer, Shape{2, 6, 37}, activation + std::string(" gated by ") + gate);
    }
  }
  for (const char* type : {"GLU", "GatedActivation", "Magnitude"}) {
    for (const int64_t dim : {0, 1, 2, -1}) {
      check_layer(*make_layer(type, {{"dim", dim}}), Shape{2, 6, 34}, type);
    }
    check_layer(*make_layer(type, {{"dim", 1}}), Shape{0, 6, 5}, type);
    check_layer(*make_layer(type, {{"dim", 1}}), Shape{2, 6, 0}, type);
    check_layer(*make_layer(type, {{"dim", 1}}), Shape{2, 8, 9001}, type);
    for (const int64_t half : {511, 512, 513})
      check_layer(*make_layer(type, {{"dim", -1}}), Shape{2, 3, 2 * half}, type);
    for (const int64_t half : {2047, 2049})
      check_layer(*make_layer(type, {{"dim", -1}}), Shape{2, 257, 2 * half}, type);
    check_layer(*make_layer(type, {{"dim", 0}}), Shape{2}, type);
  }
}

TEST_CASE("gates take NaN, Inf and wide ranges; Magnitude neither over- nor underflows") {
  std::vector<Tensor> inputs = random_tensors({{1, 2, 300}});
  for (float& x : inputs[0].as<float>()) x *= 50;
  for (const size_t at : {0U, 301U}) inputs[0].as<float>()[at] = kNan;
  for (const size_t at : {5U, 306U}) inputs[0].as<float>()[at] = kInf;
  for (const size_t at : {7U, 308U}) inputs[0].as<float>()[at] = -kInf;
  for (const char* gate : {"sigmoid", "silu", "gelu", "softsign", "identity"}) {
    check_layer(*make_layer("GatedActivation", {{"gate", std::string(gate)}}), inputs, {}, gate);
  }
  check_layer(*make_layer("Magnitude"), inputs, {}, "Magnitude");
  std::vector<Tensor> wide;
  wide.push_back(tensor_of({1, 2, 4}, {3e30F, 3e-30F, 3e-42F, 0, 4e30F, 4e-30F, 4e-42F, 0}));
  for_each_implementation(*make_layer("Magnitude"), wide, {}, [](const std::string&, std::span<const float> y) {
    CHECK(y[0] == doctest::Approx(5e30));
    CHECK(y[1] == doctest::Approx(5e-30).epsilon(1e-6));
    CHECK(y[2] == doctest::Approx(5e-42).epsilon(1e-3));
    CHECK(y[3] == 0);
  });
}

TEST_CASE("FiLM by conditions of every shape") {
  const auto film = make_layer("FiLM");
  for (const int64_t length : {1, 7, 64, 511, 512, 513, 5001}) {
    for (const Shape& condition :
         {Shape{2, 6, length}, Shape{1, 6, length}, Shape{2, 6, 1}, Shape{1, 6}, Shape{2, 6}}) {
      check_layer(*film, random_tensors({{2, 3, length}, condition}), {}, "FiLM by " + to_string(condition));
    }
  }
  // Over 2^20 elements: on CUDA, rows on both sides of what a block keeps to.
  for (const int64_t length : {2047, 2048, 4099}) {
    const int64_t channels = (1 << 20) / (2 * length) + 1;
    for (const Shape& condition : {Shape{2, 2 * channels, length}, Shape{1, 2 * channels, 1}, Shape{2, 2 * channels}}) {
      check_layer(*film, random_tensors({{2, channels, length}, condition}), {}, "FiLM, long " + to_string(condition));
    }
  }
  check_layer(*film, random_tensors({{0, 3, 5}, {0, 6, 5}}), {}, "FiLM of nothing");
  check_layer(*film, random_tensors({{2, 3, 0}, {2, 6, 1}}), {}, "FiLM of nothing");
}

TEST_CASE("activations piece by piece") {
  const std::vector<Tensor> inputs = random_tensors({{2, 6, 203}});
  for (const auto& layer : of_channels(6)) check_pieces(*layer, inputs, parameters_of(*layer), "channels");
  for (const char* type : {"GLU", "GatedActivation", "Magnitude"}) {
    check_pieces(*make_layer(type, {{"dim", 1}}), inputs, {}, type);
  }
  check_pieces(*make_layer("FiLM"), random_tensors({{2, 3, 203}, {2, 6, 203}}), {}, "FiLM");
  std::vector<Tensor> constant = random_tensors({{2, 3, 203}});
  constant.push_back(random_tensor({2, 6}));
  const auto map = time_map_of(*make_layer("FiLM"), {constant[0].type(), constant[1].type()}, 1);
  CHECK(map.whole == "one condition is used at every time");
}

TEST_CASE("activations' shapes, parameters, times and errors") {
  CHECK(make_layer("Snake1d", {{"channels", 4}})->parameters().at(0).shape == Shape{1, 4, 1});
  CHECK(make_layer("SnakeBeta", {{"channels", 4}})->parameters().at(1).name == "beta");
  CHECK(make_layer("PReLU", {{"init", 0.5}})->parameters().at(0).shape == Shape{1});
  const TensorType x = signal({2, 6, 8});
  CHECK(infer_one(*make_layer("GLU"), {x}) == TensorType{DType::kFloat32, {2, 6, 4}, TensorType::kNoTime});
  CHECK(infer_one(*make_layer("Magnitude"), {x}) == signal({2, 3, 8}));
  CHECK(time_map_of(*make_layer("GLU"), {x}).is_whole());
  CHECK_FALSE(time_map_of(*make_layer("GLU", {{"dim", 1}}), {x}).is_whole());
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*make_layer("GLU"), {2, 6, 9});
        }) == "input [2, 6, 9] has 9 elements along axis 2, expected an even number for two halves");
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*make_layer("PReLU", {{"num_parameters", 4}}), {2, 6, 9});
        }) == "input is [2, 6, 9], expected [N, 4, ...]");
  refusal(ErrorCategory::kShape, [] { output_shape(*make_layer("Snake", {{"channels", 4}}), {4}); });
  CHECK(refusal(ErrorCategory::kSchema, [] {
          make_layer("GatedActivation", {{"gate", std::string("sigmod")}});
        }) == "gate is 'sigmod', expected one of identity, relu, tanh, sigmoid, softsign, silu, gelu, hardtanh");
  CHECK(refusal(ErrorCategory::kShape, [] {
          infer_one(*make_layer("FiLM"), {signal({2, 3, 9}), signal({2, 6, 8})});
        }) == "input is [2, 3, 9] and condition [2, 6, 8], expected [N, C, L] and [N, 2C, L] or [N, 2C, 1] or [N, 2C]");
  refusal(ErrorCategory::kShape, [] { infer_one(*make_layer("FiLM"), {signal({2, 3, 9}), signal({3, 6, 9})}); });
  refusal(ErrorCategory::kShape, [] { infer_one(*make_layer("FiLM"), {signal({2, 3}), signal({2, 6})}); });
}

}  // namespace
}  // namespace strand::testing
