#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/make_layer.h"
#include "tests/run_pieces.h"

namespace strand::testing {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST_CASE("Softmax along every axis at odd sizes") {
  for (const Shape& shape : {Shape{1}, Shape{2, 3, 5}, Shape{1, 7, 33}, Shape{3, 33, 31}, Shape{2, 1, 1},
                             Shape{2, 3, 4, 5}, Shape{1, 130, 70}, Shape{0, 3, 4}}) {
    for (int64_t dim = -shape.rank(); dim < shape.rank(); ++dim) {
      check_layer(*make_layer("Softmax", {{"dim", dim}}), shape, "Softmax " + std::to_string(dim));
      check_layer(*make_layer("LogSoftmax", {{"dim", dim}}), shape, "LogSoftmax " + std::to_string(dim));
    }
  }
}

TEST_CASE("Softmax over long rows") {
  for (const int64_t length :
       {255, 256, 257, 1024, 1025, 5000, 8192, 8193, 16384, 16386, 32767, 32769, 40000, 65536, 65537}) {
    check_layer(*make_layer("Softmax", {{"dim", -1}}), Shape{3, length}, "Softmax");
    check_layer(*make_layer("Softmax", {{"dim", 0}}), Shape{length, 3}, "Softmax");
    check_layer(*make_layer("LogSoftmax", {{"dim", -1}}), Shape{3, length}, "LogSoftmax");
    check_layer(*make_layer("LogSoftmax", {{"dim", 0}}), Shape{length, 3}, "LogSoftmax");
  }
}

TEST_CASE("Softmax far apart: large differences keep their bound, and what underflows is 0") {
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({4, 50}));
  for (float& x : inputs[0].as<float>()) x *= 60;
  check_layer(*make_layer("Softmax", {{"dim", 1}}), inputs, {}, "Softmax, wide");
  check_layer(*make_layer("Softmax", {{"dim", 0}}), inputs, {}, "Softmax, wide");
  check_layer(*make_layer("LogSoftmax", {{"dim", 1}}), inputs, {}, "LogSoftmax, wide");
  check_layer(*make_layer("LogSoftmax", {{"dim", 0}}), inputs, {}, "LogSoftmax, wide");
}

TEST_CASE("Softmax takes masks, NaN and Inf as PyTorch does") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  // Rows: a mask, nothing but the mask, NaN, +Inf.
  const std::vector<float> values = {0, -kInf, 0, -kInf, -kInf, -kInf, 1, nan, 2, 1, kInf, 2};
  std::vector<float> columns;
  for (size_t i = 0; i < values.size(); ++i) columns.push_back(values[i % 4 * 3 + i / 4]);
  for (const bool rows : {true, false}) {
    CAPTURE(rows);
    std::vector<Tensor> inputs;
    inputs.push_back(rows ? tensor_of({4, 3}, values) : tensor_of({3, 4}, columns));
    const auto layer = make_layer("Softmax", {{"dim", rows ? 1 : 0}});
    check_layer(*layer, inputs, {}, "Softmax with NaN and Inf");
    for_each_implementation(*layer, inputs, {}, [&](const std::string&, std::span<const float> y) {
      const auto at = [&](size_t row, size_t i) { return y[rows ? row * 3 + i : i * 4 + row]; };
      CHECK(at(0, 0) == 0.5F);
      CHECK(at(0, 1) == 0);
      for (size_t i = 0; i < 9; ++i) CHECK(std::isnan(at(1 + i / 3, i % 3)));
    });
    const auto logarithm = make_layer("LogSoftmax", {{"dim", rows ? 1 : 0}});
    check_layer(*logarithm, inputs, {}, "LogSoftmax with NaN and Inf");
  }
}

// On CUDA several blocks share such a row, and some see nothing but the mask.
TEST_CASE("Softmax of long rows takes masks, NaN and Inf as PyTorch does") {
  constexpr int64_t kLength = 20002;
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({5, kLength}));
  const std::span<float> x = inputs[0].as<float>();
  const auto row = [&](size_t i) { return x.subspan(i * kLength, kLength); };
  std::ranges::fill(row(0).first(15000), -kInf);
  std::ranges::fill(row(1), -kInf);
  row(2)[kLength - 1] = std::numeric_limits<float>::quiet_NaN();
  row(3)[7000] = kInf;
  std::ranges::fill(row(4).last(kLength - 1), -kInf);
  check_layer(*make_layer("Softmax", {{"dim", 1}}), inputs, {}, "Softmax, long, with NaN and Inf");
  check_layer(*make_layer("LogSoftmax", {{"dim", 1}}), inputs, {}, "LogSoftmax, long, with NaN and Inf");
}

TEST_CASE("Softmax piece by piece") {
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({2, 5, 203}));
  check_pieces(*make_layer("Softmax", {{"dim", 1}}), inputs, {}, "Softmax");
  check_pieces(*make_layer("LogSoftmax", {{"dim", 1}}), inputs, {}, "LogSoftmax");
}

TEST_CASE("Softmax's times and errors") {
  CHECK(time_map_of(*make_layer("Softmax", {{"dim", -1}}), {signal({1, 2, 3})}).is_whole());
  CHECK_FALSE(time_map_of(*make_layer("Softmax", {{"dim", 1}}), {signal({1, 2, 3})}).is_whole());
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*make_layer("Softmax", {{"dim", 3}}), {1, 2, 3});
        }) == "axis 3 is outside shape [1, 2, 3]");
  refusal(ErrorCategory::kSchema, [] { make_layer("Softmax"); });
}

}  // namespace
}  // namespace strand::testing
