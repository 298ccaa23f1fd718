#include <cmath>
#include <limits>

#include "tests/make_layer.h"

namespace strand::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<std::unique_ptr<layers::Layer>> all_activations() {
  std::vector<std::unique_ptr<layers::Layer>> list;
  for (const char* name : {"ReLU",     "ReLU6", "LeakyReLU", "ELU",  "SELU",     "CELU",     "Sigmoid",   "LogSigmoid",
                           "Tanh",     "GELU",  "SiLU",      "Mish", "Softplus", "Softsign", "Hardswish", "Hardsigmoid",
                           "Hardtanh", "Abs",   "Sqrt",      "Log",  "Square",   "Exp",      "Sin",       "Cos"}) {
    list.push_back(make_layer(name));
  }
  list.push_back(make_layer("LeakyReLU", {{"negative_slope", 0.3}}));
  list.push_back(make_layer("GELU", {{"approximate", "tanh"}}));
  list.push_back(make_layer("ELU", {{"alpha", -0.3}}));
  list.push_back(make_layer("CELU", {{"alpha", 0.3}}));
  list.push_back(make_layer("CELU", {{"alpha", 7.1}}));
  list.push_back(make_layer("Softplus", {{"beta", 0.3}}));
  list.push_back(make_layer("Softplus", {{"beta", 2.7}, {"threshold", 0.7}}));
  list.push_back(make_layer("Softplus", {{"threshold", -3}}));
  list.push_back(make_layer("Hardtanh", {{"min_val", -0.1}, {"max_val", 0.7}}));
  list.push_back(make_layer("Clamp", {{"min", 0.1}}));
  list.push_back(make_layer("Clamp", {{"max", -0.1}}));
  list.push_back(make_layer("Clamp", {{"min", 0.3}, {"max", -0.3}}));
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
  for (const auto& layer : all_activations()) {
    std::vector<Tensor> inputs;
    inputs.push_back(tensor_of({static_cast<int64_t>(values.size())}, values));
    // What is no float32 has no bound: exp(x) above 88.7.
    const Tensor truth =
        run_implementation(*layer, "cpu.reference", inputs, {}, DType::kFloat64).at(0).to(DType::kFloat32);
    for (size_t i = 0; i < values.size(); ++i) {
      if (std::isinf(truth.as<const float>()[i]) && values[i] != 0) inputs[0].as<float>()[i] = 1;
    }
    check_layer(*layer, inputs, {}, "whole range");
  }
}

TEST_CASE("activations take NaN and Inf as float32 does") {
  struct Row {
    const char* type;
    std::vector<float> expected;  // of NaN, Inf, -Inf, -0.0, -2
  };
  const std::vector<Row> rows = {{"ReLU", {kNan, kInf, 0, 0, 0}},
                                 {"ReLU6", {kNan, 6, 0, 0, 0}},
                                 {"LeakyReLU", {kNan, kInf, -kInf, 0, -0.02F}},
                                 {"ELU", {kNan, kInf, -1, 0, -0.86466472F}},
                                 {"SELU", {kNan, kInf, -1.7580993F, 0, -1.5201665F}},
                                 {"CELU", {kNan, kInf, -1, 0, -0.86466472F}},
                                 {"Sigmoid", {kNan, 1, 0, 0.5F, 0.11920292F}},
                                 {"LogSigmoid", {kNan, 0, -kInf, -0.69314718F, -2.126928F}},
                                 {"Tanh", {kNan, 1, -1, 0, -0.96402758F}},
                                 {"GELU", {kNan, kInf, kNan, 0, -0.04550026F}},
                                 {"SiLU", {kNan, kInf, kNan, 0, -0.23840584F}},
                                 {"Mish", {kNan, kInf, kNan, 0, -0.25250148F}},
                                 {"Softplus", {kNan, kInf, 0, 0.69314718F, 0.126928F}},
                                 {"Softsign", {kNan, kNan, kNan, 0, -0.66666667F}},
                                 {"Hardswish", {kNan, kInf, kNan, 0, -0.33333333F}},
                                 {"Hardsigmoid", {kNan, 1, 0, 0.5F, 0.16666667F}},
                                 {"Hardtanh", {kNan, 1, -1, 0, -1}},
                                 {"Abs", {kNan, kInf, kInf, 0, 2}},
                                 {"Square", {kNan, kInf, kInf, 0, 4}},
                                 {"Sqrt", {kNan, kInf, kNan, 0, kNan}},
                                 {"Exp", {kNan, kInf, 0, 1, 0.13533528F}},
                                 {"Log", {kNan, kInf, kNan, -kInf, kNan}},
                                 {"Sin", {kNan, kNan, kNan, 0, -0.90929743F}},
                                 {"Cos", {kNan, kNan, kNan, 1, -0.41614684F}}};
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
          make_layer("CELU", {{"alpha", 0}});
        }) == "alpha is 0, expected a number above 0");
  CHECK(refusal(ErrorCategory::kSchema, [] {
          make_layer("Softplus", {{"beta", -1.5}});
        }) == "beta is -1.5, expected a number above 0");
  CHECK(refusal(ErrorCategory::kSchema, [] {
          make_layer("Hardtanh", {{"min_val", 1}});
        }) == "min_val 1 is not below max_val 1.0");
  CHECK(refusal(ErrorCategory::kSchema, [] { make_layer("Clamp"); }) ==
        "min and max are null, expected at least one bound");
  CHECK(refusal(ErrorCategory::kSchema, [] {
          make_layer("LeakyReLU", {{"slope", 0.1}});
        }).find("slope") != std::string::npos);
}

}  // namespace
}  // namespace strand::testing
