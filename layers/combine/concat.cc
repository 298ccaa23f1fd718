#include <string>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/combine/combine.h"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

// The definition: the first input whose part holds the index.
struct Reference {
  Concat::Parts parts;

  template <class T>
  void operator()(const Bindings& bindings) const {
    for (int64_t i = 0; i < parts.outer * parts.row; ++i) {
      const int64_t outer = i / parts.row;
      int64_t column = i % parts.row;
      size_t input = 0;
      while (column >= parts.sizes[input]) column -= parts.sizes[input++];
      bindings.outputs[0].ptr<T>()[i] = bindings.inputs[input].ptr<const T>()[outer * parts.sizes[input] + column];
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
  list.push_back(float32_implementation(args, "cpu.native", [this, &args] { return concat_cpu(parts(args.inputs)); }));
  list.push_back(reference_implementation(args, [this, &args] { return Reference{parts(args.inputs)}; }));
  return list;
}

ErrorBound Concat::error_bound(const PrepareArgs&) const { return exact(); }

}  // namespace strand::layers
