#include <cmath>

#include "tests/make_layer.h"

namespace strand::testing {
namespace {

TEST_CASE("Scale: a factor and an offset, of any shape") {
  for (const Shape& shape :
       {Shape{1}, Shape{3}, Shape{4}, Shape{2, 3}, Shape{2, 3, 1001}, Shape{0, 3, 5}, Shape{2, 3, 4, 5}}) {
    check_layer(*make_layer("Scale", {{"factor", 0.3}, {"offset", -1.7}}), shape, "Scale");
    check_layer(*make_layer("Scale", {{"factor", 1.0 / 3}}), shape, "Scale");
    check_layer(*make_layer("Scale", {{"offset", int64_t{2}}}), shape, "Scale");
  }
  const auto layer = make_layer("Scale");
  CHECK(infer_one(*layer, {signal({2, 3, 5})}) == signal({2, 3, 5}));
  CHECK(time_map_of(*layer, {signal({2, 3, 5})}) == TimeMap::pointwise());
}

TEST_CASE("Scale: Inf and NaN as in float32") {
  std::vector<Tensor> inputs;
  inputs.push_back(tensor_of({5}, {INFINITY, -INFINITY, NAN, 3e38F, 0}));
  for_each_implementation(*make_layer("Scale", {{"factor", -2.0}, {"offset", 1.0}}), inputs, {},
                          [](const std::string&, std::span<const float> y) {
                            CHECK(y[0] == -INFINITY);
                            CHECK(y[1] == INFINITY);
                            CHECK(std::isnan(y[2]));
                            CHECK(y[3] == -INFINITY);
                            CHECK(y[4] == 1);
                          });
}

}  // namespace
}  // namespace strand::testing
