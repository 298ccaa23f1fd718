#include "engine/session.h"
#include "graphs/network.h"
#include "tests/make_layer.h"

namespace strand::testing {
namespace {

constexpr const char* kTypes[] = {"Identity",  "Dropout",      "Dropout1d",
                                  "Dropout2d", "AlphaDropout", "FeatureAlphaDropout"};

TEST_CASE("Identity and dropout are views of any shape") {
  for (const char* type : kTypes) {
    const auto layer = make_layer(type);
    CHECK(layer->is_view());
    for (const Shape& shape : {Shape{1}, Shape{2, 3}, Shape{2, 3, 5}, Shape{0, 3, 5}, Shape{2, 3, 4, 5}}) {
      CHECK(infer_one(*layer, {signal(shape)}) == signal(shape));
    }
    CHECK(time_map_of(*layer, {signal({2, 3, 5})}) == TimeMap::pointwise());
  }
  make_layer("Dropout", {{"p", 0}, {"inplace", true}});
  CHECK(refusal(ErrorCategory::kSchema, [] {
          make_layer("AlphaDropout", {{"p", 1.5}});
        }) == "p is 1.5, expected 0 to 1");
}

TEST_CASE("in a network they take no kernel and no copy") {
  const graphs::Network network = graphs::Network::from_memory(R"(strand: 1
name: quiet
inputs:
  x: {shape: [2, 3, 4]}
layers:
  - {name: identity, type: Identity}
  - {name: relu, type: ReLU}
  - {name: dropout, type: Dropout, p: 0.1}
)",
                                                               {});
  Session session(network.compile());
  CHECK(session.plan().steps.size() == 1);
  std::vector<float> values(24, 1.5F);
  values[7] = -1;
  const Tensor input = tensor_of({2, 3, 4}, values);
  const std::vector<TensorView> inputs = {input.view()};
  const auto y = session.run(inputs)[0].as<const float>();
  values[7] = 0;
  CHECK(std::vector<float>(y.begin(), y.end()) == values);
}

}  // namespace
}  // namespace strand::testing
