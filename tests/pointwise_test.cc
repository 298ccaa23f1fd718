#include <cmath>
#include <limits>

#include "tests/make_layer.h"

namespace strand::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<std::unique_ptr<layers::Layer>> all_activations() {
  std::vector<std::unique_ptr<layers::Layer>> list;
  for (const char* name : {"ReLU", "LeakyReLU", "Sigmoid", "Tanh", "GELU"}) list.push_back(make_layer(name));
  list.push_back(make_layer("LeakyReLU", {{"negative_slope", 0.3}}));
  list.push_back(make_layer("GELU", {{"approximate", "tanh"}}));
  return list;
}

TEST_CASE("activations keep their bounds at odd sizes and offsets") {
  for (const auto& layer : all_activations()) {
    for (const Shape& shape : {Shape{1}, Shape{3}, Shape{1, 1, 31}, Shape{2, 3, 33}, Shape{5, 7, 129}, Shape{0, 3, 4},
                               Shape{2, 0}, Shape{2, 3, 5, 7}, Shape{3, 40001}}) {
      check_layer(*layer, shape, "activation");
    }
  }
}

TEST_CASE("activations keep their bounds over the whole range") {
  std::vector<float> values;
  for (int exponent = -140; exponent <= 40; ++exponent) {
    for (const float mantissa : {1.0F, 1.3F, 1.7F}) {
      values.push_back(std::ldexp(mantissa, exponent));
      values.push_back(-values.back());
    }
  }
  for (float x = -100; x < 100; x += 0.0371F) values.push_back(x);
  const Shape shape{static_cast<int64_t>(values.size())};
  for (const auto& layer : all_activations()) {
    std::vector<Tensor> inputs;
    inputs.push_back(tensor_of(shape, values));
    check_layer(*layer, inputs, {}, "whole range");
  }
}

TEST_CASE("activations take NaN and Inf as float32 does") {
  struct Row {
    const char* type;
    std::vector<float> expected;  // of NaN, Inf, -Inf, -0.0, -2
  };
  const std::vector<Row> rows = {{"ReLU", {kNan, kInf, 0, 0, 0}},
                                 {"LeakyReLU", {kNan, kInf, -kInf, 0, -0.02F}},
                                 {"Sigmoid", {kNan, 1, 0, 0.5F, 0.11920292F}},
                                 {"Tanh", {kNan, 1, -1, 0, -0.96402758F}},
                                 {"GELU", {kNan, kInf, kNan, 0, -0.04550026F}}};
  for (const Row& row : rows) {
    CAPTURE(row.type);
    std::vector<Tensor> inputs;
    inputs.push_back(tensor_of({5}, {kNan, kInf, -kInf, -0.0F, -2}));
    for_each_implementation(*make_layer(row.type), inputs, {}, [&](const std::string&, std::span<const float> y) {
      for (size_t i = 0; i < y.size(); ++i) {
        if (std::isnan(row.expected[i])) {
          CHECK(std::isnan(y[i]));
        } else {
          CHECK((y[i] == row.expected[i] || y[i] == doctest::Approx(row.expected[i])));
        }
      }
    });
  }
}

TEST_CASE("an activation's element does not depend on its place") {
  const auto layer = make_layer("Tanh");
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({1, 1, 77}));
  const auto whole = run_implementation(*layer, "cpu.native", inputs, {});
  for (int64_t first = 0; first < 77; first += 11) {
    std::vector<float> part(inputs[0].as<const float>().begin() + first, inputs[0].as<const float>().end());
    std::vector<Tensor> rest;
    rest.push_back(tensor_of({static_cast<int64_t>(part.size())}, part));
    const auto y = run_implementation(*layer, "cpu.native", rest, {});
    for (size_t i = 0; i < part.size(); ++i) {
      CHECK(y[0].as<const float>()[i] == whole[0].as<const float>()[i + static_cast<size_t>(first)]);
    }
  }
}

TEST_CASE("activations keep shape and time, and refuse what they do not know") {
  const auto layer = make_layer("ReLU");
  CHECK(infer_one(*layer, {signal({2, 3, 5})}) == signal({2, 3, 5}));
  CHECK_FALSE(time_map_of(*layer, {signal({2, 3, 5})}).is_whole());
  CHECK(refusal(ErrorCategory::kSchema, [] {
          make_layer("GELU", {{"approximate", "erf"}});
        }) == "approximate is 'erf', expected none or tanh");
  CHECK(refusal(ErrorCategory::kSchema, [] {
          make_layer("LeakyReLU", {{"slope", 0.1}});
        }).find("slope") != std::string::npos);
}

}  // namespace
}  // namespace strand::testing
