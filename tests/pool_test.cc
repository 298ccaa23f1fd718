#include <cmath>
#include <limits>

#include "tests/make_layer.h"
#include "tests/run_pieces.h"

namespace strand::testing {
namespace {

using layers::AttributeValue;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

struct Row {
  int64_t kernel_size, stride, padding, dilation;
  bool ceil_mode;
};
const std::vector<Row> kRows = {{1, 1, 0, 1, false}, {2, 2, 0, 1, false},    {3, 1, 1, 1, false},
                                {3, 2, 1, 1, true},  {8, 1, 4, 3, false},    {5, 7, 2, 1, true},
                                {9, 3, 4, 2, true},  {2, 5, 1, 1, true},     {17, 1, 8, 1, false},
                                {4, 4, 2, 1, true},  {100, 1, 50, 1, false}, {70, 64, 0, 1, true}};

std::unique_ptr<layers::Layer> make(const std::string& type, const Row& row, bool count_include_pad = true) {
  if (type == "MaxPool1d") {
    return make_layer(type, {{"kernel_size", row.kernel_size},
                             {"stride", row.stride},
                             {"padding", row.padding},
                             {"dilation", row.dilation},
                             {"ceil_mode", row.ceil_mode}});
  }
  return make_layer(type, {{"kernel_size", row.kernel_size},
                           {"stride", row.stride},
                           {"padding", row.padding},
                           {"ceil_mode", row.ceil_mode},
                           {"count_include_pad", count_include_pad}});
}

TEST_CASE("pooling at odd sizes") {
  for (const Row& row : kRows) {
    for (const int64_t length : {1, 2, 7, 31, 130, 1025, 4099}) {
      for (const char* type : {"MaxPool1d", "AvgPool1d"}) {
        const auto layer = make(type, row, length % 2 == 0);
        const std::string what = std::string(type) + " " + std::to_string(row.kernel_size);
        try {
          output_shape(*layer, {1, 1, length});
        } catch (const Error& error) {
          CHECK(error.category() == ErrorCategory::kShape);
          continue;
        }
        check_layer(*layer, Shape{2, 3, length}, what);
        check_layer(*layer, Shape{0, 3, length}, what);
      }
    }
  }
}

TEST_CASE("pooling with windows as long as the input, and huge strides") {
  check_layer(*make("MaxPool1d", {5000, 1, 0, 1, false}), Shape{1, 2, 5300}, "MaxPool1d, long");
  check_layer(*make("AvgPool1d", {9000, 9000, 0, 1, true}), Shape{1, 2, 20000}, "AvgPool1d, long");
  check_layer(*make("AvgPool1d", {33, 1000, 16, 1, true}), Shape{1, 2, 200000}, "AvgPool1d, far apart");
  check_layer(*make("MaxPool1d", {3, 1, 0, 4000, false}), Shape{1, 1, 9001}, "MaxPool1d, dilated");
}

TEST_CASE("pooling with stride 1 on both sides of a tile's limits") {
  // Outputs 512 and 513 (a thread takes several), and a tile's or two more or less; rows begin at every alignment.
  for (const int64_t outputs : {511, 512, 513, 951, 953, 1007, 1008, 1009, 1016, 1025, 2017}) {
    for (const int64_t kernel_size : {1, 7, 8, 9, 16, 64, 65, 136}) {
      const Shape shape{1, 5, outputs + kernel_size - 1};
      check_layer(*make("MaxPool1d", {kernel_size, 1, 0, 1, false}), shape, "MaxPool1d, tiles");
      check_layer(*make("AvgPool1d", {kernel_size, 1, 0, 1, false}), shape, "AvgPool1d, tiles");
      check_layer(*make("AvgPool1d", {kernel_size, 1, kernel_size / 2, 1, false}, false), shape, "AvgPool1d, padded");
    }
    check_layer(*make("MaxPool1d", {8, 1, 4, 3, false}), Shape{1, 5, outputs + 13}, "MaxPool1d, dilated tiles");
  }
  check_layer(*make("MaxPool1d", {3, 1, 1, 3500, false}), Shape{1, 3, 8100}, "MaxPool1d, far taps");
}

TEST_CASE("averages of many taps take Inf as those of few") {
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({1, 2, 3001}));
  inputs[0].as<float>()[700] = kInf;
  inputs[0].as<float>()[2900] = -kInf;
  inputs[0].as<float>()[4000] = kNan;
  for (const int64_t kernel_size : {8, 13, 150, 700}) {
    for (const int64_t stride : {int64_t{1}, int64_t{3}, kernel_size}) {
      check_layer(*make("AvgPool1d", {kernel_size, stride, 0, 1, false}), inputs, {}, "AvgPool1d with Inf");
    }
  }
}

TEST_CASE("AdaptiveAvgPool1d, narrower and wider than its input") {
  for (const int64_t size : {1, 2, 5, 64, 100}) {
    for (const int64_t length : {1, 3, 64, 65, 5000, 70001}) {
      check_layer(*make_layer("AdaptiveAvgPool1d", {{"output_size", size}}), Shape{2, 3, length}, "adaptive");
    }
  }
}

TEST_CASE("averages of positive values stay in the bound of a short sum") {
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({1, 1, 60000}));
  for (float& x : inputs[0].as<float>()) x = 1 + std::fabs(x);
  check_layer(*make_layer("AdaptiveAvgPool1d", {{"output_size", 1}}), inputs, {}, "adaptive, positive");
  check_layer(*make("AvgPool1d", {1500, 1, 0, 1, false}), inputs, {}, "AvgPool1d, positive");
}

TEST_CASE("pooling takes NaN and Inf as PyTorch does") {
  std::vector<Tensor> inputs;
  inputs.push_back(tensor_of({1, 1, 8}, {1, kNan, 0, 5, -kInf, -kInf, kInf, 2}));
  for_each_implementation(*make("MaxPool1d", {2, 2, 0, 1, false}), inputs, {},
                          [](const std::string&, std::span<const float> y) {
                            CHECK(std::isnan(y[0]));
                            CHECK(y[1] == 5);
                            CHECK(y[2] == -kInf);
                            CHECK(y[3] == kInf);
                          });
  check_layer(*make("MaxPool1d", {3, 1, 1, 1, false}), inputs, {}, "MaxPool1d with NaN");
  check_layer(*make("AvgPool1d", {3, 1, 1, 1, false}), inputs, {}, "AvgPool1d with NaN");
  std::vector<Tensor> long_inputs;
  long_inputs.push_back(random_tensor({1, 2, 3001}));
  for (size_t i = 0; i < 6002; i += 501) long_inputs[0].as<float>()[i] = i % 2 == 0 ? kNan : -kInf;
  check_layer(*make("MaxPool1d", {7, 1, 3, 2, false}), long_inputs, {}, "MaxPool1d with NaN, tiled");
  check_layer(*make("AvgPool1d", {7, 1, 3, 1, false}), long_inputs, {}, "AvgPool1d with NaN, tiled");
}

TEST_CASE("pooled shapes follow PyTorch's rules") {
  CHECK(output_shape(*make_layer("MaxPool1d", {{"kernel_size", 3}}), {2, 4, 10}) == Shape{2, 4, 3});
  CHECK(output_shape(*make("MaxPool1d", {3, 2, 1, 1, false}), {4, 10}) == Shape{4, 5});
  CHECK(output_shape(*make("MaxPool1d", {3, 2, 1, 1, true}), {4, 10}) == Shape{4, 6});
  // The last window of the ceil mode would begin in the right padding.
  CHECK(output_shape(*make("AvgPool1d", {2, 3, 1, 1, true}), {1, 1, 5}) == Shape{1, 1, 2});
  CHECK(output_shape(*make("MaxPool1d", {3, 2, 0, 1, true}), {1, 1, 2}) == Shape{1, 1, 1});
  CHECK(output_shape(*make_layer("AdaptiveAvgPool1d", {{"output_size", 7}}), {2, 4, 3}) == Shape{2, 4, 7});
}

TEST_CASE("pooling piece by piece") {
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({2, 3, 331}));
  for (const Row& row : kRows) {
    for (const char* type : {"MaxPool1d", "AvgPool1d"}) {
      const std::string what = std::string(type) + " " + std::to_string(row.kernel_size);
      check_pieces(*make(type, row), inputs, {}, what);
      check_pieces(*make(type, row, false), inputs, {}, what);
    }
  }
}

TEST_CASE("pooling's times") {
  const TimeMap max = time_map_of(*make("MaxPool1d", {3, 2, 1, 4, false}), {signal({1, 2, 50})});
  CHECK(max.numerator == 2);
  CHECK(max.denominator == 1);
  CHECK(max.first == -1);
  CHECK(max.last == 7);
  CHECK(max.ends == Ends::kNone);
  CHECK(time_map_of(*make("AvgPool1d", {3, 2, 1, 1, false}), {signal({1, 2, 50})}).ends == Ends::kZeros);
  CHECK(time_map_of(*make("AvgPool1d", {3, 2, 1, 1, false}, false), {signal({1, 2, 50})}).ends == Ends::kNone);
  CHECK(time_map_of(*make_layer("AdaptiveAvgPool1d", {{"output_size", 7}}), {signal({1, 2, 50})}).is_whole());
  // Over channels, with time before them.
  CHECK(time_map_of(*make("MaxPool1d", {3, 2, 1, 1, false}), {{DType::kFloat32, {1, 50, 8}, 1}}).last == 0);
}

TEST_CASE("pooling's errors") {
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*make("MaxPool1d", {5, 1, 1, 2, false}), {1, 1, 6});
        }) == "no window fits: length 6, kernel_size 5, stride 1, padding 1, dilation 2");
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*make_layer("AdaptiveAvgPool1d", {{"output_size", 2}}), {1, 1, 0});
        }) == "length 0 has nothing to average");
  CHECK(refusal(ErrorCategory::kSchema, [] {
          make("AvgPool1d", {3, 1, 2, 1, false});
        }) == "padding 2 is more than half of kernel_size 3");
  refusal(ErrorCategory::kSchema, [] { make_layer("MaxPool1d", {{"kernel_size", 0}}); });
  refusal(ErrorCategory::kSchema, [] { make_layer("AvgPool1d", {{"kernel_size", 2}, {"dilation", 2}}); });
  refusal(ErrorCategory::kSchema, [] { make_layer("AdaptiveAvgPool1d", {{"output_size", 0}}); });
  refusal(ErrorCategory::kShape, [] { output_shape(*make_layer("MaxPool1d", {{"kernel_size", 1}}), {5}); });
  refusal(ErrorCategory::kShape, [] { output_shape(*make_layer("AdaptiveAvgPool1d", {{"output_size", 2}}), {1, 0}); });
  refusal(ErrorCategory::kLimit, [] {
    make_layer("MaxPool1d", {{"kernel_size", int64_t{1} << 40}, {"dilation", int64_t{1} << 40}});
  });
}

}  // namespace
}  // namespace strand::testing
