#include <algorithm>
#include <string>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/attributes.h"
#include "layers/implementation_list.h"
#include "layers/shape/shape_layers.h"

namespace strand::layers {
namespace {

// The axis of `output` that holds the same elements as the input's time axis, in the same order; kNoTime where time is
// merged with another axis or cut up. The same axis number wins where several of size 1 would do.
int time_axis_of_view(const TensorType& input, const Shape& output) {
  if (input.time_axis == TensorType::kNoTime) return TensorType::kNoTime;
  const int time = input.time_axis;
  const auto holds_time = [&](int axis) {
    return axis < output.rank() && output[axis] == input.shape[time] &&
           output.elements(0, axis) == input.shape.elements(0, time) &&
           output.elements(axis + 1, output.rank()) == input.shape.elements(time + 1, input.shape.rank());
  };
  if (holds_time(time)) return time;
  for (int axis = 0; axis < output.rank(); ++axis) {
    if (holds_time(axis)) return axis;
  }
  return TensorType::kNoTime;
}

}  // namespace

std::vector<TensorType> View::infer(std::span<const TensorType> inputs) const {
  const Shape shape = output_shape(inputs[0].shape);
  return {{inputs[0].dtype, shape, time_axis_of_view(inputs[0], shape)}};
}

TimeMap View::time_map(int, int, std::span<const TensorType> inputs) const {
  const bool lost = time_axis_of_view(inputs[0], output_shape(inputs[0].shape)) == TensorType::kNoTime;
  return lost && inputs[0].time_axis != TensorType::kNoTime ? TimeMap::all("the time axis is merged into another")
                                                            : TimeMap::pointwise();
}

ErrorBound View::error_bound(const PrepareArgs&) const { return exact(); }

Shape Flatten::output_shape(const Shape& input) const {
  const int first = checked_axis(input, start_dim_);
  const int last = checked_axis(input, end_dim_);
  if (first > last) {
    throw Error(ErrorCategory::kShape, "start_dim " + std::to_string(start_dim_) + " is after end_dim " +
                                           std::to_string(end_dim_) + " of " + to_string(input));
  }
  Shape output(input.sizes().first(static_cast<size_t>(first)));
  output.append(input.elements(first, last + 1));
  for (int axis = last + 1; axis < input.rank(); ++axis) output.append(input[axis]);
  return output;
}

Shape Reshape::output_shape(const Shape& input) const {
  // Copied axes count on both sides, so that -1 has one meaning even where one of them is empty.
  int64_t given = 1;
  int64_t rest = 1;
  Shape output;
  for (int axis = 0; axis < input.rank(); ++axis) {
    const bool copied = axis < static_cast<int>(shape_.size()) && shape_[static_cast<size_t>(axis)] == 0;
    if (!copied) rest = checked_mul(rest, input[axis]);
  }
  for (const int64_t size : shape_) {
    if (size == 0 && output.rank() >= input.rank()) {
      throw Error(ErrorCategory::kShape, "shape " + to_string(AttributeValue(shape_)) + " copies axis " +
                                             std::to_string(output.rank()) + ", input is " + to_string(input));
    }
    if (size > 0) given = checked_mul(given, size);
    output.append(size > 0 ? size : size == 0 ? input[output.rank()] : 1);
  }
  const auto open = std::ranges::find(shape_, -1);
  if (open != shape_.end() ? rest % given != 0 : rest != given) {
    throw Error(ErrorCategory::kShape,
                "input " + to_string(input) + " does not fit shape " + to_string(AttributeValue(shape_)));
  }
  if (open != shape_.end()) output.set(static_cast<int>(open - shape_.begin()), rest / given);
  return output;
}

Shape Squeeze::output_shape(const Shape& input) const {
  const int axis = checked_axis(input, dim_);
  if (input[axis] != 1 || input.rank() == 1) return input;  // as PyTorch; one axis stays
  Shape output(input.sizes().first(static_cast<size_t>(axis)));
  for (int i = axis + 1; i < input.rank(); ++i) output.append(input[i]);
  return output;
}

Shape Unsqueeze::output_shape(const Shape& input) const {
  if (dim_ < -input.rank() - 1 || dim_ > input.rank()) {
    throw Error(ErrorCategory::kShape, "dim is " + std::to_string(dim_) + ", expected " +
                                           std::to_string(-input.rank() - 1) + " to " + std::to_string(input.rank()) +
                                           " for " + to_string(input));
  }
  const int axis = static_cast<int>(dim_ < 0 ? dim_ + input.rank() + 1 : dim_);
  Shape output(input.sizes().first(static_cast<size_t>(axis)));
  output.append(1);
  for (int i = axis; i < input.rank(); ++i) output.append(input[i]);
  return output;
}

}  // namespace strand::layers
