#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "engine/error.h"
#include "layers/combine/combine.h"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

double combined(Operation operation, double a, double b) {
  switch (operation) {
    case Operation::kAdd:
      return a + b;
    case Operation::kSubtract:
      return a - b;
    case Operation::kMultiply:
      return a * b;
    case Operation::kDivide:
      break;
  }
  return a / b;
}

// The definition: for each element of the result, the elements of the inputs that its indices name.
struct Reference {
  Operation operation;
  std::optional<double> value;
  bool magnitudes = false;  // of the inputs, for the error bound

  template <class T>
  void operator()(const Bindings& bindings) const {
    const TensorView& output = bindings.outputs[0];
    const bool sum = magnitudes && operation == Operation::kSubtract;
    const Operation own = sum ? Operation::kAdd : operation;
    const auto term = [this](double x) { return magnitudes ? std::fabs(x) : x; };
    for (int64_t i = 0; i < output.elements(); ++i) {
      const auto at = [&](const TensorView& input) {
        return term(static_cast<double>(input.ptr<const T>()[offset(input.shape(), output.shape(), i)]));
      };
      double result = at(bindings.inputs[0]);
      for (const TensorView& input : bindings.inputs.subspan(1)) result = combined(own, result, at(input));
      if (value) result = combined(own, result, term(*value));
      output.ptr<T>()[i] = static_cast<T>(result);
    }
  }

  // Where element `flat` of the result lies in an input.
  static int64_t offset(const Shape& shape, const Shape& result, int64_t flat) {
    int64_t offset = 0;
    int64_t stride = 1;
    for (int axis = 1; axis <= shape.rank(); ++axis) {
      const int64_t index = flat % result[-axis];
      flat /= result[-axis];
      if (shape[-axis] > 1) offset += index * stride;
      stride *= shape[-axis];
    }
    return offset;
  }
};

}  // namespace

std::vector<TensorType> Elementwise::infer(std::span<const TensorType> inputs) const {
  if (value_ && inputs.size() != 1) {
    throw Error(ErrorCategory::kSchema, "takes one input beside its value, got " + std::to_string(inputs.size()));
  }
  if (!value_ && inputs.size() < 2) {
    throw Error(ErrorCategory::kSchema, "takes two or more inputs, got " + std::to_string(inputs.size()));
  }
  return {{inputs[0].dtype, broadcast_shape(inputs), broadcast_time_axis(inputs)}};
}

TimeMap Elementwise::time_map(int input, int, std::span<const TensorType> inputs) const {
  if (value_) return TimeMap::pointwise();
  const int time = broadcast_time_axis(inputs);
  const TensorType& own = inputs[static_cast<size_t>(input)];
  if (own.time_axis == TensorType::kNoTime) return TimeMap::all("an input without time is used at every time");
  if (time == TensorType::kNoTime) return TimeMap::all("the inputs' times lie on different axes");
  if (own.shape[own.time_axis] == 1 && broadcast_shape(inputs)[time] > 1) {
    return TimeMap::all("an input's one time is used at every time");
  }
  if (untimed_along(inputs, broadcast_shape(inputs).rank(), time)) {
    return TimeMap::all("an input without time has an element for each of the times");
  }
  return TimeMap::pointwise();
}

std::vector<Implementation> Elementwise::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  combine_cuda(*this, args, list);
  list.push_back(float32_implementation(args, "cpu.native", [this, &args] {
    const Shape& shape = args.outputs[0].shape;
    const bool alike = std::ranges::all_of(args.inputs, [&](const TensorType& input) { return input.shape == shape; });
    return elementwise_cpu(operation_, value_, alike);
  }));
  list.push_back(reference_implementation(args, [this] { return Reference{operation_, value_}; }));
  return list;
}

ErrorBound Elementwise::error_bound(const PrepareArgs& args) const {
  // One rounding an input after the first, and that of the value and its own.
  const size_t roundings = args.inputs.size() + (value_ ? 1 : 0);
  return error_bound_of(static_cast<double>(roundings),
                        [reference = Reference{operation_, value_, true}](const Bindings& bindings) {
                          reference.operator()<double>(bindings);
                        });
}

std::optional<Epilogue> Elementwise::as_epilogue(int, std::span<const TensorType> inputs) const {
  Epilogue epilogue;
  if (operation_ == Operation::kMultiply && value_) {
    epilogue.scale = *value_;
    return epilogue;
  }
  if (operation_ != Operation::kAdd || inputs.size() != 2 || inputs[0] != inputs[1]) return {};
  epilogue.residual = Epilogue::Residual::kBefore;
  return epilogue;
}

}  // namespace strand::layers
