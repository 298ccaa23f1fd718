// What a convolution does besides its sums, within its bound: every epilogue, and another convolution mixed in.

#include "layers/epilogue.h"

#include <doctest/doctest.h>

#include "tests/cuda_required.h"
#include "tests/make_layer.h"

namespace strand::testing {

using layers::Epilogue;

namespace {

std::unique_ptr<layers::Layer> convolution(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t groups,
                                           int64_t dilation = 1) {
  return make_layer("Conv1d", {{"in_channels", in},
                               {"out_channels", out},
                               {"kernel_size", kernel},
                               {"stride", stride},
                               {"dilation", dilation},
                               {"groups", groups},
                               {"padding", kernel / 2}});
}

void check_epilogue(const layers::Layer& layer, const Shape& input, const Epilogue& epilogue) {
  const std::shared_ptr<const layers::Layer> fused = layer.absorb(epilogue);
  REQUIRE(fused != nullptr);
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor(input));
  const std::vector<TensorType> plain = layer.infer(std::vector{inputs[0].type()});
  if (epilogue.residual != Epilogue::Residual::kNone) {
    Shape residual = plain[0].shape;
    if (epilogue.gated) residual.set(1, residual[1] / 2);
    inputs.push_back(random_tensor(residual));
  }
  const std::string what = "function " + std::to_string(static_cast<int>(epilogue.function)) + " residual " +
                           std::to_string(static_cast<int>(epilogue.residual)) + (epilogue.gated ? " gated" : "") +
                           " on " + to_string(input);
  const Report report = check_against_reference(*fused, inputs, random_parameters(*fused), what, 2);
  CHECK_MESSAGE(report.run >= 1, what);
}

}  // namespace

TEST_CASE("every implementation of Conv1d keeps its bound with every epilogue") {
  using Function = Epilogue::Function;
  std::vector<Epilogue> epilogues;
  const double parameters[][3] = {{0, 0, 0}, {0, 0, 0}, {0.1, 0, 0}, {-0.5, 0.7, 0}, {1.1, 0.6, 0.9}, {0, 0, 0},
                                  {0, 0, 0}, {0, 0, 0}, {0, 0, 0},   {0, 0, 0},      {0, 0, 0},       {0, 0, 0}};
  for (int function = 0; function <= static_cast<int>(Function::kSnake); ++function) {
    for (const auto residual : {Epilogue::Residual::kNone, Epilogue::Residual::kBefore, Epilogue::Residual::kAfter}) {
      Epilogue epilogue;
      epilogue.function = static_cast<Function>(function);
      for (int i = 0; i < 3; ++i) epilogue.parameters[i] = parameters[function][i];
      epilogue.residual = residual;
      if (function % 2 == 0) epilogue.scale = -1.7;
      epilogues.push_back(epilogue);
    }
  }
  for (const auto gate : {layers::HalfFunction::kSigmoid, layers::HalfFunction::kGELU}) {
    Epilogue epilogue = epilogues.back();
    epilogue.gated = true;
    epilogue.activation = gate == layers::HalfFunction::kGELU ? gate : layers::HalfFunction::kTanh;
    epilogue.gate = gate;
    epilogues.push_back(epilogue);
  }
  // So many that cuda.wgmma has tiles of 256 positions.
  const int64_t many = cuda_available() ? 14 : 1;
  for (const auto& [layer, input] :
       {std::pair{convolution(3, 4, 3, 1, 1), Shape{2, 3, 61}},
        {convolution(48, 34, 3, 2, 1), Shape{2, 48, 269}},
        {convolution(32, 130, 1, 1, 1), Shape{1, 32, 200}},
        {convolution(2, 22, 5, 1, 1), Shape{2, 2, 2201}},     // cuda.few_channels: few inputs
        {convolution(9, 16, 5, 1, 1), Shape{many, 9, 1303}},  // and few outputs
        {convolution(20, 2, 3, 2, 1), Shape{2, 20, 1301}},    // by tap
        {convolution(2, 130, 5, 1, 1), Shape{2, 2, 1101}},    // every eighth output
        {convolution(6, 6, 5, 1, 6), Shape{2, 6, 300}},
        {convolution(16, 50, 3, 1, 1), Shape{many, 16, 2053}}}) {  // rows that share sectors
    for (size_t i = first_tried(epilogues.size()); i < epilogues.size(); i += tried_step(epilogues.size())) {
      check_epilogue(*layer, input, epilogues[i]);
    }
  }
}

// Channels differ in what PReLU does to them, and rows in their residual: cuda.wgmma, which carries outputs from tile
// to tile in the first, has every eighth in a warp, and cuda.few_channels twelve positions a thread.
TEST_CASE("outputs of long rows keep their bound with an epilogue") {
  struct LongRows {
    std::unique_ptr<layers::Layer> layer;
    Shape input;
    bool gated = false;
  };
  std::vector<LongRows> all;
  all.push_back({convolution(16, 128, 3, 1, 1), {1, 16, 40003}});
  all.push_back({convolution(6, 2, 5, 1, 2), {32, 6, 4203}});
  all.push_back({convolution(16, 14, 3, 1, 1), {64, 16, 1041}});       // the columns of its products
  all.push_back({convolution(40, 72, 2, 1, 1, 128), {3, 40, 28286}});  // tiles that slide
  all.push_back({convolution(40, 72, 2, 1, 1, 128), {3, 40, 28286}, true});
  const size_t count = 2 * all.size();
  for (size_t i = first_tried(count); i < count; i += tried_step(count)) {
    const LongRows& rows = all[i / 2];
    Epilogue epilogue;
    epilogue.function = Epilogue::Function::kPrelu;
    epilogue.residual = i % 2 == 0 ? Epilogue::Residual::kBefore : Epilogue::Residual::kAfter;
    epilogue.gated = rows.gated;
    if (rows.gated) epilogue.activation = layers::HalfFunction::kTanh;
    if (rows.gated) epilogue.gate = layers::HalfFunction::kSigmoid;
    check_epilogue(*rows.layer, rows.input, epilogue);
  }
}

TEST_CASE("a convolution with another one mixed in keeps its bound") {
  Epilogue epilogue;
  epilogue.residual = Epilogue::Residual::kBefore;
  epilogue.function = Epilogue::Function::kLeakyRelu;
  epilogue.parameters[0] = 0.3;
  for (const bool bias : {false, true}) {
    const auto conv = make_layer("Conv1d", {{"in_channels", int64_t{3}},
                                            {"out_channels", int64_t{7}},
                                            {"kernel_size", int64_t{4}},
                                            {"padding", int64_t{2}}})
                          ->absorb(epilogue);
    const auto maker = make_layer(
        "Conv1d",
        {{"in_channels", int64_t{1}}, {"out_channels", int64_t{7}}, {"kernel_size", int64_t{1}}, {"bias", bias}});
    std::vector<Tensor> inputs;
    inputs.push_back(random_tensor({2, 3, 90}));
    inputs.push_back(random_tensor({2, 1, 91}));
    const std::vector<TensorType> maker_inputs = {inputs[1].type()};
    const std::vector<TensorType> apart = {inputs[0].type(), maker->infer(maker_inputs)[0]};
    const auto both = conv->mix(apart, 1, *maker, maker_inputs);
    REQUIRE(both != nullptr);
    CHECK(conv->mix(apart, 0, *maker, maker_inputs) == nullptr);
    CHECK(both->infer(std::vector{inputs[0].type(), inputs[1].type()}) == conv->infer(apart));
    CHECK_THROWS_WITH_AS(both->infer(apart), "residual float32 [2, 7, 91], expected one channel", Error);
    CHECK(check_against_reference(*both, inputs, random_parameters(*both), "mixed", 2).run == 2);
  }
}

}  // namespace strand::testing
