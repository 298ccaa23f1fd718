#include <limits>

#include "tests/make_layer.h"
#include "tests/run_pieces.h"

namespace strand::testing {
namespace {

std::unique_ptr<layers::Layer> make(const char* type, int64_t ratio, int64_t kernel_size) {
  return make_layer(type, {{"ratio", ratio}, {"kernel_size", kernel_size}});
}

TEST_CASE("low-pass resampling") {
  for (const char* type : {"LowPassUpsample", "LowPassDownsample"}) {
    for (const int64_t ratio : {1, 2, 3, 5}) {
      for (const int64_t kernel_size : {2 * ratio, 12L, 13L}) {
        const auto layer = make(type, ratio, kernel_size);
        for (const int64_t length : {1, 2, 13, 700}) check_layer(*layer, Shape{2, 3, length}, type);
        std::vector<Tensor> inputs;
        inputs.push_back(random_tensor({2, 2, 90}));
        check_pieces(*layer, inputs, random_parameters(*layer), type);
        inputs[0].as<float>()[20] = std::numeric_limits<float>::infinity();
        check_layer(*layer, inputs, random_parameters(*layer), type);
      }
    }
    check_layer(*make(type, 2, 12), Shape{0, 3, 5}, "resampling of nothing");
  }
}

TEST_CASE("low-pass resampling with a sinc, and with zeros at the ends") {
  for (const char* type : {"LowPassUpsample", "LowPassDownsample"}) {
    for (const char* filter : {"weight", "sinc"}) {
      for (const int64_t ratio : {2, 3}) {
        const auto layer =
            make_layer(type, {{"ratio", ratio}, {"kernel_size", 24}, {"filter", filter}, {"padding_mode", "zeros"}});
        CHECK(layer->parameters().empty() == (filter == std::string("sinc")));
        CHECK(time_map_of(*layer, {signal({2, 3, 90})}).ends == Ends::kZeros);
        for (const int64_t length : {1, 2, 13, 700}) check_layer(*layer, Shape{2, 3, length}, type);
        std::vector<Tensor> inputs;
        inputs.push_back(random_tensor({2, 2, 90}));
        check_pieces(*layer, inputs, random_parameters(*layer), type);
      }
    }
  }
}

TEST_CASE("low-pass resampling's shapes, parameters and errors") {
  const auto up = make_layer("LowPassUpsample");
  const auto down = make_layer("LowPassDownsample");
  CHECK(output_shape(*up, {2, 3, 7}) == Shape{2, 3, 14});
  CHECK(output_shape(*down, {2, 3, 7}) == Shape{2, 3, 4});
  CHECK(up->parameters()[0].name == "filter");
  CHECK(up->parameters()[0].shape == Shape{1, 1, 12});
  const TimeMap map = time_map_of(*down, {signal({2, 3, 70})});
  CHECK(map.numerator == 2);
  CHECK(map.first == -5);
  CHECK(map.last == 6);
  CHECK(map.ends == Ends::kReplicate);
  CHECK(refusal(ErrorCategory::kSchema, [] { make("LowPassUpsample", 7, 12); }) ==
        "kernel_size 12 is less than twice the ratio 7");
  CHECK(refusal(ErrorCategory::kSchema, [] {
          make_layer("LowPassUpsample", {{"filter", "hann"}});
        }) == "filter is 'hann', expected weight or sinc");
  CHECK(refusal(ErrorCategory::kSchema, [] {
          make_layer("LowPassDownsample", {{"padding_mode", "reflect"}});
        }) == "padding_mode is 'reflect', expected replicate or zeros");
  refusal(ErrorCategory::kShape, [&] { output_shape(*up, {2, 3, 0}); });
}

}  // namespace
}  // namespace strand::testing
