// Errors of Conv1d's implementations on data of many kinds, in units of eps * (sum |w x| + |bias|), eps = 2^-24:
// printed as a table, held under the layer's bound, and cuda.tensor's under a sequential float32 sum's.

#include <algorithm>
#include <cmath>
#include <random>

#include "tests/conv1d_draws.h"

namespace strand::testing {
namespace {

bool takes(const layers::Layer& layer, std::string_view name, std::span<const Tensor> inputs,
           const Parameters& parameters) {
  const PreparedLayer prepared(layer, inputs, parameters, DType::kFloat32, {});
  return std::ranges::any_of(prepared.implementations(), [&](const layers::Implementation& each) {
    return each.name == name && each.declined.empty();
  });
}

TEST_CASE("conv1d: accuracy on data of many kinds") {
  std::vector<Conv1dCase> cases = {{2, 64, 128, 1300, 3, 4, 3, 0}, {2, 32, 40, 3000, 11, 5, 1, 25},
                                   {1, 4, 70, 2000, 15, 1, 1, 7},  {2, 24, 16, 1500, 3, 128, 1, 0},
                                   {2, 2, 40, 1501, 6, 1, 1, 3},   {1, 16, 64, 2000, 1, 1, 1, 0},
                                   {2, 3, 40, 2001, 7, 1, 1, 3}};
  // Of so many positions that these are the rows of cuda.wgmma's products.
  if (cuda_available()) cases.push_back({64, 24, 16, 1041, 5, 1, 1, 2});
  draw_all("error / (eps * sum |w x|)", cases, [](const Conv1dCase& c, const Kind& kind, const Drawn& drawn) {
    double sequential = 0;
    for (const char* name :
         {"cpu.eigen", "cuda.naive", "cuda.direct", "cuda.im2col", "cuda.few_channels", "cuda.tensor", "cuda.wgmma"}) {
      if (std::string(name).starts_with("cuda") && !cuda_available()) continue;
      if (!takes(*drawn.layer, name, drawn.inputs, drawn.parameters)) continue;
      const bool tensor = std::string(name) == "cuda.tensor" || std::string(name) == "cuda.wgmma";
      const std::vector<Tensor> outputs = run_implementation(*drawn.layer, name, drawn.inputs, drawn.parameters);
      const Errors errors = errors_of(outputs[0], drawn.truth, tensor && kind.wide ? drawn.second : 0);
      std::printf("  %s %.2f", name, errors.units);
      CHECK_MESSAGE(errors.share <= 1, std::string(name) << " on " << std::string(kind.name) << ", " << to_string(c));
      if (std::string(name) == "cuda.naive") sequential = errors.units;
      // The two largest of a few hundred thousand errors: equal processes differ by some percent.
      if (tensor && !kind.wide) CHECK(errors.units <= 1.25 * std::max(sequential, 3.0));
    }
  });
}

void check_values(const Conv1dCase& c) {
  const std::unique_ptr<layers::Layer> layer = make_conv1d(c);
  for (const float value : {INFINITY, -INFINITY, NAN, 0x1p100F, 0x1p-100F}) {
    std::vector<Tensor> inputs;
    inputs.push_back(random_tensor({c.batch, c.in_channels, c.length}));
    const Parameters parameters = random_parameters(*layer);
    inputs[0].as<float>()[500] = value;
    check_against_reference(*layer, inputs, parameters, to_string(c));
    inputs[0].as<float>()[500] = 1;
    parameters.at("weight").as<float>()[7] = value;
    check_against_reference(*layer, inputs, parameters, to_string(c));
  }
  std::vector<Tensor> zeros;
  zeros.emplace_back(TensorType{DType::kFloat32, {c.batch, c.in_channels, c.length}, 2});
  std::ranges::fill(zeros[0].as<float>(), 0.0F);
  check_against_reference(*layer, zeros, random_parameters(*layer), to_string(c));
}

TEST_CASE("conv1d: Inf and NaN through tensor cores") {
  // Also in a part whose ends are stored with its neighbours, and between tiles that carry outputs.
  for (const Conv1dCase& c : {Conv1dCase{2, 32, 40, 611, 3, 4, 3, 5}, Conv1dCase{1, 16, 40, 2405, 3, 1, 1, 1},
                              Conv1dCase{1, 16, 128, 17301, 3, 1, 1, 1}, Conv1dCase{2, 2, 40, 2005, 37, 1, 2, 9}}) {
    check_values(c);
  }
  if (!cuda_available() || tried_step() > 1) return;
  check_values({64, 16, 11, 1041, 3, 1, 1, 1});
  check_values({3, 40, 72, 28288, 2, 128, 1, 0});  // of tiles that share stages
}

}  // namespace
}  // namespace strand::testing
