#include "layers/broadcast.h"

#include <algorithm>
#include <string>

#include "engine/checked.h"
#include "engine/error.h"

namespace strand::layers {
namespace {

// Its size at the result's axis: 1 where the input has fewer axes.
int64_t size_at(const Shape& shape, int axis, int result_rank) {
  const int own = axis - (result_rank - shape.rank());
  return own < 0 ? 1 : shape[own];
}

// The strides of one input along the result's axes; 0 where it is broadcast or the axis has one element.
BroadcastWalk::Strides strides_of(const Shape& shape, const Shape& result) {
  BroadcastWalk::Strides strides{};
  int64_t stride = 1;
  for (int axis = result.rank() - 1; axis >= 0; --axis) {
    const int64_t size = size_at(shape, axis, result.rank());
    strides[static_cast<size_t>(axis)] = size == 1 ? 0 : stride;
    stride *= size;
  }
  return strides;
}

}  // namespace

Shape broadcast_shape(std::span<const TensorType> inputs) {
  int rank = 0;
  for (const TensorType& input : inputs) rank = std::max(rank, input.shape.rank());
  Shape result;
  for (int axis = 0; axis < rank; ++axis) {
    int64_t size = 1;
    size_t owner = 0;  // the input that the size is from
    for (size_t i = 0; i < inputs.size(); ++i) {
      const int64_t own = size_at(inputs[i].shape, axis, rank);
      if (own == 1 || own == size) continue;
      if (size != 1) {
        throw Error(ErrorCategory::kShape, "inputs " + std::to_string(owner) + " and " + std::to_string(i) +
                                               " do not broadcast: " + to_string(inputs[owner].shape) + " and " +
                                               to_string(inputs[i].shape));
      }
      size = own;
      owner = i;
    }
    result.append(size);
  }
  return result;
}

int broadcast_time_axis(std::span<const TensorType> inputs) {
  int rank = 0;
  for (const TensorType& input : inputs) rank = std::max(rank, input.shape.rank());
  int result = TensorType::kNoTime;
  for (const TensorType& input : inputs) {
    if (input.time_axis == TensorType::kNoTime) continue;
    const int axis = input.time_axis + rank - input.shape.rank();
    if (result != TensorType::kNoTime && result != axis) return TensorType::kNoTime;
    result = axis;
  }
  return result;
}

bool untimed_along(std::span<const TensorType> inputs, int rank, int axis) {
  return std::ranges::any_of(inputs, [&](const TensorType& input) {
    return input.time_axis == TensorType::kNoTime && size_at(input.shape, axis, rank) > 1;
  });
}

int64_t BroadcastWalk::row_offset(size_t input, int64_t row) const {
  int64_t offset = 0;
  for (int axis = axes - 2; axis >= 0; --axis) {
    const int64_t size = sizes[static_cast<size_t>(axis)];
    offset += row % size * inputs[input][static_cast<size_t>(axis)];
    row /= size;
  }
  return offset;
}

BroadcastWalk broadcast_walk(std::span<const TensorView> inputs, const Shape& result) {
  // One flat row, found at once: a stream of small networks comes here often.
  if (std::ranges::all_of(inputs, [&](const TensorView& input) { return input.shape() == result; })) {
    BroadcastWalk flat{1, {}, {}};
    flat.sizes[0] = result.elements();
    for (size_t i = 0; i < inputs.size(); ++i) flat.inputs[i][0] = flat.sizes[0] == 1 ? 0 : 1;
    return flat;
  }
  std::array<BroadcastWalk::Strides, BroadcastWalk::kMaxInputs> strides;
  for (size_t i = 0; i < inputs.size(); ++i) strides[i] = strides_of(inputs[i].shape(), result);

  // Innermost first, then turned round.
  BroadcastWalk walk{0, {}, {}};
  for (int axis = result.rank() - 1; axis >= 0; --axis) {
    if (result[axis] == 1) continue;
    const auto at = static_cast<size_t>(axis);
    const auto last = static_cast<size_t>(walk.axes - 1);
    bool merges = walk.axes > 0;
    for (size_t i = 0; merges && i < inputs.size(); ++i) {
      merges = strides[i][at] == checked_mul(walk.inputs[i][last], walk.sizes[last]);
    }
    if (merges) {
      walk.sizes[last] = checked_mul(walk.sizes[last], result[axis]);
      continue;
    }
    walk.sizes[static_cast<size_t>(walk.axes)] = result[axis];
    for (size_t i = 0; i < inputs.size(); ++i) walk.inputs[i][static_cast<size_t>(walk.axes)] = strides[i][at];
    ++walk.axes;
  }
  if (walk.axes == 0) {
    walk.axes = 1;
    walk.sizes[0] = 1;
  }
  std::reverse(walk.sizes.begin(), walk.sizes.begin() + walk.axes);
  for (BroadcastWalk::Strides& own : walk.inputs) std::reverse(own.begin(), own.begin() + walk.axes);
  return walk;
}

}  // namespace strand::layers
