#include "layers/norm/normalise.h"

#include <algorithm>
#include <cmath>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/axes.h"
#include "layers/implementation_list.h"
#include "layers/norm/batch_norm.h"

namespace strand::layers {
namespace {

// The definition, from the parameters themselves; or with `magnitudes` the scale of a float's error.
struct Reference {
  Normalise layer;
  std::shared_ptr<const Buffer> weight;  // null without
  std::shared_ptr<const Buffer> bias;
  bool magnitudes = false;

  static double at(const std::shared_ptr<const Buffer>& values, int64_t index, double without) {
    return values == nullptr ? without : reinterpret_cast<const double*>(values->data())[index];
  }

  template <class T>
  void operator()(const Bindings& bindings) const {
    const NormProblem p = layer.problem(bindings.inputs[0].shape());
    for (int64_t row = 0; row < p.outer * p.inner; ++row) {
      const int64_t offset = row / p.inner * p.size * p.inner + row % p.inner;
      compute_row(p, row / p.inner, bindings.inputs[0].ptr<const T>() + offset, bindings.outputs[0].ptr<T>() + offset);
    }
  }

  template <class T>
  void compute_row(const NormProblem& p, int64_t outer, const T* x, T* y) const {
    const auto value = [&](int64_t i) { return static_cast<double>(x[i * p.inner]); };
    const auto count = static_cast<double>(p.size);
    double sum = 0;
    double magnitude = 0;
    for (int64_t i = 0; i < p.size; ++i) {
      sum += value(i);
      magnitude += std::fabs(value(i));
    }
    const double mean = p.centred ? sum / count : 0;
    double squares = 0;
    for (int64_t i = 0; i < p.size; ++i) squares += (value(i) - mean) * (value(i) - mean);
    const double scale = 1 / std::sqrt(squares / count + p.eps);
    for (int64_t i = 0; i < p.size; ++i) {
      const int64_t index = outer % p.groups * (p.size / p.repeat) + i / p.repeat;
      const double w = at(weight, index, 1);
      const double b = at(bias, index, 0);
      const double normal = (value(i) - mean) * scale;
      // A sixteenth of what statistics in float would cost.
      const double lost = p.centred ? magnitude / count * scale / 16 : 0;
      y[i * p.inner] =
          static_cast<T>(magnitudes ? (std::fabs(normal) + lost) * std::fabs(w) + std::fabs(b) : normal * w + b);
    }
  }
};

Reference make_reference(const Normalise& layer, const NormOptions& options, const Weights& weights, bool magnitudes) {
  return {layer, options.weight.empty() ? nullptr : weights.doubles(options.weight),
          options.bias.empty() ? nullptr : weights.doubles(options.bias), magnitudes};
}

}  // namespace

NormProblem Normalise::problem(const Shape& shape) const {
  NormProblem problem;
  problem.eps = options_.eps;
  problem.centred = options_.centred;
  if (over_channels()) {
    if (shape.rank() < 2 || shape[1] != options_.num_channels) {
      throw Error(ErrorCategory::kShape, "input is " + to_string(shape) + ", expected [N, " +
                                             std::to_string(options_.num_channels) + ", ...]");
    }
    problem.outer = checked_mul(shape[0], options_.num_groups);
    problem.repeat = shape.elements(2, shape.rank());
    problem.size = checked_mul(shape[1] / options_.num_groups, problem.repeat);
    problem.groups = options_.num_groups;
    return problem;
  }
  const Shape normalized(options_.normalized_shape);
  const int last = checked_axis(shape, options_.dim);
  const int first = last + 1 - normalized.rank();
  bool fits = first >= 0;
  for (int axis = 0; fits && axis < normalized.rank(); ++axis) fits = shape[first + axis] == normalized[axis];
  if (!fits) {
    throw Error(ErrorCategory::kShape, "input is " + to_string(shape) + ", normalized_shape " + to_string(normalized) +
                                           " are not its axes up to " + std::to_string(last));
  }
  problem.outer = shape.elements(0, first);
  problem.size = normalized.elements();
  problem.inner = shape.elements(last + 1, shape.rank());
  return problem;
}

bool Normalise::contiguous_rows(const Shape& shape) const {
  return over_channels() || checked_axis(shape, options_.dim) == shape.rank() - 1;
}

Shape Normalise::parameter_shape() const {
  return over_channels() ? Shape{options_.num_channels} : Shape(options_.normalized_shape);
}

std::vector<Parameter> Normalise::parameters() const {
  std::vector<Parameter> list;
  if (!options_.weight.empty()) list.push_back({options_.weight, parameter_shape(), Init::kOnes});
  if (!options_.bias.empty()) list.push_back({options_.bias, parameter_shape(), Init::kZeros});
  return list;
}

std::shared_ptr<const Buffer> Normalise::packed(const Weights& weights) const {
  const int64_t count = parameter_shape().elements();
  return weights.pack("weight_bias", checked_mul(count, int64_t{2 * sizeof(float)}), [&](std::byte* target) {
    auto* values = reinterpret_cast<float*>(target);
    std::fill_n(values, count, 1.0F);
    std::fill_n(values + count, count, 0.0F);
    if (!options_.weight.empty()) std::ranges::copy(weights.host(options_.weight), values);
    if (!options_.bias.empty()) std::ranges::copy(weights.host(options_.bias), values + count);
  });
}

std::vector<TensorType> Normalise::infer(std::span<const TensorType> inputs) const {
  problem(inputs[0].shape);  // for its check
  return {inputs[0]};
}

TimeMap Normalise::time_map(int, int, std::span<const TensorType> inputs) const {
  const int time = inputs[0].time_axis;
  if (time == TensorType::kNoTime) return TimeMap::pointwise();
  const int last = over_channels() ? inputs[0].shape.rank() - 1 : checked_axis(inputs[0].shape, options_.dim);
  const int first = over_channels() ? 1 : last + 1 - static_cast<int>(options_.normalized_shape.size());
  return time >= first && time <= last ? TimeMap::all(options_.type + "'s statistics are over all times")
                                       : TimeMap::pointwise();
}

std::vector<Implementation> Normalise::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  norm_cuda(*this, args, list);
  list.push_back(float32_implementation(args, "cpu.native", [this, &args] { return normalise_cpu(*this, args); }));
  list.push_back(
      reference_implementation(args, [this, &args] { return make_reference(*this, options_, args.weights, false); }));
  return list;
}

ErrorBound Normalise::error_bound(const PrepareArgs& args) const {
  return error_bound_of(8, [reference = make_reference(*this, options_, args.weights, true)](const Bindings& bindings) {
    reference.operator()<double>(bindings);
  });
}

}  // namespace strand::layers
