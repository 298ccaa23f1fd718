#include "layers/registry.h"

#include <doctest/doctest.h>

#include <limits>

#include "engine/error.h"

namespace strand::layers {
namespace {

// A layer that computes nothing: the registry's work ends where it is made.
class Nothing final : public Layer {
 public:
  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override {
    return {inputs.begin(), inputs.end()};
  }
  std::vector<Implementation> implementations(const PrepareArgs& /*args*/) const override { return {}; }
};

LayerRegistry sample(Attributes* seen = nullptr) {
  LayerRegistry registry;
  std::vector<Field> fields = {
      {"out_channels", kInteger, "channels of the output"},
      {"kernel_size", kInteger, "", AttributeValue(int64_t{3})},
      {"dilation", kInteger, "", AttributeValue(int64_t{1})},
      {"stride", kInteger, "", AttributeValue(int64_t{1})},
      {"padding", kInteger | kIntegers | kString, "", AttributeValue(int64_t{0})},
      {"bias", kBoolean, "", AttributeValue(true)},
      {"eps", kNumber, "", AttributeValue(1e-5)},
      {"scales", kNumbers, "", AttributeValue(std::vector<double>{})},
      {"limit", kNumber | kNull, "", AttributeValue(Null{})},
  };
  const auto make = [seen](const Attributes& attributes) -> std::unique_ptr<Layer> {
    if (seen != nullptr) *seen = attributes;
    return std::make_unique<Nothing>();
  };
  registry.add({.name = "Conv1d", .summary = "", .fields = std::move(fields), .make = make});
  for (const char* name : {"Linear", "MaxPool1d", "BatchNorm1d", "ReLU", "LSTM"}) {
    registry.add({.name = name, .summary = "", .fields = {}, .make = make});
  }
  return registry;
}

std::string refusal(const std::string& type, const std::string& name, const AttributeValue& value,
                    ErrorCategory category = ErrorCategory::kSchema) {
  Attributes attributes;
  if (name != "out_channels") attributes.set("out_channels", int64_t{8});
  if (!name.empty()) attributes.set(name, value);
  try {
    sample().make(type, attributes);
  } catch (const Error& error) {
    CHECK(error.category() == category);
    return error.what();
  }
  return "made";
}

TEST_CASE("fields that were left out get their fallbacks") {
  Attributes seen;
  Attributes given;
  given.set("out_channels", int64_t{8});
  given.set("eps", int64_t{1});
  given.set("padding", std::vector<int64_t>{1, 2});
  CHECK(sample(&seen).make("Conv1d", given) != nullptr);
  CHECK(seen.positive("out_channels") == 8);
  CHECK(seen.integer("kernel_size") == 3);
  CHECK(seen.number("eps") == 1.0);
  CHECK(seen.integers("padding") == std::vector<int64_t>{1, 2});
  CHECK(seen.integers("stride") == std::vector<int64_t>{1});
  CHECK(seen.boolean("bias"));
  CHECK(seen.is_null("limit"));
}

TEST_CASE("fields that are unknown, missing or of another kind are refused") {
  const auto field = [](const std::string& name, const AttributeValue& value) {
    return refusal("Conv1d", name, value);
  };
  CHECK(field("dilatoin", int64_t{2}) == "unknown field 'dilatoin'; did you mean 'dilation'?");
  CHECK(field("filters", int64_t{2}) == "unknown field 'filters'; did you mean 'out_channels'?");
  CHECK(field("strides", int64_t{2}) == "unknown field 'strides'; did you mean 'stride'?");
  CHECK(field("use_bias", true) == "unknown field 'use_bias'; did you mean 'bias'?");
  CHECK(field("zebra", true) ==
        "unknown field 'zebra'; known are out_channels, kernel_size, dilation, stride, padding, bias, eps, scales, "
        "limit");
  CHECK(field("kernel_size", std::string("3")) ==
        "kernel_size is \"3\" (a string), expected an integer (decimal, without quotes, leading zeros or other bases)");
  CHECK(field("kernel_size", std::string("yes")) == "kernel_size is \"yes\" (a string), expected an integer");
  CHECK(field("kernel_size", 3.0) == "kernel_size is 3.0 (a number), expected an integer");
  CHECK(field("kernel_size", 1e3) == "kernel_size is 1000.0 (a number), expected an integer");
  CHECK(field("kernel_size", Null{}) == "kernel_size is null, expected an integer");
  CHECK(field("kernel_size", true) == "kernel_size is true (a boolean), expected an integer");
  CHECK(field("kernel_size", std::vector<int64_t>{3}) ==
        "kernel_size is [3] (a list of integers), expected an integer");
  CHECK(field("padding", 0.5) == "padding is 0.5 (a number), expected an integer or string or list of integers");
  CHECK(field("bias", int64_t{0}) == "bias is 0 (an integer), expected a boolean");
  CHECK(field("scales", std::vector<int64_t>{1, 2}) == "made");
  CHECK(field("limit", Null{}) == "made");
  CHECK(field("eps", Null{}) == "eps is null, expected a number");
  CHECK(sample().types().size() == 6);
  try {
    sample().make("Conv1d", {});
    FAIL("made");
  } catch (const Error& error) {
    CHECK(std::string(error.what()) == "missing field 'out_channels' (integer): channels of the output");
  }
}

TEST_CASE("ONNX's and Keras' names lead to layers that there are") {
  std::vector<std::string> names;
  const LayerRegistry registry = default_registry();
  for (const auto& entry : registry.types()) names.push_back(entry.first);
  for (const auto& [elsewhere, here] : std::vector<std::pair<const char*, const char*>>{{"Clip", "Clamp"},
                                                                                        {"Cropping1D", "Crop"},
                                                                                        {"Div", "Divide"},
                                                                                        {"Gather", "Embedding"},
                                                                                        {"GlobalMaxPool", "Max"},
                                                                                        {"Mul", "Multiply"},
                                                                                        {"ReduceMean", "Mean"},
                                                                                        {"Sub", "Subtract"},
                                                                                        {"Swish", "SiLU"}}) {
    CHECK(nearest_name(elsewhere, names) == here);
  }
}

TEST_CASE("an unknown layer type is unsupported, with the nearest one") {
  const auto type = [](const std::string& name) {
    const std::string message = refusal(name, "", Null{}, ErrorCategory::kUnsupported);
    return message.substr(message.find(';'));
  };
  CHECK(type("Conv1D") == "; did you mean 'Conv1d'?");
  CHECK(type("Dense") == "; did you mean 'Linear'?");
  CHECK(type("MaxPooling1D") == "; did you mean 'MaxPool1d'?");
  CHECK(type("BatchNormalization") == "; did you mean 'BatchNorm1d'?");
  CHECK(type("relu") == "; did you mean 'ReLU'?");
  CHECK(type("RELu") == "; did you mean 'ReLU'?");
  CHECK(type("Zebra") == "; known are BatchNorm1d, Conv1d, LSTM, Linear, MaxPool1d, ReLU");
}

TEST_CASE("a type is registered once") {
  LayerRegistry registry = sample();
  CHECK_THROWS_AS(registry.add({.name = "Conv1d", .summary = "", .fields = {}, .make = {}}), Error);
}

TEST_CASE("nearest names") {
  const std::vector<std::string> names = {"stride", "padding", "padding_mode", "hidden_size", "eps"};
  CHECK(nearest_name("pading", names) == "padding");
  CHECK(nearest_name("paddign", names) == "padding");
  CHECK(nearest_name("PADDING", names) == "padding");
  CHECK(nearest_name("units", names) == "hidden_size");
  CHECK(nearest_name("epsilon", names) == "eps");
  CHECK(nearest_name("es", names).empty());
  CHECK(nearest_name("", names).empty());
  CHECK(nearest_name(std::string(100'000, 'a'), names).empty());
  CHECK(nearest_name("stride", {}).empty());
  CHECK(nearest_name("stridex", {std::string(5000, 's')}).empty());
}

TEST_CASE("values of the wrong size or type are told by name") {
  Attributes attributes;
  attributes.set("stride", int64_t{0});
  attributes.set("padding", int64_t{-1});
  attributes.set("mode", std::string("zeros"));
  CHECK_THROWS_WITH_AS(attributes.positive("stride"), "stride is 0, expected at least 1", Error);
  CHECK_THROWS_WITH_AS(attributes.non_negative("padding"), "padding is -1, expected at least 0", Error);
  CHECK_THROWS_WITH_AS(attributes.integer("kernel_size"), "missing field 'kernel_size'", Error);
  CHECK_THROWS_WITH_AS(attributes.boolean("mode"), "mode is \"zeros\" (a string), expected a boolean", Error);
  CHECK_THROWS_AS(attributes.integers("mode"), Error);
  CHECK_THROWS_AS(attributes.number("mode"), Error);
  CHECK(attributes.string("mode") == "zeros");
}

TEST_CASE("values are written as a description spells them") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  CHECK(to_string(Null{}) == "null");
  CHECK(to_string(true) == "true");
  CHECK(to_string(int64_t{-7}) == "-7");
  CHECK(to_string(2.0) == "2.0");
  CHECK(to_string(1e-5) == "1e-05");
  CHECK(to_string(-kInfinity) == "-.inf");
  CHECK(to_string(std::numeric_limits<double>::quiet_NaN()) == ".nan");
  CHECK(to_string(std::string("same_tf")) == "same_tf");
  CHECK(to_string(std::string("true")) == "\"true\"");
  CHECK(to_string(std::string("a\"\x1b\n")) == "\"a\\\"\\x1b\\x0a\"");
  CHECK(to_string(std::vector<int64_t>{1, 2}) == "[1, 2]");
  CHECK(to_string(std::vector<double>{0.5}) == "[0.5]");
  CHECK(describe(std::string(1000, 'x')).size() < 120);
}

}  // namespace
}  // namespace strand::layers
