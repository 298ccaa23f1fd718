// Conv1d in tf32, float16 and bfloat16 on data of many kinds: errors in units of 2^-11 * sum |w x|, printed as a table
// and held under the bound.

#include <cstdio>
#include <random>

#include "tests/conv1d_draws.h"
#include "tests/conv1d_table.h"

namespace strand::testing {
namespace {

// Every implementation may be asked for less than float32; those that have nothing faster stay with it.
TEST_CASE("conv1d: precision tf32, float16 and bfloat16") {
  std::mt19937 random(test_seed());
  std::vector<Conv1dCase> cases = {{2, 64, 128, 1301, 3, 4, 3, 0},  {2, 32, 24, 3000, 11, 5, 1, 25},
                                   {1, 4, 70, 2000, 15, 1, 1, 7},   {1, 16, 128, 4004, 3, 1, 1, 1},
                                   {1, 16, 64, 4007, 3, 1, 1, 1},  // stored in whole sectors
                                   {2, 96, 256, 611, 3, 1, 1, 1},  // tiles of 256 channels, weights follow
                                   {1, 256, 200, 2405, 1, 1, 1, 0}, {1, 64, 257, 1203, 16, 1, 8, 4}};
  // Of so many positions that these are the rows of cuda.wgmma's products.
  if (cuda_available()) cases.push_back({64, 24, 16, 1041, 5, 1, 1, 2});
  for (const Conv1dCase& c : cases) {
    std::printf("error / (2^-11 * sum |w x|): %s\n", to_string(c).c_str());
    const std::unique_ptr<layers::Layer> layer = make_conv1d(c);
    const std::vector<Kind> all = kinds();
    for (size_t i = first_tried(all.size()); i < all.size(); i += tried_step(all.size())) {
      const Kind& kind = all[i];
      std::vector<Tensor> inputs;
      inputs.push_back(random_tensor({c.batch, c.in_channels, c.length}));
      const Parameters parameters = random_parameters(*layer);
      fill(inputs[0], kind.draw, random);
      const Truth truth = reference_truth(*layer, inputs, parameters);
      std::printf("  %-10s", kind.name);
      for (const char* name : {"cpu.eigen", "cuda.direct", "cuda.tensor", "cuda.wgmma"}) {
        if (std::string(name).starts_with("cuda") && !cuda_available()) continue;
        for (const Precision precision : {Precision::kTf32, Precision::kFloat16, Precision::kBFloat16}) {
          const int64_t products = c.in_channels / c.groups * c.kernel_size;
          const double second =
              static_cast<double>(products) * 0x1p-38 * largest(parameters.at("weight")) * largest(inputs[0]);
          const std::vector<Tensor> outputs =
              run_implementation(*layer, name, inputs, parameters, DType::kFloat32, 1, precision);
          // Two roundings to 11 bits a product, and the float32 sum's own.
          const double found = errors_of(outputs[0], truth, second).units * 0x1p-24 / 0x1p-11;
          if (precision == Precision::kTf32) std::printf("  %s %.3f", name, found);
          if (!kind.wide) CHECK(found <= 2 * (1 + truth.factor * 0x1p-13));
          const double allowed = eps_of(precision) / 0x1p-24;
          CHECK(errors_of(outputs[0], truth, second).share <= allowed);
        }
      }
      std::printf("\n");
    }
  }
}

TEST_CASE("conv1d: one product, whole sectors of eight rows staged apart from eight") {
  if (!cuda_available()) return;
  const Conv1dCase c{1, 16, 128, 68003, 3, 1, 1, 1};
  const std::unique_ptr<layers::Layer> layer = make_conv1d(c);
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({c.batch, c.in_channels, c.length}));
  const Parameters parameters = random_parameters(*layer);
  const Truth truth = reference_truth(*layer, inputs, parameters);
  const double second = 48 * 0x1p-38 * largest(parameters.at("weight")) * largest(inputs[0]);
  const std::vector<Tensor> outputs =
      run_implementation(*layer, "cuda.wgmma", inputs, parameters, DType::kFloat32, 1, Precision::kTf32);
  CHECK(errors_of(outputs[0], truth, second).share <= eps_of(Precision::kTf32) / 0x1p-24);
}

}  // namespace
}  // namespace strand::testing
