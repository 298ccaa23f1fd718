#include <cmath>
#include <string>
#include <utility>

#include "engine/error.h"
#include "layers/combine/combine.h"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

// The definition: for each element of the result, the elements of the inputs that its indices name.
struct Reference {
  Operation operation;
  bool magnitudes = false;  // of the inputs, for the error bound

  template <class T>
  void operator()(const Bindings& bindings) const {
    const TensorView& output = bindings.outputs[0];
    for (int64_t i = 0; i < output.elements(); ++i) {
      double result = operation == Operation::kAdd ? 0 : 1;
      for (const TensorView& input : bindings.inputs) {
        const auto own = static_cast<double>(input.ptr<const T>()[offset(input.shape(), output.shape(), i)]);
        const double value = magnitudes ? std::fabs(own) : own;
        result = operation == Operation::kAdd ? result + value : result * value;
      }
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
  if (inputs.size() < 2) {
    throw Error(ErrorCategory::kSchema, "takes two or more inputs, got " + std::to_string(inputs.size()));
  }
  return {{inputs[0].dtype, broadcast_shape(inputs), broadcast_time_axis(inputs)}};
}

TimeMap Elementwise::time_map(int input, int, std::span<const TensorType> inputs) const {
  const int time = broadcast_time_axis(inputs);
  const TensorType& own = inputs[static_cast<size_t>(input)];
  if (own.time_axis == TensorType::kNoTime) return TimeMap::all("an input without time is used at every time");
  if (time == TensorType::kNoTime) return TimeMap::all("the inputs' times lie on different axes");
  if (own.shape[own.time_axis] == 1 && broadcast_shape(inputs)[time] > 1) {
    return TimeMap::all("an input's one time is used at every time");
  }
  return TimeMap::pointwise();
}

std::vector<Implementation> Elementwise::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  combine_cuda(*this, args, list);
  list.push_back(float32_implementation(args, "cpu.native", [this, &args] {
    return elementwise_cpu(operation_, broadcast_walk(args.inputs, args.outputs[0].shape));
  }));
  list.push_back(reference_implementation(args, [this] { return Reference{operation_}; }));
  return list;
}

ErrorBound Elementwise::error_bound(const PrepareArgs& args) const {
  // One rounding an input after the first.
  return error_bound_of(
      static_cast<double>(args.inputs.size()),
      [reference = Reference{operation_, true}](const Bindings& bindings) { reference.operator()<double>(bindings); });
}

}  // namespace strand::layers
