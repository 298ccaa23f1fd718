#include "layers/linear/linear.h"

#include <cmath>
#include <string>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/channel_affine.h"
#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

struct Reference {
  LinearProblem problem;
  std::shared_ptr<const Buffer> weight;  // [out, in]
  std::shared_ptr<const Buffer> bias;    // [out]; null without
  bool magnitudes = false;               // sums those of the terms, for the error bound

  double term(double value) const { return magnitudes ? std::fabs(value) : value; }

  template <class T>
  void operator()(const Bindings& bindings) const {
    const auto* x = bindings.inputs[0].ptr<const T>();
    auto* y = bindings.outputs[0].ptr<T>();
    const auto* w = reinterpret_cast<const double*>(weight->data());
    const auto* b = bias != nullptr ? reinterpret_cast<const double*>(bias->data()) : nullptr;
    const int64_t rows = bindings.outputs[0].elements() / problem.out_features;
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t o = 0; o < problem.out_features; ++o) {
        double sum = b != nullptr ? term(b[o]) : 0.0;
        for (int64_t i = 0; i < problem.in_features; ++i) {
          sum += term(w[o * problem.in_features + i] * static_cast<double>(x[row * problem.in_features + i]));
        }
        y[row * problem.out_features + o] = static_cast<T>(sum);
      }
    }
  }
};

Reference make_reference(const LinearProblem& problem, const Weights& weights, bool magnitudes) {
  return {problem, weights.doubles("weight"), problem.bias ? weights.doubles("bias") : nullptr, magnitudes};
}

bool over_time(const TensorType& input) { return input.time_axis == input.shape.rank() - 1; }

}  // namespace

LinearProblem Linear::problem(std::span<const TensorType> inputs) const {
  const Shape& shape = inputs[0].shape;
  return {shape.elements(0, shape.rank() - 1), in_features_, out_features_, bias_};
}

std::vector<TensorType> Linear::infer(std::span<const TensorType> inputs) const {
  TensorType output = inputs[0];
  const int last = output.shape.rank() - 1;
  if (output.shape[last] != in_features_) {
    throw Error(ErrorCategory::kShape,
                "input " + to_string(output.shape) + " has " + std::to_string(output.shape[last]) +
                    " features in its last axis, in_features is " + std::to_string(in_features_));
  }
  output.shape.set(last, out_features_);
  if (over_time(inputs[0])) output.time_axis = TensorType::kNoTime;
  return {output};
}

std::vector<Parameter> Linear::parameters() const {
  std::vector<Parameter> list = {{"weight", {out_features_, in_features_}, Init::kUniform, in_features_}};
  if (bias_) list.push_back({"bias", {out_features_}, Init::kUniform, in_features_});
  return list;
}

TimeMap Linear::time_map(int, int, std::span<const TensorType> inputs) const {
  return over_time(inputs[0]) ? TimeMap::all("Linear's features are the times") : TimeMap::pointwise();
}

int64_t Linear::multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType>) const {
  return checked_mul(inputs[0].shape.elements(), out_features_);
}

std::vector<Implementation> Linear::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  linear_cuda(*this, args, list);
  const LinearProblem problem = this->problem(args.inputs);
  list.push_back(
      float32_implementation(args, "cpu.eigen", [&args, problem] { return linear_cpu(problem, args.weights); }));
  list.push_back(
      reference_implementation(args, [&args, problem] { return make_reference(problem, args.weights, false); }));
  return list;
}

ErrorBound Linear::error_bound(const PrepareArgs& args) const {
  const Reference reference = make_reference(problem(args.inputs), args.weights, true);
  return error_bound_of(sum_factor(in_features_),
                        [reference](const Bindings& bindings) { reference.operator()<double>(bindings); });
}

std::optional<Folded> Linear::fold(std::span<const ChannelAffine> next, std::span<const TensorType> inputs,
                                   const Weights& weights) const {
  if (inputs[0].shape.rank() != 2) return {};  // the features are not axis 1
  auto folded = folded_weights(weights, next, in_features_, [](int64_t row) { return row; });
  if (!folded) return {};
  return Folded{std::make_shared<Linear>(in_features_, out_features_, true), std::move(*folded)};
}

void register_linear(LayerRegistry& registry) {
  registry.add({"Linear",
                "a matrix product over the last axis, and a bias",
                {{"in_features", kInteger, "size of the input's last axis"},
                 {"out_features", kInteger, "size of the output's last axis"},
                 {"bias", kBoolean, "whether there is one", true}},
                [](const Attributes& a) {
                  return std::make_unique<Linear>(a.positive("in_features"), a.positive("out_features"),
                                                  a.boolean("bias"));
                },
                "[*, in_features] -> [*, out_features]",
                "pointwise; whole if time is last",
                {"cuda.cublas", "cpu.eigen", "cpu.reference"}});
}

}  // namespace strand::layers
