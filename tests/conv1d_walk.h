#pragma once
// Random Conv1d problems whose sums the plans of the tensor-core kernels are walked against, in double.

#include <cstdint>
#include <vector>

#include "engine/tensor.h"
#include "layers/conv1d/conv1d.h"
#include "tests/run_layer.h"

namespace strand::testing {

inline double half_value(uint16_t half) {
  double value = 0;
  convert({{DType::kFloat16, {1}}, &half, {}}, {{DType::kFloat64, {1}}, &value, {}});
  return value;
}

struct WalkCase {
  layers::Conv1dProblem p;
  std::vector<float> x;
  std::vector<float> w;

  explicit WalkCase(const layers::Conv1dProblem& problem) : p(problem) {
    const Tensor input = random_tensor({p.batch, p.in_channels, p.length});
    const Tensor weight = random_tensor({p.out_channels, p.group_in(), p.kernel_size});
    x.assign(input.as<const float>().begin(), input.as<const float>().end());
    w.assign(weight.as<const float>().begin(), weight.as<const float>().end());
  }

  double padded(int64_t n, int64_t c, int64_t position) const {
    const int64_t at = layers::source_index(position, p.length, p.padding_mode);
    return at < 0 ? 0.0 : static_cast<double>(x[static_cast<size_t>((n * p.in_channels + c) * p.length + at)]);
  }

  double truth(int64_t n, int64_t o, int64_t t) const {
    double sum = 0;
    for (int64_t c = 0; c < p.group_in(); ++c) {
      for (int64_t k = 0; k < p.kernel_size; ++k) {
        sum += static_cast<double>(w[static_cast<size_t>((o * p.group_in() + c) * p.kernel_size + k)]) *
               padded(n, o / p.group_out() * p.group_in() + c, t * p.stride + k * p.dilation - p.pad_left);
      }
    }
    return sum;
  }
};

inline layers::Conv1dProblem walk_problem(int64_t in, int64_t out, int64_t length, int64_t kernel, int64_t stride,
                                          int64_t dilation, int64_t padding, int64_t groups = 1) {
  layers::Conv1dProblem p;
  p.batch = 2;
  p.in_channels = in;
  p.out_channels = out;
  p.length = length;
  p.kernel_size = kernel;
  p.stride = stride;
  p.dilation = dilation;
  p.groups = groups;
  p.pad_left = padding;
  p.pad_right = padding;
  return p;
}

}  // namespace strand::testing
