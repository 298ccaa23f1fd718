// Conv1d in tf32, float16 and bfloat16 on data of many kinds: errors in units of 2^-11 * sum |w x|, printed as a table
// and held under the bound.

#include <cstdio>
#include <random>

#include "tests/conv1d_draws.h"

namespace strand::testing {
namespace {

Errors errors_in(const Drawn& drawn, const char* name, Precision precision) {
  const std::vector<Tensor> outputs =
      run_implementation(*drawn.layer, name, drawn.inputs, drawn.parameters, DType::kFloat32, 1, precision);
  return errors_of(outputs[0], drawn.truth, drawn.second);
}

// Every implementation may be asked for less than float32; those that have nothing faster stay with it.
TEST_CASE("conv1d: precision tf32, float16 and bfloat16") {
  std::vector<Conv1dCase> cases = {{2, 64, 128, 1301, 3, 4, 3, 0},  {2, 32, 24, 3000, 11, 5, 1, 25},
                                   {1, 4, 70, 2000, 15, 1, 1, 7},   {1, 16, 128, 4004, 3, 1, 1, 1},
                                   {1, 16, 64, 4007, 3, 1, 1, 1},  // stored in whole sectors
                                   {2, 96, 256, 611, 3, 1, 1, 1},   {1, 256, 200, 2405, 1, 1, 1, 0},
                                   {1, 64, 257, 1203, 16, 1, 8, 4}, {2, 20, 64, 1601, 1, 1, 1, 0}};
  if (cuda_available()) {
    cases.push_back({64, 24, 16, 1041, 5, 1, 1, 2});  // so many positions that these are the rows of products
    cases.push_back({14, 96, 256, 611, 3, 1, 1, 1});  // so many tiles that they have 256 channels; weights follow
  }
  draw_all("error / (2^-11 * sum |w x|)", cases, [](const Conv1dCase& c, const Kind& kind, const Drawn& drawn) {
    for (const std::string name : {"cpu.eigen", "cuda.direct", "cuda.tensor", "cuda.wgmma"}) {
      if (name.starts_with("cuda") && !cuda_available()) continue;
      if (name == "cuda.tensor" && c.in_channels / c.groups * c.kernel_size < 48) continue;  // too short for it
      for (const Precision precision : {Precision::kTf32, Precision::kFloat16, Precision::kBFloat16}) {
        const Errors errors = errors_in(drawn, name.c_str(), precision);
        // Two roundings to 11 bits a product, and the float32 sum's own.
        const double found = errors.units * 0x1p-24 / 0x1p-11;
        if (precision == Precision::kTf32) std::printf("  %s %.3f", name.c_str(), found);
        if (!kind.wide) CHECK(found <= 2 * (1 + drawn.truth.factor * 0x1p-13));
        CHECK(errors.share <= eps_of(precision) / 0x1p-24);
      }
    }
  });
}

TEST_CASE("conv1d: one product, whole sectors of eight rows staged apart from eight") {
  if (!cuda_available()) return;
  std::mt19937 random(test_seed());
  const Drawn drawn({1, 16, 128, 68003, 3, 1, 1, 1}, normal, random);
  CHECK(errors_in(drawn, "cuda.wgmma", Precision::kTf32).share <= eps_of(Precision::kTf32) / 0x1p-24);
}

}  // namespace
}  // namespace strand::testing
