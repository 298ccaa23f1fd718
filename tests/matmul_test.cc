#include <limits>

#include "tests/make_layer.h"
#include "tests/run_pieces.h"

namespace strand::testing {
namespace {

std::vector<Tensor> random_tensors(const std::vector<Shape>& shapes) {
  std::vector<Tensor> tensors;
  for (const Shape& shape : shapes) tensors.push_back(random_tensor(shape));
  return tensors;
}

TEST_CASE("MatMul at tile edges") {
  const auto layer = make_layer("MatMul");
  for (const int64_t inner : {1, 3, 64, 255, 256, 257, 600}) {
    for (const int64_t columns : {1, 15, 16, 17, 33}) {
      for (const int64_t rows : {1, 5, 6, 7, 48, 49}) {
        check_layer(*layer, random_tensors({{rows, inner}, {inner, columns}}), {}, "MatMul");
      }
    }
  }
}

TEST_CASE("MatMul broadcasts the axes before the matrices") {
  const auto layer = make_layer("MatMul");
  const std::vector<std::vector<Shape>> rows = {
      {{3, 5, 7}, {3, 7, 4}},       {{3, 5, 7}, {7, 4}},       {{5, 7}, {3, 7, 4}},
      {{2, 3, 5, 7}, {2, 3, 7, 4}}, {{2, 1, 5, 7}, {3, 7, 4}}, {{2, 3, 5, 7}, {2, 1, 7, 4}},
      {{1, 3, 5, 7}, {2, 1, 7, 4}}, {{0, 5, 7}, {7, 4}},       {{2, 0, 7}, {2, 7, 4}},
      {{2, 5, 0}, {2, 0, 4}},       {{2, 5, 7}, {2, 7, 0}},    {{70000, 2, 3}, {70000, 3, 1}},
      {{70000, 1, 2}, {2, 3}},
  };
  for (const auto& shapes : rows) {
    check_layer(*layer, random_tensors(shapes), {}, "MatMul of " + to_string(shapes[0]) + " " + to_string(shapes[1]));
  }
  CHECK(infer_one(*layer, {signal({2, 1, 5, 7}), signal({3, 7, 4})}).shape == Shape{2, 3, 5, 4});
}

TEST_CASE("MatMul passes NaN and Inf to their own rows and columns only") {
  std::vector<Tensor> inputs = random_tensors({{40, 6}, {6, 20}});
  inputs[0].as<float>()[6 * 3 + 1] = std::numeric_limits<float>::infinity();
  inputs[1].as<float>()[20 * 2 + 7] = std::numeric_limits<float>::quiet_NaN();
  check_layer(*make_layer("MatMul"), inputs, {}, "MatMul with Inf and NaN");
}

TEST_CASE("MatMul's times, piece by piece") {
  const auto layer = make_layer("MatMul");
  const auto typed = [](const Shape& shape, int time) { return TensorType{DType::kFloat32, shape, time}; };
  const TensorType rows = typed({2, 103, 5}, 1);
  const TensorType columns = typed({2, 5, 103}, 2);
  const TensorType fixed = typed({5, 4}, TensorType::kNoTime);
  CHECK(infer_one(*layer, {rows, fixed}).time_axis == 1);
  CHECK(time_map_of(*layer, {rows, fixed}, 0) == TimeMap::pointwise());
  CHECK(time_map_of(*layer, {rows, fixed}, 1).whole == "an input without time is used at every time");
  CHECK(infer_one(*layer, {rows, columns}).time_axis == TensorType::kNoTime);
  CHECK(time_map_of(*layer, {rows, columns}, 0).whole == "the inputs' times lie on different axes");
  CHECK(time_map_of(*layer, {columns, rows}, 0).whole == "MatMul sums over the time axis");
  CHECK(infer_one(*layer, {columns, rows}).time_axis == TensorType::kNoTime);
  std::vector<Tensor> inputs;
  for (const TensorType& type : {typed({103, 7, 5}, 0), typed({103, 5, 20}, 0)}) {
    inputs.emplace_back(type);
    std::ranges::copy(random_tensor(type.shape).as<const float>(), inputs.back().as<float>().begin());
  }
  check_pieces(*layer, inputs, {}, "MatMul a time");
}

TEST_CASE("MatMul's errors") {
  const auto layer = make_layer("MatMul");
  CHECK(refusal(ErrorCategory::kShape, [&] {
          infer_one(*layer, {signal({2, 5, 7}), signal({2, 6, 4})});
        }) == "inputs are [2, 5, 7] and [2, 6, 4], expected [.., rows, inner] and [.., inner, columns]");
  refusal(ErrorCategory::kShape, [&] { infer_one(*layer, {signal({7}), signal({7, 4})}); });
  CHECK(refusal(ErrorCategory::kShape, [&] {
          infer_one(*layer, {signal({2, 5, 7}), signal({3, 7, 4})});
        }) == "inputs 0 and 1 do not broadcast: [2] and [3]");
}

}  // namespace
}  // namespace strand::testing
