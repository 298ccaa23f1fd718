#include <limits>

#include "tests/make_layer.h"
#include "tests/run_pieces.h"

namespace strand::testing {
namespace {

using layers::AttributeValue;
using layers::Null;

std::unique_ptr<layers::Layer> slice(int64_t dim, int64_t start, const AttributeValue& end, int64_t step = 1) {
  return make_layer("Slice", {{"dim", dim}, {"start", start}, {"end", end}, {"step", step}});
}
std::unique_ptr<layers::Layer> pad(std::vector<int64_t> padding, const std::string& mode, double value = 0) {
  return make_layer("Pad", {{"padding", std::move(padding)}, {"mode", mode}, {"value", value}});
}
std::unique_ptr<layers::Layer> reshape(std::vector<int64_t> shape) {
  return make_layer("Reshape", {{"shape", std::move(shape)}});
}

TEST_CASE("Slice along every axis, with steps") {
  for (const Shape& shape : {Shape{5, 6, 7}, Shape{3, 4, 64}, Shape{9}, Shape{2, 3, 5000}}) {
    for (int64_t dim = -shape.rank(); dim < shape.rank(); ++dim) {
      check_layer(*slice(dim, 0, Null{}), shape, "Slice, all");
      check_layer(*slice(dim, 1, int64_t{-1}), Shape{shape.rank() == 1 ? 9 : 8, 9, 12}, "Slice, inner");
      check_layer(*slice(dim, -2, Null{}, 1), shape, "Slice, last");
      check_layer(*slice(dim, 0, Null{}, 2), shape, "Slice, every second");
      check_layer(*slice(dim, 1, int64_t{100000}, 3), shape, "Slice, every third");
    }
  }
  check_layer(*slice(2, 4, Null{}), Shape{2, 3, 68}, "Slice, aligned");
  check_layer(*slice(2, 1, Null{}), Shape{0, 3, 5}, "Slice of nothing");
}

TEST_CASE("Slice clamps as PyTorch does") {
  CHECK(output_shape(*slice(-1, -100, int64_t{3}), {2, 5}) == Shape{2, 3});
  CHECK(output_shape(*slice(1, 2, int64_t{100}), {2, 5}) == Shape{2, 3});
  CHECK(output_shape(*slice(1, -3, int64_t{-1}), {2, 5}) == Shape{2, 2});
  CHECK(output_shape(*slice(1, 0, Null{}, 3), {2, 7}) == Shape{2, 3});
  CHECK(output_shape(*slice(0, 0, Null{}), {0, 7}) == Shape{0, 7});
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*slice(1, 4, int64_t{2}), {2, 5});
        }) == "nothing is left of axis 1 of [2, 5]: elements 4 to 2");
  refusal(ErrorCategory::kShape, [] { output_shape(*slice(2, 0, Null{}), {2, 5}); });
  refusal(ErrorCategory::kSchema, [] { slice(1, 0, Null{}, 0); });
  refusal(ErrorCategory::kSchema, [] { slice(1, 0, Null{}, -1); });
  const TimeMap map = time_map_of(*slice(2, 13, Null{}, 2), {signal({1, 2, 20})});
  CHECK(map.numerator == 2);
  CHECK(map.first == 13);
  CHECK(map.last == 13);
  CHECK(time_map_of(*slice(1, 1, Null{}), {signal({1, 2, 20})}).first == 0);
  CHECK(time_map_of(*slice(2, -7, Null{}), {signal({1, 2, 20})}).is_whole());
}

TEST_CASE("Pad in every mode") {
  for (const char* mode : {"constant", "reflect", "replicate", "circular"}) {
    for (const Shape& shape : {Shape{6}, Shape{2, 3, 31}, Shape{1, 2, 2000}, Shape{0, 3, 9}}) {
      for (const auto& padding : std::vector<std::vector<int64_t>>{{0, 0}, {1, 0}, {0, 5}, {5, 4}, {3}}) {
        check_layer(*pad(padding, mode, 1.5), shape, std::string("Pad ") + mode);
      }
    }
  }
  check_layer(*pad({2, 3}, "constant", std::numeric_limits<double>::infinity()), Shape{2, 3, 0}, "Pad of nothing");
  check_layer(*pad({4, 4}, "circular"), Shape{2, 4}, "Pad once round");
  check_layer(*pad({30, 40}, "replicate"), Shape{2, 1}, "Pad of one");
}

TEST_CASE("Pad's times and errors") {
  CHECK(output_shape(*make_layer("Pad", {{"padding", 2}}), {3, 4}) == Shape{3, 8});
  const TensorType x = signal({1, 2, 9});
  CHECK(time_map_of(*pad({3, 1}, "reflect"), {x}).first == -3);
  CHECK(time_map_of(*pad({3, 1}, "reflect"), {x}).ends == Ends::kReflect);
  CHECK(time_map_of(*pad({3, 1}, "replicate"), {x}).ends == Ends::kReplicate);
  CHECK(time_map_of(*pad({3, 1}, "circular"), {x}).ends == Ends::kCircular);
  CHECK(time_map_of(*pad({3, 1}, "constant"), {x}).ends == Ends::kZeros);
  CHECK(time_map_of(*pad({3, 1}, "constant", 2), {x}).ends == Ends::kNone);
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*pad({4, 0}, "reflect"), {2, 4});
        }) == "padding [4, 0] in this mode needs a last axis of at least 5, input is [2, 4]");
  refusal(ErrorCategory::kShape, [] { output_shape(*pad({0, 5}, "circular"), {2, 4}); });
  refusal(ErrorCategory::kShape, [] { output_shape(*pad({0, 0}, "replicate"), {2, 0}); });
  refusal(ErrorCategory::kSchema, [] { pad({0, -1}, "constant"); });
  refusal(ErrorCategory::kSchema, [] { pad({1, 2, 3}, "constant"); });
  refusal(ErrorCategory::kSchema, [] { pad({}, "constant"); });
  CHECK(refusal(ErrorCategory::kSchema, [] { pad({1}, "zeros"); }) ==
        "mode is 'zeros', expected constant, reflect, replicate or circular");
  refusal(ErrorCategory::kLimit, [] { output_shape(*pad({INT64_MAX, INT64_MAX}, "constant"), {2, 4}); });
}

TEST_CASE("Transpose of every pair of axes") {
  for (const Shape& shape :
       {Shape{2, 33, 65}, Shape{1, 1, 5}, Shape{2, 3, 4, 5}, Shape{70, 3}, Shape{0, 3, 4}, Shape{3, 1, 200}}) {
    for (int64_t first = -shape.rank(); first < shape.rank(); ++first) {
      for (int64_t second = 0; second < shape.rank(); ++second) {
        check_layer(*make_layer("Transpose", {{"dim0", first}, {"dim1", second}}), shape, "Transpose");
      }
    }
  }
}

TEST_CASE("Transpose takes time along") {
  const auto layer = make_layer("Transpose", {{"dim0", 1}, {"dim1", -1}});
  CHECK(infer_one(*layer, {signal({2, 3, 5})}) == TensorType{DType::kFloat32, {2, 5, 3}, 1});
  CHECK(infer_one(*layer, {{DType::kFloat32, {2, 3, 5}, 1}}).time_axis == 2);
  CHECK(infer_one(*layer, {{DType::kFloat32, {2, 3, 5}, 0}}).time_axis == 0);
  CHECK_FALSE(time_map_of(*layer, {signal({2, 3, 5})}).is_whole());
  refusal(ErrorCategory::kShape, [&] { output_shape(*layer, {5}); });
}

TEST_CASE("moved elements are the same piece by piece") {
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({2, 3, 101}));
  for (const char* mode : {"constant", "reflect", "replicate", "circular"}) {
    check_pieces(*pad({13, 6}, mode, 1.5), inputs, {}, std::string("Pad ") + mode);
    check_pieces(*pad({0, 2}, mode), inputs, {}, std::string("Pad ") + mode);
  }
  check_pieces(*slice(2, 7, int64_t{-5}, 3), inputs, {}, "Slice of time");
  check_pieces(*slice(2, 7, Null{}), inputs, {}, "Slice of time");
  check_pieces(*slice(1, 0, Null{}, 2), inputs, {}, "Slice of channels");
  check_pieces(*make_layer("Transpose", {{"dim0", 1}, {"dim1", 2}}), inputs, {}, "Transpose");
}

TEST_CASE("Flatten and Reshape are views") {
  const auto flatten = make_layer("Flatten");
  CHECK(flatten->is_view());
  CHECK(output_shape(*flatten, {2, 3, 5}) == Shape{2, 15});
  CHECK(output_shape(*flatten, {2, 3}) == Shape{2, 3});
  CHECK(output_shape(*flatten, {0, 3, 5}) == Shape{0, 15});
  CHECK(output_shape(*make_layer("Flatten", {{"start_dim", -3}, {"end_dim", -2}}), {2, 3, 5, 7}) == Shape{2, 15, 7});
  CHECK(output_shape(*make_layer("Flatten", {{"start_dim", 0}}), {2, 3, 5}) == Shape{30});
  CHECK(output_shape(*reshape({0, -1}), {2, 3, 5}) == Shape{2, 15});
  CHECK(output_shape(*reshape({0, -1}), {0, 3, 5}) == Shape{0, 15});
  CHECK(output_shape(*reshape({-1}), {2, 3, 5}) == Shape{30});
  CHECK(output_shape(*reshape({0, 4, -1, 0}), {2, 12, 1, 5}) == Shape{2, 4, 3, 5});
  CHECK(output_shape(*reshape({5, 6}), {2, 3, 5}) == Shape{5, 6});
  WeightStore store;
  CHECK(flatten->implementations({{}, {}, {}, 0, layers::Weights("", {}, store)}).empty());
}

TEST_CASE("views lose time where it is merged") {
  const auto time_of = [](const layers::Layer& layer, const TensorType& x) { return infer_one(layer, {x}).time_axis; };
  CHECK(time_of(*make_layer("Flatten"), signal({2, 3, 5})) == TensorType::kNoTime);
  CHECK(time_map_of(*make_layer("Flatten"), {signal({2, 3, 5})}).is_whole());
  CHECK(time_of(*make_layer("Flatten", {{"start_dim", 0}, {"end_dim", 1}}), signal({2, 3, 5})) == 1);
  CHECK_FALSE(time_map_of(*make_layer("Flatten", {{"start_dim", 0}, {"end_dim", 1}}), {signal({2, 3, 5})}).is_whole());
  CHECK(time_of(*make_layer("Flatten"), signal({2, 1, 5})) == 1);
  CHECK(time_of(*reshape({0, 2, 3, 5}), signal({2, 6, 5})) == 3);
  CHECK(time_of(*reshape({0, 3, 10}), signal({2, 6, 5})) == TensorType::kNoTime);
  CHECK_FALSE(time_map_of(*make_layer("Flatten"), {{DType::kFloat32, {2, 3, 5}, TensorType::kNoTime}}).is_whole());
}

TEST_CASE("views' errors") {
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*reshape({4, -1}), {2, 3});
        }) == "input [2, 3] does not fit shape [4, -1]");
  refusal(ErrorCategory::kShape, [] { output_shape(*reshape({5}), {2, 3}); });
  refusal(ErrorCategory::kShape, [] { output_shape(*reshape({2, 3, 0}), {2, 3}); });
  refusal(ErrorCategory::kSchema, [] { reshape({-1, -1}); });
  refusal(ErrorCategory::kSchema, [] { reshape({-2}); });
  refusal(ErrorCategory::kSchema, [] { reshape({}); });
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*make_layer("Flatten", {{"start_dim", 2}, {"end_dim", 1}}), {2, 3, 5});
        }) == "start_dim 2 is after end_dim 1 of [2, 3, 5]");
  refusal(ErrorCategory::kShape, [] { output_shape(*make_layer("Flatten", {{"start_dim", 3}}), {2, 3, 5}); });
}

}  // namespace
}  // namespace strand::testing
