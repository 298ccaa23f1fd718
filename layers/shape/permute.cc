#include "layers/shape/permute.h"

#include <algorithm>
#include <string>
#include <utility>

#include "engine/error.h"
#include "layers/attributes.h"
#include "layers/axes.h"
#include "layers/implementation_list.h"
#include "layers/shape/shape_layers.h"

namespace strand::layers {
namespace {

struct Reference {
  AxisOrder order;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const Shape& input = bindings.inputs[0].shape();
    const auto* x = bindings.inputs[0].ptr<const T>();
    auto* y = bindings.outputs[0].ptr<T>();
    for (int64_t i = 0; i < bindings.outputs[0].elements(); ++i) {
      int64_t rest = i;
      int64_t at = 0;
      for (int axis = input.rank() - 1; axis >= 0; --axis) {
        const int from = order[static_cast<size_t>(axis)];
        at += rest % input[from] * input.elements(from + 1, input.rank());
        rest /= input[from];
      }
      y[i] = x[at];
    }
  }
};

struct Axis {
  int64_t size;
  int64_t pitch;  // in x
};

}  // namespace

PermuteProblem permute_problem(const Shape& input, const AxisOrder& order) {
  // Neighbours in both orders are one axis, and axes of one element none.
  std::array<Axis, Shape::kMaxRank> axes{};
  int count = 0;
  for (int i = 0; i < input.rank(); ++i) {
    const int from = order[static_cast<size_t>(i)];
    const Axis axis{input[from], input.elements(from + 1, input.rank())};
    if (axis.size == 1) continue;
    if (count > 0 && axes[static_cast<size_t>(count - 1)].pitch == axis.size * axis.pitch) {
      axes[static_cast<size_t>(count - 1)] = {axes[static_cast<size_t>(count - 1)].size * axis.size, axis.pitch};
    } else {
      axes[static_cast<size_t>(count++)] = axis;
    }
  }
  PermuteProblem problem;
  int64_t pitch = 1;  // in y
  for (int i = count - 1; i >= 0; --i) {
    const Axis& axis = axes[static_cast<size_t>(i)];
    if (axis.pitch == 1) {
      problem.columns = axis.size;
      problem.column_pitch = pitch;
    } else if (i == count - 1) {
      problem.rows = axis.size;
      problem.row_pitch = axis.pitch;
    } else {
      ++problem.axes;
    }
    pitch *= axis.size;
  }
  int outer = problem.axes;
  pitch = 1;
  for (int i = count - 1; i >= 0; --i) {
    const Axis& axis = axes[static_cast<size_t>(i)];
    if (axis.pitch != 1 && i != count - 1) {
      const auto at = static_cast<size_t>(--outer);
      problem.sizes[at] = axis.size;
      problem.x_pitches[at] = axis.pitch;
      problem.y_pitches[at] = pitch;
      problem.outer *= axis.size;
    }
    pitch *= axis.size;
  }
  return problem;
}

AxisOrder Permute::order(const Shape& shape) const {
  AxisOrder order{};
  std::array<bool, Shape::kMaxRank> used{};
  bool good = static_cast<int>(dims_.size()) == shape.rank();
  for (size_t i = 0; good && i < dims_.size(); ++i) {
    order[i] = checked_axis(shape, dims_[i]);
    good = !std::exchange(used[static_cast<size_t>(order[i])], true);
  }
  if (good) return order;
  throw Error(ErrorCategory::kShape,
              "dims " + to_string(AttributeValue(dims_)) + " are not every axis of " + to_string(shape) + " once");
}

AxisOrder Transpose::order(const Shape& shape) const {
  AxisOrder order{};
  for (int i = 0; i < shape.rank(); ++i) order[static_cast<size_t>(i)] = i;
  std::swap(order[static_cast<size_t>(checked_axis(shape, dim(0)))],
            order[static_cast<size_t>(checked_axis(shape, dim(1)))]);
  return order;
}

std::vector<TensorType> Permute::infer(std::span<const TensorType> inputs) const {
  TensorType output = inputs[0];
  const AxisOrder order = this->order(output.shape);
  for (int axis = 0; axis < output.shape.rank(); ++axis) {
    const int from = order[static_cast<size_t>(axis)];
    output.shape.set(axis, inputs[0].shape[from]);
    if (from == inputs[0].time_axis) output.time_axis = axis;
  }
  return {output};
}

std::vector<Implementation> Permute::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  shape_cuda(*this, args, list);
  const AxisOrder order = this->order(args.inputs[0].shape);
  list.push_back(float32_implementation(args, "cpu.native", [order] { return permute_cpu(order); }));
  list.push_back(reference_implementation(args, [order] { return Reference{order}; }));
  return list;
}

ErrorBound Permute::error_bound(const PrepareArgs&) const { return exact(); }

}  // namespace strand::layers
