#include <cmath>
#include <limits>

#include "tests/make_layer.h"
#include "tests/run_pieces.h"

namespace strand::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

std::unique_ptr<layers::Layer> make(const char* type, int64_t dim, bool keepdim = false) {
  return make_layer(type, {{"dim", dim}, {"keepdim", keepdim}});
}

TEST_CASE("reductions over every axis") {
  for (const char* type : {"Mean", "Sum", "Max", "Std"}) {
    for (const Shape& shape : {Shape{2, 3, 5}, Shape{1, 1, 1}, Shape{3, 70, 300}, Shape{2, 3, 4, 1000}, Shape{20000},
                               Shape{600, 17}, Shape{0, 3, 5}}) {
      for (int64_t dim = -1; dim < shape.rank(); ++dim) {
        if (shape[dim < 0 ? shape.rank() - 1 : static_cast<int>(dim)] == 0) continue;
        check_layer(*make(type, dim, dim % 2 == 0), shape, std::string(type) + " over " + std::to_string(dim));
      }
    }
  }
  check_layer(*make("Sum", 1), Shape{2, 0, 5}, "Sum of nothing");
  check_layer(*make("Mean", 2), Shape{2, 3, 0}, "Mean of nothing");
  check_layer(*make("Std", 2), Shape{2, 3, 0}, "Std of nothing");
  check_layer(*make("Std", 1), Shape{2, 1, 5}, "Std of one element, with none left of the count");
  check_layer(*make_layer("Std", {{"dim", 1}, {"correction", 0}}), Shape{2, 6, 300}, "Std without correction");
}

TEST_CASE("reductions take Inf and NaN along") {
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({4, 40, 3}));
  const auto x = inputs[0].as<float>();
  x[0] = kInf;
  x[4] = kNan;
  x[121] = -kInf;
  x[124] = kInf;
  for (size_t i = 0; i < 40; ++i) x[240 + 3 * i] = -kInf;
  for (const char* type : {"Mean", "Sum", "Max", "Std"}) {
    for (const int64_t dim : {0, 1, 2}) check_layer(*make(type, dim), inputs, {}, std::string(type) + " of Inf");
  }
}

TEST_CASE("a deviation beside a large mean") {
  for (const int64_t dim : {1, 2}) {
    std::vector<Tensor> inputs;
    inputs.push_back(random_tensor({2, 90, 70}));
    for (float& x : inputs[0].as<float>()) x += 5000;
    check_layer(*make("Std", dim), inputs, {}, "Std beside a large mean");
    for (float& x : inputs[0].as<float>()) x = 0.1F;
    check_layer(*make("Std", dim), inputs, {}, "Std of what is all the same");
  }
}

TEST_CASE("reductions' shapes and times") {
  CHECK(output_shape(*make("Mean", -1), {2, 3, 5}) == Shape{2, 3});
  CHECK(output_shape(*make("Max", 1, true), {2, 3, 5}) == Shape{2, 1, 5});
  CHECK(output_shape(*make("Sum", 0), {5}) == Shape{1});
  CHECK(infer_one(*make("Mean", 1), {signal({2, 3, 5})}).time_axis == 1);
  CHECK(infer_one(*make("Mean", 1, true), {signal({2, 3, 5})}).time_axis == 2);
  CHECK(infer_one(*make("Mean", 2, true), {signal({2, 3, 5})}).time_axis == TensorType::kNoTime);
  CHECK(infer_one(*make("Mean", 1), {{DType::kFloat32, {2, 3, 5}, 0}}).time_axis == 0);
  CHECK(time_map_of(*make("Mean", 2), {signal({2, 3, 5})}).is_whole());
  CHECK_FALSE(time_map_of(*make("Mean", 1), {signal({2, 3, 5})}).is_whole());
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({2, 33, 700}));
  for (const char* type : {"Mean", "Sum", "Max", "Std"}) check_pieces(*make(type, 1), inputs, {}, type, 300);
  // Two values that cancel, but take what is added between them along: another order shows.
  for (int64_t i = 0; i < 2 * 33 * 700; ++i) {
    const int64_t channel = i / 700 % 33;
    if (channel == 0) inputs[0].as<float>()[static_cast<size_t>(i)] = 1e30F;
    if (channel == 16) inputs[0].as<float>()[static_cast<size_t>(i)] = -1e30F;
  }
  for (const char* type : {"Mean", "Sum"}) check_pieces(*make(type, 1), inputs, {}, type, 2);
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*make("Max", 1), {2, 0, 5});
        }) == "input [2, 0, 5] has no maximum along axis 1");
  refusal(ErrorCategory::kShape, [] { output_shape(*make("Mean", 3), {2, 3, 5}); });
}

}  // namespace
}  // namespace strand::testing
