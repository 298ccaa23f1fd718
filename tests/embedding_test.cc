#include <cmath>
#include <limits>

#include "tests/make_layer.h"
#include "tests/run_pieces.h"

namespace strand::testing {
namespace {

Tensor indices(const Shape& shape, int64_t count) {
  static std::mt19937 random(test_seed());
  Tensor tensor = random_tensor(shape);
  for (float& value : tensor.as<float>()) {
    value = static_cast<float>(std::uniform_int_distribution<int64_t>(0, count - 1)(random));
  }
  return tensor;
}

TEST_CASE("Embedding looks rows up") {
  for (const int64_t count : {1, 2, 300}) {
    for (const int64_t features : {1, 3, 64}) {
      const auto layer = make_layer("Embedding", {{"num_embeddings", count}, {"embedding_dim", features}});
      for (const Shape& shape : {Shape{1}, Shape{2, 33}, Shape{2, 3, 5}, Shape{0, 4}}) {
        std::vector<Tensor> inputs;
        inputs.push_back(indices(shape, count));
        check_layer(*layer, inputs, random_parameters(*layer), "Embedding");
      }
    }
  }
}

TEST_CASE("what is no row's number gives NaN, and reads nothing outside") {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> hostile = {
      -1,   0.5F,         4, 3e9F, -3e9F, 1e30F, -1e30F, inf, -inf, std::numeric_limits<float>::quiet_NaN(), -0.25F,
      3.5F, 2147483648.0F};
  const auto layer = make_layer("Embedding", {{"num_embeddings", 4}, {"embedding_dim", 3}});
  std::vector<Tensor> inputs;
  std::vector<float> values = hostile;
  for (const float good : {0.0F, -0.0F, 3.0F}) values.push_back(good);
  inputs.push_back(tensor_of({static_cast<int64_t>(values.size())}, values));
  check_layer(*layer, inputs, random_parameters(*layer), "Embedding of hostile numbers");
  for_each_implementation(*layer, inputs, random_parameters(*layer), [&](const std::string&, std::span<const float> y) {
    for (size_t i = 0; i < y.size(); ++i) CHECK(std::isnan(y[i]) == (i / 3 < hostile.size()));
  });
}

TEST_CASE("PositionalEmbedding and LayerScale on either axis") {
  for (const bool sinusoidal : {false, true}) {
    for (const int64_t features : {1, 2, 7, 64}) {
      for (const int64_t times : {1, 3, 50}) {
        const auto rows = make_layer("PositionalEmbedding",
                                     {{"num_embeddings", 50}, {"embedding_dim", features}, {"sinusoidal", sinusoidal}});
        check_layer(*rows, Shape{2, times, features}, "PositionalEmbedding");
        check_layer(*rows, Shape{times, features}, "PositionalEmbedding");
        const auto columns =
            make_layer("PositionalEmbedding",
                       {{"num_embeddings", 51}, {"embedding_dim", features}, {"dim", -2}, {"sinusoidal", sinusoidal}});
        check_layer(*columns, Shape{2, features, times}, "PositionalEmbedding");
      }
    }
  }
  for (const int64_t dim : {0, 1, 2, -1}) {
    const auto layer = make_layer("LayerScale", {{"channels", 5}, {"dim", dim}});
    check_layer(*layer, Shape{5, 5, 5}, "LayerScale");
  }
  check_layer(*make_layer("LayerScale", {{"channels", 40}, {"dim", -1}}), Shape{3, 400, 40}, "LayerScale");
  check_layer(*make_layer("LayerScale", {{"channels", 3}}), Shape{0, 3, 9}, "LayerScale");
}

TEST_CASE("the sinusoidal table begins with sin 0 and cos 0") {
  const auto layer =
      make_layer("PositionalEmbedding", {{"num_embeddings", 9}, {"embedding_dim", 4}, {"sinusoidal", true}});
  std::vector<Tensor> inputs;
  inputs.push_back(tensor_of({2, 4}, std::vector<float>(8, 0.0F)));
  for_each_implementation(*layer, inputs, {}, [](const std::string&, std::span<const float> y) {
    const std::vector<double> expected = {0, 1, 0, 1, std::sin(1.0), std::cos(1.0), std::sin(0.01), std::cos(0.01)};
    for (size_t i = 0; i < 8; ++i) CHECK(static_cast<double>(y[i]) == doctest::Approx(expected[i]).epsilon(1e-6));
  });
}

TEST_CASE("times of embeddings, piece by piece") {
  const auto position = make_layer("PositionalEmbedding", {{"num_embeddings", 90}, {"embedding_dim", 6}, {"dim", 1}});
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({2, 6, 90}));
  CHECK(time_map_of(*position, {signal({2, 6, 90})}).stateful);
  check_pieces(*position, inputs, random_parameters(*position), "PositionalEmbedding");
  const auto scale = make_layer("LayerScale", {{"channels", 6}});
  check_pieces(*scale, inputs, random_parameters(*scale), "LayerScale");

  const TensorType rows{DType::kFloat32, {2, 90, 6}, 1};
  const auto last = make_layer("PositionalEmbedding", {{"num_embeddings", 90}, {"embedding_dim", 6}});
  inputs.clear();
  inputs.emplace_back(rows);
  std::ranges::copy(random_tensor(rows.shape).as<const float>(), inputs.back().as<float>().begin());
  check_pieces(*last, inputs, random_parameters(*last), "PositionalEmbedding of rows");
  CHECK(time_map_of(*last, {signal({2, 90, 6})}).whole == "time is the axis of PositionalEmbedding's features");
  CHECK(time_map_of(*scale, {{DType::kFloat32, {2, 6, 9}, 1}}).whole == "LayerScale has a factor for each time");
  const auto embedding = make_layer("Embedding", {{"num_embeddings", 4}, {"embedding_dim", 3}});
  CHECK(infer_one(*embedding, {signal({2, 9})}) == TensorType{DType::kFloat32, {2, 9, 3}, 1});
}

TEST_CASE("a stream past the table's end gets NaN") {
  const auto layer = make_layer("PositionalEmbedding", {{"num_embeddings", 4}, {"embedding_dim", 2}, {"dim", 1}});
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({1, 2, 4}));
  const Parameters parameters = random_parameters(*layer);
  const PreparedLayer prepared(*layer, inputs, parameters, DType::kFloat32, {});
  for (const layers::Implementation& implementation : prepared.implementations()) {
    if (implementation.device != DeviceType::kCpu) continue;
    const auto y = run_kernel(*implementation.prepare(), inputs, prepared.output_types(), {}, 1, {2, 2});
    for (size_t i = 0; i < 8; ++i) CHECK(std::isnan(y[0].as<const float>()[i]) == (i % 4 >= 2));
  }
}

TEST_CASE("errors of embeddings") {
  const auto position = make_layer("PositionalEmbedding", {{"num_embeddings", 4}, {"embedding_dim", 2}});
  CHECK(refusal(ErrorCategory::kShape, [&] {
          output_shape(*position, {1, 5, 2});
        }) == "input [1, 5, 2] has 5 times, num_embeddings is 4");
  refusal(ErrorCategory::kShape, [&] { output_shape(*position, {1, 4, 3}); });
  refusal(ErrorCategory::kShape, [&] { output_shape(*position, {2}); });
  const auto first = make_layer("PositionalEmbedding", {{"num_embeddings", 4}, {"embedding_dim", 2}, {"dim", 0}});
  refusal(ErrorCategory::kShape, [&] { output_shape(*first, {2, 3, 4}); });
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*make_layer("LayerScale", {{"channels", 3}}), {1, 4, 3});
        }) == "input [1, 4, 3] has 4 channels in axis dim, channels is 3");
  refusal(ErrorCategory::kLimit, [] {
    make_layer("Embedding", {{"num_embeddings", int64_t{1} << 25}, {"embedding_dim", 1}});
  });
  refusal(ErrorCategory::kSchema, [] {
    make_layer("Embedding", {{"num_embeddings", 4}, {"embedding_dim", 1}, {"padding_idx", 5}});
  });
  refusal(ErrorCategory::kSchema, [] { make_layer("LayerScale", {{"channels", 4}, {"parameter", std::string()}}); });
}

}  // namespace
}  // namespace strand::testing
