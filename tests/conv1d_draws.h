#pragma once
// Data of many kinds for Conv1d, and how far outputs are from the truth.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "tests/conv1d_table.h"
#include "tests/run_layer.h"

namespace strand::testing {

using Draw = std::function<float(std::mt19937&)>;

struct Kind {
  const char* name;
  Draw draw;
  // Within one tile such data spans more than float16 pairs hold: cuda.tensor's bound has its second term.
  bool wide;
};

inline float normal(std::mt19937& random) { return std::normal_distribution<float>()(random); }

inline std::vector<Kind> kinds() {
  return {{"uniform", [](std::mt19937& r) { return std::uniform_real_distribution<float>(-1, 1)(r); }, false},
          {"positive", [](std::mt19937& r) { return std::uniform_real_distribution<float>(0, 1)(r); }, false},
          {"normal", normal, false},
          {"tiny", [](std::mt19937& r) { return normal(r) * 0x1p-20F; }, false},
          {"huge", [](std::mt19937& r) { return normal(r) * 0x1p20F; }, false},
          {"lognormal", [](std::mt19937& r) { return normal(r) * std::exp(3 * normal(r)); }, true},
          {"mixed", [](std::mt19937& r) { return normal(r) * (r() % 2 == 0 ? 0x1p-20F : 1.0F); }, true},
          {"sparse", [](std::mt19937& r) { return r() % 50 == 0 ? normal(r) : 0.0F; }, true}};
}

inline void fill(const Tensor& tensor, const Draw& draw, std::mt19937& random) {
  for (float& value : tensor.as<float>()) value = draw(random);
}

inline float largest(const Tensor& tensor) {
  float result = 0;
  for (const float value : tensor.as<const float>()) result = std::max(result, std::fabs(value));
  return result;
}

// The largest error in units of eps * scale + `second` (2^-38 a product, see conv1d_tensor.cu), and whether it is
// inside.
struct Errors {
  double units = 0;
  double share = 0;
};

inline Errors errors_of(const Tensor& output, const Truth& truth, double second) {
  constexpr double kEps = 0x1p-24;
  Errors errors;
  const auto truths = truth.values[0].as<const double>();
  const auto scales = truth.scales[0].as<const double>();
  for (size_t i = 0; i < truths.size(); ++i) {
    const double error = std::fabs(static_cast<double>(output.as<const float>()[i]) - truths[i]);
    if (error == 0) continue;
    REQUIRE(scales[i] + second > 0);
    if (scales[i] > 0) errors.units = std::max(errors.units, error / (kEps * scales[i]));
    errors.share = std::max(errors.share, error / (truth.factor * kEps * scales[i] + second));
  }
  return errors;
}

// A convolution of such data, and its truth.
struct Drawn {
  std::unique_ptr<layers::Layer> layer;
  std::vector<Tensor> inputs;
  Parameters parameters;
  Truth truth;
  double second;  // 2^-38 a product, of the largest weight times the largest x

  Drawn(const Conv1dCase& c, const Draw& draw, std::mt19937& random)
      : layer(make_conv1d(c)), parameters(random_parameters(*layer)) {
    inputs.push_back(random_tensor({c.batch, c.in_channels, c.length}));
    fill(inputs[0], draw, random);
    truth = reference_truth(*layer, inputs, parameters);
    const int64_t products = c.in_channels / c.groups * c.kernel_size;
    second = static_cast<double>(products) * 0x1p-38 * largest(parameters.at("weight")) * largest(inputs[0]);
  }
};

// visit(case, kind, drawn) for each case with data of each kind: a line of a table each, under `title`.
template <class Visit>
void draw_all(const char* title, const std::vector<Conv1dCase>& cases, const Visit& visit) {
  std::mt19937 random(test_seed());
  const std::vector<Kind> all = kinds();
  for (const Conv1dCase& c : cases) {
    std::printf("%s: %s\n", title, to_string(c).c_str());
    for (size_t i = first_tried(all.size()); i < all.size(); i += tried_step(all.size())) {
      const Drawn drawn(c, all[i].draw, random);
      std::printf("  %-10s", all[i].name);
      visit(c, all[i], drawn);
      std::printf("\n");
    }
  }
}

}  // namespace strand::testing
