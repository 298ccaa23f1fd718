#include <algorithm>
#include <string>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/combine/combine.h"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

// The definition: the first input whose part holds the index.
struct Reference {
  int axis;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const Shape& shape = bindings.outputs[0].shape();
    const int64_t row = shape.elements(axis, shape.rank());
    for (int64_t i = 0; i < shape.elements(); ++i) {
      int64_t column = i % row;
      size_t input = 0;
      while (column >= part_of(bindings.inputs[input], axis)) column -= part_of(bindings.inputs[input++], axis);
      const int64_t at = i / row * part_of(bindings.inputs[input], axis) + column;
      bindings.outputs[0].ptr<T>()[i] = bindings.inputs[input].ptr<const T>()[at];
    }
  }
};

}  // namespace

std::vector<TensorType> Concat::infer(std::span<const TensorType> inputs) const {
  if (inputs.size() < 2) {
    throw Error(ErrorCategory::kSchema, "takes two or more inputs, got " + std::to_string(inputs.size()));
  }
  TensorType output = inputs[0];
  const int axis = checked_axis(output.shape, dim_);
  for (size_t i = 1; i < inputs.size(); ++i) {
    Shape expected = output.shape;
    if (inputs[i].shape.rank() == expected.rank()) expected.set(axis, inputs[i].shape[axis]);
    if (inputs[i].shape != expected) {
      throw Error(ErrorCategory::kShape, "inputs 0 and " + std::to_string(i) + " differ in more than axis " +
                                             std::to_string(axis) + ": " + to_string(inputs[0].shape) + " and " +
                                             to_string(inputs[i].shape));
    }
    output.shape.set(axis, checked_add(output.shape[axis], inputs[i].shape[axis]));
  }
  output.time_axis = broadcast_time_axis(inputs);
  return {output};
}

TimeMap Concat::time_map(int input, int, std::span<const TensorType> inputs) const {
  const int time = broadcast_time_axis(inputs);
  if (inputs[static_cast<size_t>(input)].time_axis == TensorType::kNoTime) {
    return TimeMap::all("an input without time is used at every time");
  }
  if (std::ranges::count(inputs, TensorType::kNoTime, &TensorType::time_axis) > 0) {
    return TimeMap::all("an input without time has an element for each of the times");
  }
  if (time == TensorType::kNoTime) return TimeMap::all("the inputs' times lie on different axes");
  return time == checked_axis(inputs[0].shape, dim_) ? TimeMap::all("Concat along the time axis")
                                                     : TimeMap::pointwise();
}

Concat::Parts Concat::parts(std::span<const TensorType> inputs) const {
  Parts parts;
  for (const TensorType& input : inputs) {
    const AxisSplit split = split_at(input.shape, dim_);
    parts.outer = split.outer;
    parts.sizes.push_back(split.size * split.inner);
    parts.row = checked_add(parts.row, parts.sizes.back());
  }
  return parts;
}

std::vector<Implementation> Concat::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  combine_cuda(*this, args, list);
  const int axis = checked_axis(args.inputs[0].shape, dim_);
  list.push_back(float32_implementation(args, "cpu.native", [axis] { return concat_cpu(axis); }));
  list.push_back(reference_implementation(args, [axis] { return Reference{axis}; }));
  return list;
}

ErrorBound Concat::error_bound(const PrepareArgs&) const { return exact(); }

}  // namespace strand::layers
