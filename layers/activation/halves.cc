#include <cmath>
#include <string>

#include "engine/error.h"
#include "layers/activation/activation.h"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

// The definition in double, or with `magnitudes` the scale of a float's error.
struct Reference {
  Halves layer;
  bool magnitudes = false;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const AxisSplit split = layer.split(bindings.inputs[0].shape());
    const int64_t half = split.size * split.inner;
    const auto* x = bindings.inputs[0].ptr<const T>();
    auto* y = bindings.outputs[0].ptr<T>();
    for (int64_t i = 0; i < split.outer * half; ++i) {
      const auto* first = x + i / half * 2 * half + i % half;
      y[i] = static_cast<T>(value(static_cast<double>(first[0]), static_cast<double>(first[half])));
    }
  }

  double value(double a, double b) const {
    const HalvesOptions& options = layer.options();
    if (options.magnitude) return std::sqrt(a * a + b * b);
    const double activation = half_function(options.activation, a);
    const double gate = half_function(options.gate, b);
    if (!magnitudes) return activation * gate;
    // Each side's error times the other side, and the product's.
    return half_function_error(options.activation, a, activation) * std::fabs(gate) +
           half_function_error(options.gate, b, gate) * std::fabs(activation) + 2 * std::fabs(activation * gate) +
           kUnderflow;
  }
};

}  // namespace

AxisSplit Halves::split(const Shape& input) const {
  AxisSplit split = split_at(input, options_.dim);
  if (split.size % 2 != 0) {
    throw Error(ErrorCategory::kShape, "input " + to_string(input) + " has " + std::to_string(split.size) +
                                           " elements along axis " + std::to_string(checked_axis(input, options_.dim)) +
                                           ", expected an even number for two halves");
  }
  split.size /= 2;
  return split;
}

std::vector<TensorType> Halves::infer(std::span<const TensorType> inputs) const {
  TensorType output = inputs[0];
  const int axis = checked_axis(output.shape, options_.dim);
  output.shape.set(axis, split(output.shape).size);
  if (output.time_axis == axis) output.time_axis = TensorType::kNoTime;
  return {output};
}

TimeMap Halves::time_map(int, int, std::span<const TensorType> inputs) const {
  const bool over_time = checked_axis(inputs[0].shape, options_.dim) == inputs[0].time_axis;
  return over_time ? TimeMap::all(options_.type + "'s halves are of the time axis") : TimeMap::pointwise();
}

std::vector<Implementation> Halves::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  activation_cuda(*this, args, list);
  list.push_back(float32_implementation(args, "cpu.native", [this] { return halves_cpu(*this); }));
  list.push_back(reference_implementation(args, [this] { return Reference{*this}; }));
  return list;
}

std::optional<Epilogue> Halves::as_epilogue(int, std::span<const TensorType> inputs) const {
  const Shape& shape = inputs[0].shape;
  if (options_.magnitude || shape.rank() != 3 || checked_axis(shape, options_.dim) != 1) return {};
  Epilogue epilogue;
  epilogue.gated = true;
  epilogue.activation = options_.activation;
  epilogue.gate = options_.gate;
  return epilogue;
}

ErrorBound Halves::error_bound(const PrepareArgs&) const {
  if (options_.magnitude) return {2, nullptr};  // computed in double, and rounded once
  return error_bound_of(
      1, [reference = Reference{*this, true}](const Bindings& bindings) { reference.operator()<double>(bindings); });
}

}  // namespace strand::layers
