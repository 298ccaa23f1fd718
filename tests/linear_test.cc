#include <limits>

#include "tests/make_layer.h"

namespace strand::testing {
namespace {

TEST_CASE("Linear at tile edges, with and without bias") {
  for (const int64_t in : {1, 3, 15, 16, 17, 64}) {
    for (const int64_t out : {1, 5, 16, 17, 33}) {
      for (const int64_t rows : {1, 2, 5, 6, 7, 13}) {
        const auto layer = make_layer("Linear", {{"in_features", in}, {"out_features", out}, {"bias", rows % 2 == 0}});
        check_layer(*layer, Shape{rows, in}, "Linear to " + std::to_string(out));
      }
    }
  }
}

TEST_CASE("Linear takes any rank, empty batches and long sums") {
  for (const Shape& shape : {Shape{7}, Shape{2, 3, 7}, Shape{2, 1, 3, 7}, Shape{0, 7}, Shape{2, 0, 7}}) {
    check_layer(*make_layer("Linear", {{"in_features", 7}, {"out_features", 9}}), shape, "Linear");
  }
  check_layer(*make_layer("Linear", {{"in_features", 5000}, {"out_features", 40}}), Shape{9, 5000}, "Linear");
}

TEST_CASE("Linear passes NaN and Inf to their own rows only") {
  std::vector<float> values(40 * 6, 0.5F);
  values[6 * 3 + 1] = std::numeric_limits<float>::infinity();
  values[6 * 5 + 2] = std::numeric_limits<float>::quiet_NaN();
  std::vector<Tensor> inputs;
  inputs.push_back(tensor_of({40, 6}, values));
  const auto layer = make_layer("Linear", {{"in_features", 6}, {"out_features", 10}});
  check_layer(*layer, inputs, random_parameters(*layer), "Linear with Inf and NaN");
}

TEST_CASE("Linear's rows do not depend on the rows beside them") {
  const auto layer = make_layer("Linear", {{"in_features", 33}, {"out_features", 21}});
  const Parameters parameters = random_parameters(*layer);
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({11, 33}));
  const auto whole = run_implementation(*layer, "cpu.eigen", inputs, parameters, DType::kFloat32, 2);
  for (int64_t row = 0; row < 11; ++row) {
    const auto x = inputs[0].as<const float>().subspan(static_cast<size_t>(row * 33), 33);
    std::vector<Tensor> one;
    one.push_back(tensor_of({1, 33}, {x.begin(), x.end()}));
    const auto y = run_implementation(*layer, "cpu.eigen", one, parameters);
    const auto expected = whole[0].as<const float>().subspan(static_cast<size_t>(row * 21), 21);
    CHECK(std::memcmp(y[0].view().data, expected.data(), expected.size_bytes()) == 0);
  }
}

TEST_CASE("Linear's shapes, times and errors") {
  const auto layer = make_layer("Linear", {{"in_features", 4}, {"out_features", 6}});
  CHECK(output_shape(*layer, {2, 3, 4}) == Shape{2, 3, 6});
  CHECK(layer->parameters()[0].shape == Shape{6, 4});
  CHECK(layer->parameters().size() == 2);
  const TensorType features{DType::kFloat32, {2, 9, 4}, 1};
  CHECK(infer_one(*layer, {features}).time_axis == 1);
  CHECK_FALSE(time_map_of(*layer, {features}).is_whole());
  CHECK(infer_one(*layer, {signal({2, 9, 4})}).time_axis == TensorType::kNoTime);
  CHECK(time_map_of(*layer, {signal({2, 9, 4})}).is_whole());
  CHECK(refusal(ErrorCategory::kShape, [&] {
          output_shape(*layer, {2, 5});
        }) == "input [2, 5] has 5 features in its last axis, in_features is 4");
  refusal(ErrorCategory::kSchema, [] { make_layer("Linear", {{"in_features", 0}, {"out_features", 6}}); });
  refusal(ErrorCategory::kSchema, [] { make_layer("Linear", {{"in_features", 3}}); });
}

}  // namespace
}  // namespace strand::testing
