// Split, Chunk, Crop, Permute, PixelShuffle1d, Squeeze and Unsqueeze.

#include "tests/make_layer.h"
#include "tests/run_pieces.h"

namespace strand::testing {
namespace {

std::unique_ptr<layers::Layer> split(std::vector<int64_t> sizes, int64_t dim = 1) {
  return make_layer("Split", {{"sizes", std::move(sizes)}, {"dim", dim}});
}
std::unique_ptr<layers::Layer> chunk(int64_t chunks, int64_t dim = 1) {
  return make_layer("Chunk", {{"chunks", chunks}, {"dim", dim}});
}
std::unique_ptr<layers::Layer> permute(std::vector<int64_t> dims) {
  return make_layer("Permute", {{"dims", std::move(dims)}});
}
std::unique_ptr<layers::Layer> crop(int64_t left, int64_t right) {
  return make_layer("Crop", {{"left", left}, {"right", right}});
}
std::unique_ptr<layers::Layer> shuffle(int64_t factor) {
  return make_layer("PixelShuffle1d", {{"upscale_factor", factor}});
}
std::unique_ptr<layers::Layer> unshuffle(int64_t factor) {
  return make_layer("PixelUnshuffle1d", {{"downscale_factor", factor}});
}

TEST_CASE("Split and Chunk") {
  check_layer(*split({3, 1, 4}), Shape{2, 8, 5}, "Split");
  check_layer(*split({8}), Shape{2, 8, 5}, "Split in one");
  check_layer(*split({100, 200}, -1), Shape{2, 3, 300}, "Split of the last axis");
  check_layer(*split({1, 1}, 0), Shape{2, 3, 4, 64}, "Split of the batch");
  check_layer(*chunk(3), Shape{2, 8, 5}, "Chunk");
  check_layer(*chunk(2, 2), Shape{2, 8, 64}, "Chunk of the last axis");
  check_layer(*chunk(2), Shape{0, 8, 5}, "Chunk of nothing");
  CHECK(chunk(3)->outputs() == std::vector<std::string>{"0", "1", "2"});
  const std::vector types{signal({2, 8, 5})};
  const std::vector<TensorType> chunks = chunk(3)->infer(types);
  CHECK(chunks[0].shape == Shape{2, 3, 5});
  CHECK(chunks[2] == signal({2, 2, 5}));
  CHECK(time_map_of(*split({2, 3}, 2), {signal({2, 8, 5})}).is_whole());
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({2, 8, 120}));
  check_pieces(*split({3, 1, 4}), inputs, {}, "Split");
  CHECK(refusal(ErrorCategory::kShape, [&] {
          split({3, 4})->infer(types);
        }) == "sizes that sum to 7 do not make up axis 1 of [2, 8, 5]");
  CHECK(refusal(ErrorCategory::kShape, [&] { chunk(5)->infer(types); }) ==
        "5 chunks do not make up axis 1 of [2, 8, 5]");
  refusal(ErrorCategory::kSchema, [] { split({}); });
  refusal(ErrorCategory::kSchema, [] { split({3, -1}); });
  refusal(ErrorCategory::kSchema, [] { chunk(0); });
  refusal(ErrorCategory::kLimit, [] { chunk(1 << 30); });
  refusal(ErrorCategory::kLimit, [&] { split({INT64_MAX, INT64_MAX})->infer(types); });
}

TEST_CASE("Crop") {
  check_layer(*crop(3, 4), Shape{2, 3, 30}, "Crop");
  check_layer(*crop(0, 0), Shape{2, 3, 30}, "Crop of nothing");
  CHECK(output_shape(*crop(3, 4), {2, 30}) == Shape{2, 23});
  CHECK(time_map_of(*crop(3, 4), {signal({2, 3, 30})}).first == 3);
  CHECK(time_map_of(*crop(3, 4), {signal({2, 3, 30})}).output_length(100) == 93);
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({2, 3, 99}));
  check_pieces(*crop(3, 4), inputs, {}, "Crop");
  refusal(ErrorCategory::kShape, [] { output_shape(*crop(3, 4), {2, 7}); });
  refusal(ErrorCategory::kSchema, [] { crop(-1, 0); });
}

TEST_CASE("Permute in every order") {
  std::vector<int64_t> dims{0, 1, 2, 3};
  do {
    check_layer(*permute(dims), Shape{3, 5, 33, 2}, "Permute");
    check_layer(*permute(dims), Shape{1, 70, 1, 40}, "Permute");
    check_layer(*permute(dims), Shape{2, 0, 3, 4}, "Permute of nothing");
  } while (std::ranges::next_permutation(dims).found);
  check_layer(*permute({4, 2, 0, 3, 1}), Shape{2, 3, 4, 5, 6}, "Permute of five");
  check_layer(*permute({5, 0, 4, 1, 3, 2}), Shape{2, 3, 4, 5, 2, 3}, "Permute of six");
  CHECK(infer_one(*permute({2, 0, -2}), {signal({2, 3, 5})}) == TensorType{DType::kFloat32, {5, 2, 3}, 0});
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({2, 3, 99}));
  check_pieces(*permute({2, 0, 1}), inputs, {}, "Permute");
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*permute({0, 2, 2}), {2, 3, 5});
        }) == "dims [0, 2, 2] are not every axis of [2, 3, 5] once");
  refusal(ErrorCategory::kShape, [] { output_shape(*permute({0, 1}), {2, 3, 5}); });
  refusal(ErrorCategory::kShape, [] { output_shape(*permute({0, 1, 3}), {2, 3, 5}); });
}

TEST_CASE("PixelShuffle1d and its way back") {
  for (const int64_t factor : {1, 2, 5, 40}) {
    check_layer(*shuffle(factor), Shape{2, 3 * factor, 37}, "PixelShuffle1d");
    check_layer(*unshuffle(factor), Shape{2, 3, 37 * factor}, "PixelUnshuffle1d");
    check_layer(*shuffle(factor), Shape{0, factor, 37}, "PixelShuffle1d of nothing");
    std::vector<Tensor> inputs;
    inputs.push_back(random_tensor({2, 2 * factor, 37}));
    check_pieces(*shuffle(factor), inputs, {}, "PixelShuffle1d");
    inputs[0] = random_tensor({2, 2, 37 * factor});
    check_pieces(*unshuffle(factor), inputs, {}, "PixelUnshuffle1d");
  }
  CHECK(output_shape(*shuffle(3), {2, 12, 7}) == Shape{2, 4, 21});
  CHECK(output_shape(*unshuffle(3), {2, 4, 21}) == Shape{2, 12, 7});
  CHECK(time_map_of(*shuffle(3), {signal({2, 12, 7})}).denominator == 3);
  CHECK(time_map_of(*unshuffle(3), {signal({2, 4, 21})}).last == 2);
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*shuffle(3), {2, 4, 7});
        }) == "factor 3 does not divide the channels of [2, 4, 7]");
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*unshuffle(3), {2, 4, 7});
        }) == "factor 3 does not divide the length of [2, 4, 7]");
  refusal(ErrorCategory::kShape, [] { output_shape(*shuffle(3), {6, 7}); });
  refusal(ErrorCategory::kSchema, [] { shuffle(0); });
}

TEST_CASE("Squeeze and Unsqueeze are views") {
  const auto squeeze = [](int64_t dim) { return make_layer("Squeeze", {{"dim", dim}}); };
  const auto unsqueeze = [](int64_t dim) { return make_layer("Unsqueeze", {{"dim", dim}}); };
  CHECK(squeeze(1)->is_view());
  CHECK(infer_one(*squeeze(1), {signal({2, 1, 5})}) == TensorType{DType::kFloat32, {2, 5}, 1});
  CHECK(infer_one(*squeeze(1), {signal({2, 3, 5})}) == signal({2, 3, 5}));
  CHECK(output_shape(*squeeze(-1), {2, 3, 1}) == Shape{2, 3});
  CHECK(output_shape(*squeeze(0), {1}) == Shape{1});
  CHECK(infer_one(*unsqueeze(1), {signal({2, 5, 5})}) == TensorType{DType::kFloat32, {2, 1, 5, 5}, 3});
  CHECK(output_shape(*unsqueeze(-1), {2, 5}) == Shape{2, 5, 1});
  CHECK(output_shape(*unsqueeze(0), {2, 5}) == Shape{1, 2, 5});
  CHECK(refusal(ErrorCategory::kShape, [&] {
          output_shape(*unsqueeze(3), {2, 5});
        }) == "dim is 3, expected -3 to 2 for [2, 5]");
  refusal(ErrorCategory::kShape, [&] { output_shape(*squeeze(3), {2, 5}); });
}

}  // namespace
}  // namespace strand::testing
