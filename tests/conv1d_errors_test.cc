// Conv1d's rules: shapes, times, and what it refuses, in which words.

#include <doctest/doctest.h>

#include "engine/error.h"
#include "tests/conv1d_table.h"

namespace strand::testing {
namespace {

std::vector<TensorType> inputs(int64_t batch, int64_t channels, int64_t length) {
  return {TensorType{DType::kFloat32, {batch, channels, length}, 2}};
}

Shape output_shape(const Conv1dCase& c) {
  return make_conv1d(c)->infer(inputs(c.batch, c.in_channels, c.length))[0].shape;
}

// The error of making the layer and inferring its output, as "category: message".
std::string error_of(const Conv1dCase& c) {
  try {
    output_shape(c);
  } catch (const Error& error) {
    return std::string(strand::to_string(error.category())) + ": " + error.what();
  }
  return "none";
}

bool fails(const Conv1dCase& c, ErrorCategory category, const std::string& part) {
  const std::string error = error_of(c);
  INFO(error);
  const bool good = error.starts_with(strand::to_string(category)) && error.find(part) != std::string::npos;
  CHECK(good);
  return good;
}

TEST_CASE("conv1d: output lengths are PyTorch's") {
  CHECK(output_shape({16, 64, 128, 256, 3, 4, 3}) == Shape{16, 128, 83});
  CHECK(output_shape({64, 64, 128, 524280, 3, 4, 3}) == Shape{64, 128, 174758});
  CHECK(output_shape({2, 1, 1, 9, 9}) == Shape{2, 1, 1});
  CHECK(output_shape({1, 1, 1, 10, 4, 1, 1, "same"}) == Shape{1, 1, 10});
  CHECK(output_shape({1, 1, 1, 10, 4, 1, 3, "same_tf"}) == Shape{1, 1, 4});
  CHECK(output_shape({1, 1, 1, 10, 4, 2, 1, "causal"}) == Shape{1, 1, 10});
  CHECK(output_shape({1, 1, 1, 10, 4, 2, 1, "valid"}) == Shape{1, 1, 4});
  CHECK(output_shape({1, 1, 1, 10, 3, 1, 2, CasePadding(2, 5)}) == Shape{1, 1, 8});
  CHECK(output_shape({1, 1, 1, 5, 1, int64_t{1} << 62}) == Shape{1, 1, 5});
  CHECK(output_shape({1, 1, 1, 5, 5, 1, int64_t{1} << 62}) == Shape{1, 1, 1});
}

TEST_CASE("conv1d: what does not fit is refused") {
  // All seven numbers of the formula: length, both paddings, dilation, kernel size, stride and the result.
  fails({1, 1, 1, 10, 5, 4, 3, CasePadding(1, 2)}, ErrorCategory::kShape,
        "length 10 with padding_left 1, padding_right 2, dilation 4, kernel_size 5 and stride 3 gives an output length "
        "of -1, expected at least 1");
  fails({1, 1, 1, 8, 9}, ErrorCategory::kShape, "output length of 0");
  fails({1, 1, 1, 5, 3, 1, 1, 5, 1, true, "reflect"}, ErrorCategory::kShape, "reflect");
  fails({1, 1, 1, 5, 3, 1, 1, 6, 1, true, "circular"}, ErrorCategory::kShape, "circular");
  fails({1, 1, 1, 0, 1, 1, 1, 1, 1, true, "replicate"}, ErrorCategory::kShape, "replicate");
  fails({1, 1, 1, 10, int64_t{1} << 31, int64_t{1} << 31}, ErrorCategory::kShape, "output length");
  fails({1, 1, 1, 10, int64_t{1} << 40, int64_t{1} << 40}, ErrorCategory::kLimit, "64 bits");
  fails({1, int64_t{1} << 40, int64_t{1} << 40, 10, 3}, ErrorCategory::kLimit, "64 bits");
  fails({int64_t{1} << 40, 1, 1 << 20, 100, 1}, ErrorCategory::kLimit, "64 bits");

  const std::unique_ptr<layers::Layer> layer = make_conv1d({1, 64, 8, 10, 3});
  CHECK_THROWS_WITH_AS(layer->infer(inputs(16, 3, 100)),
                       "input float32 [16, 3, 100] has 3 channels, expected in_channels 64", Error);
  const std::vector<TensorType> flat = {TensorType{DType::kFloat32, {64, 100}, 1}};
  CHECK_THROWS_WITH_AS(layer->infer(flat), "input float32 [64, 100], expected three axes: [batch, channels, length]",
                       Error);
  const std::vector<TensorType> integers = {TensorType{DType::kInt64, {1, 64, 100}, 2}};
  CHECK_THROWS_AS(layer->infer(integers), Error);
}

TEST_CASE("conv1d: fields that make no sense are refused") {
  fails({1, 8, 8, 10, 3, 1, 1, 0, 3}, ErrorCategory::kSchema, "groups 3 does not divide in_channels 8");
  fails({1, 6, 8, 10, 3, 1, 1, 0, 3}, ErrorCategory::kSchema, "groups 3 does not divide out_channels 8");
  fails({1, 0, 8, 10, 3}, ErrorCategory::kSchema, "in_channels");
  fails({1, 8, 0, 10, 3}, ErrorCategory::kSchema, "out_channels");
  fails({1, 8, 8, 10, 0}, ErrorCategory::kSchema, "kernel_size");
  fails({1, 8, 8, 10, 3, 0}, ErrorCategory::kSchema, "dilation");
  fails({1, 8, 8, 10, 3, 1, 0}, ErrorCategory::kSchema, "stride");
  fails({1, 8, 8, 10, 3, 1, 1, 0, 0}, ErrorCategory::kSchema, "groups");
  fails({1, 8, 8, 10, 3, 1, 1, int64_t{-1}}, ErrorCategory::kSchema, "padding -1 is negative");
  fails({1, 8, 8, 10, 3, 1, 1, CasePadding(1, -2)}, ErrorCategory::kSchema, "padding -2 is negative");
  layers::Attributes three = attributes_of({1, 8, 8, 10, 3});
  three.set("padding", std::vector<int64_t>{1, 2, 3});
  CHECK_THROWS_WITH_AS(layers::default_registry().make("Conv1d", three),
                       "padding has 3 numbers, expected one or [left, right]", Error);
  fails({1, 8, 8, 10, 3, 1, 1, "full"}, ErrorCategory::kSchema, "padding is 'full'");
  fails({1, 8, 8, 10, 3, 1, 1, 1, 1, true, "mirror"}, ErrorCategory::kSchema, "padding_mode is 'mirror'");
  fails({1, 8, 8, 10, 3, 1, 2, "same"}, ErrorCategory::kUnsupported, "same_tf");
}

TEST_CASE("conv1d: times, parameters and work") {
  const std::unique_ptr<layers::Layer> layer =
      make_conv1d({1, 6, 9, 100, 3, 4, 2, CasePadding(3, 1), 3, true, "reflect"});
  const std::vector<TensorType> in = inputs(2, 6, 100);
  const std::vector<TensorType> out = layer->infer(in);
  CHECK(out[0].time_axis == 2);
  const TimeMap map = layer->time_map(0, 0, in);
  CHECK(map.numerator == 2);
  CHECK(map.denominator == 1);
  CHECK(map.first == -3);
  CHECK(map.last == 5);
  CHECK(map.ends == Ends::kReflect);
  CHECK(make_conv1d({1, 6, 9, 100, 3})->time_map(0, 0, in).ends == Ends::kNone);

  const std::vector<layers::Parameter> parameters = layer->parameters();
  CHECK(parameters.size() == 2);
  CHECK(parameters[0].name == "weight");
  CHECK(parameters[0].shape == Shape{9, 2, 3});
  CHECK(parameters[0].fan_in == 6);
  CHECK(parameters[1].name == "bias");
  CHECK(parameters[1].shape == Shape{9});
  CHECK(layer->multiply_adds(in, out) == 2 * 9 * 48 * 6);

  const std::vector<TensorType> timeless = {TensorType{DType::kFloat32, {2, 6, 100}, TensorType::kNoTime}};
  CHECK(layer->infer(timeless)[0].time_axis == TensorType::kNoTime);
  CHECK(layer->time_map(0, 0, timeless).is_whole());
}

}  // namespace
}  // namespace strand::testing
