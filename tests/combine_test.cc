#include <limits>
#include <string_view>

#include "tests/make_layer.h"
#include "tests/run_pieces.h"

namespace strand::testing {
namespace {

std::vector<Tensor> random_tensors(const std::vector<Shape>& shapes) {
  std::vector<Tensor> tensors;
  for (const Shape& shape : shapes) tensors.push_back(random_tensor(shape));
  return tensors;
}

TEST_CASE("Add, Subtract, Multiply and Divide broadcast") {
  const std::vector<std::vector<Shape>> rows = {
      {{5}, {5}},
      {{2, 3, 31}, {2, 3, 31}},
      {{2, 3, 32}, {3, 1}},
      {{2, 3, 32}, {1, 3, 32}},
      {{2, 1, 32}, {1, 3, 1}},
      {{3, 1}, {2, 1, 7}},
      {{1}, {2, 3, 4}},
      {{2, 3, 4}, {1, 1, 1}},
      {{2, 1, 4, 1, 3}, {5, 1, 2, 1}},
      {{1, 1}, {1}},
      {{2, 3, 8}, {2, 3, 8}, {3, 1}, {8}, {2, 3, 8}, {1}, {2, 1, 8}},
      {{0, 3, 4}, {3, 1}},
      {{2, 3, 0}, {2, 3, 1}},
      {{2, 9, 5001}, {9, 1}},
      {{3, 40000}, {40000}},
  };
  for (const auto& shapes : rows) {
    for (const char* type : {"Add", "Subtract", "Multiply", "Divide"}) {
      check_layer(*make_layer(type), random_tensors(shapes), {}, type + (" " + to_string(shapes[0])));
    }
  }
}

TEST_CASE("a number in place of the second input") {
  for (const char* type : {"Add", "Subtract", "Multiply", "Divide"}) {
    for (const double value : {0.1, -3.0, 0.0}) {
      const auto layer = make_layer(type, {{"value", value}});
      for (const Shape& shape : {Shape{1}, Shape{2, 3, 31}, Shape{0, 3}, Shape{3, 40001}}) {
        check_layer(*layer, random_tensors({shape}), {}, type);
      }
    }
    CHECK(time_map_of(*make_layer(type, {{"value", 2}}), {signal({1, 4, 9})}) == TimeMap::pointwise());
  }
  CHECK(refusal(ErrorCategory::kSchema, [] {
          infer_one(*make_layer("Divide", {{"value", 2}}), {signal({2}), signal({2})});
        }) == "takes one input beside its value, got 2");
}

TEST_CASE("combining piece by piece") {
  for (const char* type : {"Add", "Subtract", "Multiply", "Divide"}) {
    check_pieces(*make_layer(type), random_tensors({{2, 3, 203}, {2, 3, 203}, {1, 1, 203}}), {}, type);
    check_pieces(*make_layer(type, {{"value", 0.3}}), random_tensors({{2, 3, 203}}), {}, type);
  }
}

TEST_CASE("Add is in the order of its inputs") {
  const auto layer = make_layer("Add");
  std::vector<Tensor> inputs;
  for (const float value : {1e8F, -1e8F, 0.5F, 0.25F, 0.125F, 1.0F}) inputs.push_back(tensor_of({1}, {value}));
  for_each_implementation(*layer, inputs, {},
                          [](const std::string&, std::span<const float> y) { CHECK(y[0] == 1.875F); });
}

// Short ones are combined all at once, long ones some at a time, and by threads.
TEST_CASE("inputs of one shape are combined in their order, however many and long") {
  for (const Shape& shape :
       {Shape{1}, Shape{2, 3, 31}, Shape{3, 64}, Shape{2, 1500}, Shape{3, 5001}, Shape{3, 40001}}) {
    for (const size_t count : {2U, 8U, 9U, 23U}) {
      const std::vector<Tensor> inputs = random_tensors(std::vector<Shape>(count, shape));
      for (const int threads : {1, 3}) {
        for (const char* type : {"Add", "Subtract", "Multiply", "Divide"}) {
          const auto result = run_implementation(*make_layer(type), "cpu.native", inputs, {}, DType::kFloat32, threads);
          int64_t wrong = 0;
          for (size_t i = 0; i < static_cast<size_t>(shape.elements()); ++i) {
            float expected = inputs[0].as<const float>()[i];
            for (size_t k = 1; k < count; ++k) {
              const float next = inputs[k].as<const float>()[i];
              const std::string_view name = type;
              expected = name == "Add"        ? expected + next
                         : name == "Subtract" ? expected - next
                         : name == "Multiply" ? expected * next
                                              : expected / next;
            }
            wrong += result[0].as<const float>()[i] == expected ? 0 : 1;
          }
          CHECK_MESSAGE(wrong == 0, type << " of " << count << " " << to_string(shape) << ", seed " << test_seed());
        }
      }
    }
  }
}

TEST_CASE("combining takes NaN and Inf as float32 does") {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<Tensor> inputs;
  inputs.push_back(tensor_of({4}, {inf, inf, 0, 1}));
  inputs.push_back(tensor_of({4}, {-inf, 1, inf, std::numeric_limits<float>::quiet_NaN()}));
  for (const char* type : {"Add", "Subtract", "Multiply", "Divide"}) check_layer(*make_layer(type), inputs, {}, type);
  check_layer(*make_layer("Concat", {{"dim", 0}}), inputs, {}, "Concat");
}

TEST_CASE("Concat along every axis") {
  for (int64_t dim = -3; dim < 3; ++dim) {
    for (const int64_t size : {1, 4, 7}) {
      std::vector<Shape> shapes(3, Shape{2, 4, 8});
      shapes[1].set(static_cast<int>(dim), size);
      shapes[2].set(static_cast<int>(dim), 0);
      check_layer(*make_layer("Concat", {{"dim", dim}}), random_tensors(shapes), {}, "Concat");
    }
  }
  check_layer(*make_layer("Concat"), random_tensors({{0, 2, 5}, {0, 3, 5}}), {}, "Concat of nothing");
  check_layer(*make_layer("Concat"), random_tensors({{3, 2, 5001}, {3, 1, 5001}}), {}, "Concat, long");
}

TEST_CASE("combined shapes") {
  const auto shape_of = [](const char* type, std::initializer_list<TensorType> inputs) {
    return infer_one(*make_layer(type), inputs).shape;
  };
  CHECK(shape_of("Add", {signal({2, 1, 5}), signal({3, 1})}) == Shape{2, 3, 5});
  CHECK(shape_of("Multiply", {signal({1}), signal({2, 3})}) == Shape{2, 3});
  CHECK(shape_of("Concat", {signal({2, 1, 5}), signal({2, 3, 5}), signal({2, 2, 5})}) == Shape{2, 6, 5});
}

TEST_CASE("combined times") {
  const TensorType x = signal({1, 4, 9});
  const TensorType gate{DType::kFloat32, {4, 1}, TensorType::kNoTime};
  const auto add = make_layer("Add");
  CHECK(infer_one(*add, {x, gate}).time_axis == 2);
  CHECK(infer_one(*add, {gate, x}).time_axis == 2);
  CHECK_FALSE(time_map_of(*add, {x, gate}, 0).is_whole());
  CHECK(time_map_of(*add, {x, gate}, 1).is_whole());
  CHECK(time_map_of(*add, {x, signal({1, 4, 1})}, 1).is_whole());
  const TensorType other{DType::kFloat32, {1, 4, 9}, 1};
  CHECK(infer_one(*add, {x, other}).time_axis == TensorType::kNoTime);
  CHECK(time_map_of(*add, {x, other}, 0).is_whole());
  CHECK_FALSE(time_map_of(*make_layer("Concat"), {x, x}).is_whole());
  CHECK(time_map_of(*make_layer("Concat", {{"dim", -1}}), {x, x}).is_whole());
}

TEST_CASE("combining's errors name both inputs") {
  const auto add = make_layer("Add");
  CHECK(refusal(ErrorCategory::kShape, [&] {
          infer_one(*add, {signal({2, 3, 5}), signal({1}), signal({4, 5})});
        }) == "inputs 0 and 2 do not broadcast: [2, 3, 5] and [4, 5]");
  CHECK(refusal(ErrorCategory::kSchema, [&] { infer_one(*add, {signal({2})}); }) == "takes two or more inputs, got 1");
  const auto concat = make_layer("Concat");
  CHECK(refusal(ErrorCategory::kShape, [&] {
          infer_one(*concat, {signal({2, 3, 5}), signal({2, 3, 6})});
        }) == "inputs 0 and 1 differ in more than axis 1: [2, 3, 5] and [2, 3, 6]");
  refusal(ErrorCategory::kShape, [&] { infer_one(*concat, {signal({2, 3, 5}), signal({2, 3})}); });
  refusal(ErrorCategory::kShape, [&] { infer_one(*concat, {signal({5}), signal({3})}); });
  refusal(ErrorCategory::kSchema, [&] { infer_one(*concat, {signal({2, 3})}); });
  CHECK(add->inputs().at(0).variadic);
}

}  // namespace
}  // namespace strand::testing
