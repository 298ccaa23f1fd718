#include <limits>

#include "tests/make_layer.h"
#include "tests/run_pieces.h"

namespace strand::testing {
namespace {

using layers::AttributeValue;
using layers::Null;

std::unique_ptr<layers::Layer> by(double factor, const std::string& mode) {
  return make_layer("Upsample", {{"scale_factor", factor}, {"mode", mode}});
}
std::unique_ptr<layers::Layer> to(int64_t size, const std::string& mode, const AttributeValue& align = Null{}) {
  return make_layer("Upsample", {{"size", size}, {"mode", mode}, {"align_corners", align}});
}

TEST_CASE("Upsample by factors and to sizes") {
  for (const int64_t length : {1, 2, 7, 300}) {
    for (const char* mode : {"nearest", "linear"}) {
      for (const double factor : {1.0, 2.0, 3.0, 256.0, 1.5, 1.7, 1.0 / 3}) {
        if (factor * static_cast<double>(length) < 1) continue;
        check_layer(*by(factor, mode), Shape{2, 3, length}, "Upsample by " + std::to_string(factor));
      }
      for (const int64_t size : {1, 2, 7, 299, 1000}) {
        check_layer(*to(size, mode), Shape{2, 3, length}, "Upsample to " + std::to_string(size));
      }
    }
    for (const int64_t size : {1, 2, 7, 299, 1000}) {
      check_layer(*to(size, "linear", true), Shape{2, 3, length}, "Upsample aligned to " + std::to_string(size));
    }
  }
  check_layer(*by(2, "linear"), Shape{0, 3, 5}, "Upsample of nothing");
}

// On CUDA: rows on both sides of what a block keeps to, and positions on both sides of what 32 bits hold.
TEST_CASE("Upsample of long rows, and of many positions") {
  for (const char* mode : {"nearest", "linear"}) {
    for (const int64_t size : {511, 512, 513, 2047, 2048, 2049, 5001}) {
      check_layer(*to(size, mode), Shape{2, 3, 1000}, "Upsample to " + std::to_string(size));
      const int64_t rows = cuda_available() ? (1 << 20) / size + 1 : 9;  // a million outputs: another mapping there
      check_layer(*to(size, mode), Shape{1, rows, size / 2 + 1}, "Upsample of many rows to " + std::to_string(size));
    }
    for (const double factor : {2.0, 3.0, 0.5, 1.7}) {
      check_layer(*by(factor, mode), Shape{2, 129, 2501}, "Upsample, long, by " + std::to_string(factor));
    }
    // Whole vectors, of inputs closer and further apart, in short and long rows.
    for (const double factor : {1.0, 1.125, 4.0 / 3, 1.5, 2.0, 2.25, 3.0, 4.0, 5.5, 256.0}) {
      check_layer(*by(factor, mode), Shape{2, 3, 96}, "Upsample in vectors by " + std::to_string(factor));
      const int64_t length = cuda_available() ? 9600 : 480;
      const int64_t rows = cuda_available() && factor < 10 ? 30 : 2;
      check_layer(*by(factor, mode), Shape{2, rows, length}, "Upsample in vectors, long, by " + std::to_string(factor));
    }
    // numerator * out_length: 45000 * 47000 for nearest, of which a linear one has the double.
    check_layer(*to(47000, mode), Shape{1, 2, 45000}, "Upsample, below 2^31");
    check_layer(*to(47001, mode), Shape{1, 2, 46000}, "Upsample, above 2^31");
    check_layer(*to(33001, mode), Shape{1, 2, 32000}, "Upsample, below 2^31 doubled");
    check_layer(*to(32770, mode), Shape{1, 2, 32765}, "Upsample, just below 2^31 doubled");
    check_layer(*to(32771, mode), Shape{1, 2, 32765}, "Upsample, above 2^31 doubled");
  }
  for (const int64_t size : {4, 8, 1000, 1004, 4000}) {
    check_layer(*to(size, "linear"), Shape{2, 3, 1000}, "Upsample in vectors to " + std::to_string(size));
    check_layer(*to(size, "linear", true), Shape{2, 3, size / 2}, "Upsample aligned, in vectors");
    check_layer(*to(size, "linear", true), Shape{2, 3, size - 1}, "Upsample aligned, in vectors");
  }
  check_layer(*to(33001, "linear", true), Shape{1, 2, 60000}, "Upsample aligned, below 2^31");
  check_layer(*to(47001, "linear", true), Shape{1, 2, 46000}, "Upsample aligned, above 2^31");
}

TEST_CASE("Upsample by large factors repeats every sample as often") {
  // PyTorch's float32 arithmetic gives the last repetitions to the sample before for 41 and others.
  for (const int64_t factor : {41, 55, 121}) {
    const std::vector<Tensor> inputs = [] {
      std::vector<Tensor> list;
      list.push_back(random_tensor({1, 1, 12}));
      return list;
    }();
    for_each_implementation(*by(static_cast<double>(factor), "nearest"), inputs, {},
                            [&](const std::string&, std::span<const float> y) {
                              for (size_t t = 0; t < y.size(); ++t) {
                                CHECK(y[t] == inputs[0].as<const float>()[t / static_cast<size_t>(factor)]);
                              }
                            });
  }
}

TEST_CASE("Upsample piece by piece") {
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({2, 3, 77}));
  inputs[0].as<float>()[1] = std::numeric_limits<float>::infinity();
  for (const char* mode : {"nearest", "linear"}) {
    for (const double factor : {1.0, 2.0, 5.0, 1.5, 1.7, 1.0 / 3}) {
      check_pieces(*by(factor, mode), inputs, {}, std::string(mode) + " by " + std::to_string(factor));
    }
  }
}

TEST_CASE("Upsample's lengths and times") {
  CHECK(output_shape(*by(1.7, "nearest"), {2, 3, 10}) == Shape{2, 3, 17});
  CHECK(output_shape(*by(1.7, "nearest"), {10}) == Shape{17});
  CHECK(output_shape(*to(4, "linear"), {2, 3, 10}) == Shape{2, 3, 4});
  const TensorType x = signal({1, 2, 9});
  TimeMap map = time_map_of(*by(4, "nearest"), {x});
  CHECK(map.numerator == 1);
  CHECK(map.denominator == 4);
  CHECK(map.first == 0);
  CHECK(map.last == 0);
  map = time_map_of(*by(2, "linear"), {x});
  CHECK(map.first_needed(2) == 0);  // 0.75 lies between 0 and 1
  CHECK(map.last_needed(2) == 2);
  CHECK(map.ends == Ends::kReplicate);
  CHECK(time_map_of(*to(20, "nearest"), {x}).is_whole());
  CHECK(time_map_of(*make_layer("Upsample", {{"scale_factor", 2.0}, {"mode", "linear"}, {"align_corners", true}}), {x})
            .is_whole());
}

TEST_CASE("Upsample's errors") {
  CHECK(refusal(ErrorCategory::kSchema, [] { by(2, "cubic"); }) == "mode is 'cubic', expected nearest or linear");
  CHECK(refusal(ErrorCategory::kSchema, [] { make_layer("Upsample"); }) == "takes one of size and scale_factor");
  refusal(ErrorCategory::kSchema, [] { make_layer("Upsample", {{"size", 3}, {"scale_factor", 2.0}}); });
  refusal(ErrorCategory::kSchema, [] { to(3, "nearest", false); });
  refusal(ErrorCategory::kSchema, [] { by(0, "nearest"); });
  refusal(ErrorCategory::kSchema, [] { by(-2, "nearest"); });
  refusal(ErrorCategory::kSchema, [] { by(3.14159265358979, "nearest"); });
  refusal(ErrorCategory::kSchema, [] { by(std::numeric_limits<double>::quiet_NaN(), "nearest"); });
  refusal(ErrorCategory::kShape, [] { output_shape(*by(0.25, "nearest"), {1, 1, 3}); });
  refusal(ErrorCategory::kShape, [] { output_shape(*to(3, "linear"), {1, 1, 0}); });
  refusal(ErrorCategory::kLimit, [] { output_shape(*by(1000, "linear"), {1, 1, INT64_MAX / 100}); });
}

}  // namespace
}  // namespace strand::testing
