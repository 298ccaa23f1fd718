#include <cmath>
#include <cstring>
#include <limits>

#include "tests/make_layer.h"
#include "tests/run_pieces.h"

namespace strand::testing {
namespace {

using Sizes = std::vector<int64_t>;

std::vector<Tensor> random_inputs(const Shape& shape, float offset = 0) {
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor(shape));
  for (float& x : inputs[0].as<float>()) x += offset;
  return inputs;
}

TEST_CASE("LayerNorm and RMSNorm over last axes and over channels") {
  for (const int64_t size : {1, 3, 31, 32, 33, 64, 65, 128, 130, 256, 257, 511, 513, 1025}) {
    for (const char* type : {"LayerNorm", "RMSNorm"}) {
      const std::string what = std::string(type) + " of " + std::to_string(size);
      check_layer(*make_layer(type, {{"normalized_shape", size}}), Shape{2, 5, size}, what);
      check_layer(*make_layer(type, {{"normalized_shape", size}}), Shape{size}, what);
      check_layer(*make_layer(type, {{"normalized_shape", size}, {"dim", 1}}), Shape{2, size, 37}, what);
      check_layer(*make_layer(type, {{"normalized_shape", size}, {"dim", 1}, {"elementwise_affine", false}}),
                  Shape{3, size, 1}, what);
    }
  }
  check_layer(*make_layer("LayerNorm", {{"normalized_shape", Sizes{3, 17}}}), Shape{4, 3, 17}, "LayerNorm of two");
  check_layer(*make_layer("LayerNorm", {{"normalized_shape", Sizes{2, 3}}, {"dim", -2}}), Shape{4, 2, 3, 9},
              "LayerNorm");
  check_layer(*make_layer("LayerNorm", {{"normalized_shape", 8}, {"bias", false}}), Shape{4, 8}, "LayerNorm, no bias");
  check_layer(*make_layer("RMSNorm", {{"normalized_shape", 8}, {"eps", 0.3}}), Shape{4, 8}, "RMSNorm");
  for (const Shape& shape : {Shape{0, 8}, Shape{3, 0, 8}}) {
    check_layer(*make_layer("LayerNorm", {{"normalized_shape", 8}}), shape, "LayerNorm of nothing");
  }
  check_layer(*make_layer("LayerNorm", {{"normalized_shape", 8}, {"dim", 1}}), Shape{2, 8, 0}, "LayerNorm of nothing");
}

TEST_CASE("GroupNorm and InstanceNorm1d") {
  for (const int64_t groups : {1, 2, 3, 6}) {
    for (const int64_t length : {1, 7, 64, 1500}) {
      for (const bool affine : {true, false}) {
        const auto layer = make_layer("GroupNorm", {{"num_groups", groups}, {"num_channels", 6}, {"affine", affine}});
        check_layer(*layer, Shape{2, 6, length}, "GroupNorm");
      }
    }
  }
  check_layer(*make_layer("GroupNorm", {{"num_groups", 2}, {"num_channels", 6}}), Shape{4, 6}, "GroupNorm");
  check_layer(*make_layer("GroupNorm", {{"num_groups", 2}, {"num_channels", 4}}), Shape{2, 4, 3, 5}, "GroupNorm");
  check_layer(*make_layer("GroupNorm", {{"num_groups", 2}, {"num_channels", 4}}), Shape{2, 4, 0}, "GroupNorm");
  check_layer(*make_layer("InstanceNorm1d", {{"num_features", 5}}), Shape{2, 5, 99}, "InstanceNorm1d");
  check_layer(*make_layer("InstanceNorm1d", {{"num_features", 5}, {"affine", true}}), Shape{2, 5, 99},
              "InstanceNorm1d");
}

TEST_CASE("norms over rows that are shared by threads and blocks") {
  check_layer(*make_layer("GroupNorm", {{"num_groups", 1}, {"num_channels", 5}}), Shape{2, 5, 20001}, "GroupNorm");
  check_layer(*make_layer("GlobalLayerNorm", {{"channel_size", 3}}), Shape{1, 3, 40000}, "GlobalLayerNorm");
  check_layer(*make_layer("RMSNorm", {{"normalized_shape", 70000}}), Shape{2, 70000}, "RMSNorm");
}

// On CUDA: channels that end inside a tile of 8192 elements and in vectors of 4, and more tiles than the sums may lead
// by.
TEST_CASE("norms over long rows of short channels, and many long rows") {
  const int64_t channels = 66000;
  for (const int64_t length : {1, 2, 3, 5, 100, 4099}) {
    const int64_t count = length < 100 ? channels : 2 * (channels / length + 1);
    check_layer(*make_layer("GroupNorm", {{"num_groups", 2}, {"num_channels", 2 * count}}), Shape{1, 2 * count, length},
                "GroupNorm");
  }
  check_layer(*make_layer("GlobalLayerNorm", {{"channel_size", 9}}), random_inputs({2, 9, 8192}, 1e4F),
              random_parameters(*make_layer("GlobalLayerNorm", {{"channel_size", 9}})), "GlobalLayerNorm, far");
  const int64_t rows = cuda_available() ? 25 : 1;
  for (const int64_t length : {73728, 73729, 100004}) {
    check_layer(*make_layer("InstanceNorm1d", {{"num_features", 2}, {"affine", true}}), Shape{rows, 2, length},
                "InstanceNorm1d");
    check_layer(*make_layer("RMSNorm", {{"normalized_shape", length}}), Shape{rows, length}, "RMSNorm");
  }
}

TEST_CASE("norms over rows at both sides of what is held") {
  for (const int64_t size : {255, 256, 257, 1024, 1025, 8191, 8193, 32767, 32769, 65535, 65536, 65537}) {
    const auto instance = make_layer("InstanceNorm1d", {{"num_features", 3}, {"affine", true}});
    check_layer(*instance, random_inputs({3, 3, size}, 1e4F), random_parameters(*instance), "InstanceNorm1d, far");
    check_layer(*make_layer("LayerNorm", {{"normalized_shape", size}}), Shape{3, size}, "LayerNorm");
    check_layer(*make_layer("RMSNorm", {{"normalized_shape", size}}), Shape{3, size}, "RMSNorm");
  }
  check_layer(*make_layer("GroupNorm", {{"num_groups", 2}, {"num_channels", 6}}), Shape{2, 6, 20001}, "GroupNorm");
}

TEST_CASE("norms far from zero lose nothing") {
  const auto instance = make_layer("InstanceNorm1d", {{"num_features", 3}});
  for (const float offset : {1000.0F, -1e5F}) {
    check_layer(*instance, random_inputs({2, 3, 500}, offset), {}, "InstanceNorm1d with an offset");
    const auto layer = make_layer("LayerNorm", {{"normalized_shape", 40}, {"dim", 1}, {"elementwise_affine", false}});
    check_layer(*layer, random_inputs({2, 40, 33}, offset), {}, "LayerNorm with an offset");
  }
  std::vector<Tensor> constant;
  constant.push_back(tensor_of({1, 3, 500}, std::vector<float>(1500, 1000.1F)));
  for_each_implementation(*instance, constant, {}, [](const std::string&, std::span<const float> y) {
    for (const float value : y) CHECK(value == 0);
  });
}

TEST_CASE("norms take NaN and Inf as float32 does, in their own rows") {
  for (const float value : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<Tensor> inputs = random_inputs({4, 8, 40});
    inputs[0].as<float>()[100] = value;
    for (const char* type : {"LayerNorm", "RMSNorm"}) {
      for (const int64_t dim : {1, 2}) {
        const auto layer = make_layer(type, {{"normalized_shape", dim == 1 ? 8 : 40}, {"dim", dim}});
        check_layer(*layer, inputs, random_parameters(*layer), std::string(type) + " with NaN");
      }
    }
    const auto layer = make_layer("CumulativeLayerNorm", {{"channel_size", 8}});
    check_layer(*layer, inputs, random_parameters(*layer), "CumulativeLayerNorm with NaN");
  }
}

TEST_CASE("CumulativeLayerNorm at odd sizes and far from zero") {
  for (const int64_t channels : {1, 3, 16}) {
    const auto layer = make_layer("CumulativeLayerNorm", {{"channel_size", channels}, {"eps", 1e-3}});
    for (const int64_t length : {1, 31, 32, 33, 700}) {
      check_layer(*layer, Shape{2, channels, length}, "CumulativeLayerNorm");
    }
    check_layer(*layer, Shape{0, channels, 5}, "CumulativeLayerNorm");
    check_layer(*layer, Shape{2, channels, 0}, "CumulativeLayerNorm");
    check_layer(*layer, random_inputs({2, channels, 100}, 1000), random_parameters(*layer), "CumulativeLayerNorm, far");
  }
  for (const int64_t channels : {32, 33, 64, 65, 128, 129, 256, 257, 512, 513}) {
    const auto layer = make_layer("CumulativeLayerNorm", {{"channel_size", channels}});
    for (const int64_t length : {1, 33, 128, 257})
      check_layer(*layer, Shape{3, channels, length}, "CumulativeLayerNorm");
  }
  const auto layer = make_layer("CumulativeLayerNorm", {{"channel_size", 2}});
  check_layer(*layer, random_inputs({1, 2, 256 * 300 + 5}, -1e4F), random_parameters(*layer),
              "CumulativeLayerNorm, long");
  // A value that stands apart first: all others are as far from it.
  std::vector<Tensor> inputs = random_inputs({2, 2, 5000}, 1e5F);
  inputs[0].as<float>()[0] = 0;
  check_layer(*layer, inputs, random_parameters(*layer), "CumulativeLayerNorm from 0");
}

// On CUDA blocks meet in an order that no run repeats.
TEST_CASE("norms whose blocks wait for each other give the same bits each run") {
  if (!cuda_available()) return;
  for (const auto& layer : {make_layer("CumulativeLayerNorm", {{"channel_size", 5}}),
                            make_layer("GlobalLayerNorm", {{"channel_size", 5}})}) {
    const std::vector<Tensor> inputs = random_inputs({3, 5, 70001}, 10);
    const Parameters parameters = random_parameters(*layer);
    const std::vector<Tensor> first = run_implementation(*layer, "cuda.native", inputs, parameters);
    const auto bytes = static_cast<size_t>(first[0].type().bytes());
    for (int run = 0; run < 20; ++run) {
      const std::vector<Tensor> again = run_implementation(*layer, "cuda.native", inputs, parameters);
      CHECK(std::memcmp(first[0].view().data, again[0].view().data, bytes) == 0);
    }
  }
}

TEST_CASE("norms piece by piece") {
  const std::vector<Tensor> inputs = random_inputs({2, 6, 203});
  for (const auto& layer :
       {make_layer("CumulativeLayerNorm", {{"channel_size", 6}}), make_layer("ChannelLayerNorm", {{"channel_size", 6}}),
        make_layer("RMSNorm", {{"normalized_shape", 6}, {"dim", 1}}),
        make_layer("BatchNorm1d", {{"num_features", 6}})}) {
    Parameters parameters = random_parameters(*layer);
    if (parameters.count("running_var") == 1) {
      for (float& variance : parameters.at("running_var").as<float>()) variance = variance * variance + 0.01F;
    }
    check_pieces(*layer, inputs, parameters, "norm");
  }
  // A stretch of one sample looks like rows one after another, whose sums run in another order and want memory.
  for (const int64_t channels : {33, 8200}) {
    const auto layer = make_layer("LayerNorm", {{"normalized_shape", channels}, {"dim", 1}});
    check_pieces(*layer, random_inputs({1, channels, 11}), random_parameters(*layer), "norm of many channels", 2);
  }
}

TEST_CASE("norms' parameters, times and errors") {
  CHECK(make_layer("LayerNorm", {{"normalized_shape", Sizes{3, 5}}})->parameters().at(1).shape == Shape{3, 5});
  CHECK(make_layer("LayerNorm", {{"normalized_shape", 3}, {"bias", false}})->parameters().size() == 1);
  CHECK(make_layer("RMSNorm", {{"normalized_shape", 3}})->parameters().size() == 1);
  CHECK(make_layer("InstanceNorm1d", {{"num_features", 3}})->parameters().empty());
  CHECK(make_layer("GlobalLayerNorm", {{"channel_size", 3}})->parameters().at(0).name == "gamma");
  const TensorType x = signal({2, 6, 9});
  CHECK(time_map_of(*make_layer("LayerNorm", {{"normalized_shape", 9}}), {x}).is_whole());
  CHECK_FALSE(time_map_of(*make_layer("LayerNorm", {{"normalized_shape", 6}, {"dim", 1}}), {x}).is_whole());
  CHECK(time_map_of(*make_layer("GroupNorm", {{"num_groups", 6}, {"num_channels", 6}}), {x}).whole ==
        "GroupNorm's statistics are over all times");
  CHECK(time_map_of(*make_layer("CumulativeLayerNorm", {{"channel_size", 6}}), {x}).stateful);
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*make_layer("LayerNorm", {{"normalized_shape", Sizes{6, 8}}}), {2, 6, 9});
        }) == "input is [2, 6, 9], normalized_shape [6, 8] are not its axes up to 2");
  refusal(ErrorCategory::kShape, [] {
    output_shape(*make_layer("LayerNorm", {{"normalized_shape", Sizes{6, 8}}}), {8});
  });
  refusal(ErrorCategory::kShape, [] {
    output_shape(*make_layer("RMSNorm", {{"normalized_shape", 8}, {"dim", 3}}), {8});
  });
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*make_layer("GroupNorm", {{"num_groups", 1}, {"num_channels", 4}}), {2, 6, 9});
        }) == "input is [2, 6, 9], expected [N, 4, ...]");
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*make_layer("CumulativeLayerNorm", {{"channel_size", 6}}), {2, 6});
        }) == "input is [2, 6], expected [N, 6, L]");
  CHECK(refusal(ErrorCategory::kSchema, [] {
          make_layer("GroupNorm", {{"num_groups", 4}, {"num_channels", 6}});
        }) == "num_groups 4 does not divide num_channels 6");
  CHECK(refusal(ErrorCategory::kSchema, [] {
          make_layer("LayerNorm", {{"normalized_shape", 4}, {"eps", 0}});
        }) == "eps is 0, expected a number above 0");
  CHECK(refusal(ErrorCategory::kSchema, [] {
          make_layer("LayerNorm", {{"normalized_shape", Sizes{}}});
        }).find("expected sizes of at least 1") != std::string::npos);
  refusal(ErrorCategory::kUnsupported, [] {
    make_layer("InstanceNorm1d", {{"num_features", 3}, {"track_running_stats", true}});
  });
}

}  // namespace
}  // namespace strand::testing
