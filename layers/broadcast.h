#pragma once
// NumPy's broadcasting: shapes are aligned at their last axes, and an axis of size 1 stretches to any size. Plain
// values; pure functions.

#include <array>
#include <span>

#include "engine/tensor.h"

namespace strand::layers {

// Error(kShape) naming the two inputs whose sizes do not fit.
Shape broadcast_shape(std::span<const TensorType> inputs);

// The axis of the result that is time: the inputs' own, where those that have one agree; otherwise kNoTime.
int broadcast_time_axis(std::span<const TensorType> inputs);

// Whether an input without time has more than one element along that axis of a result of that rank: a stretch of the
// others' time would need a stretch of it.
bool untimed_along(std::span<const TensorType> inputs, int rank, int axis);

// How to walk a result and its inputs in as few axes as will do: neighbours that all inputs walk alike are merged, and
// axes of size 1 dropped. At least one axis; the innermost stride of an input is 1, or 0 where it stays.
struct BroadcastWalk {
  using Strides = std::array<int64_t, Shape::kMaxRank>;  // elements, outermost axis first
  static constexpr size_t kMaxInputs = 5;

  int axes = 1;
  std::array<int64_t, Shape::kMaxRank> sizes{};
  std::array<Strides, kMaxInputs> inputs{};

  int64_t row_length() const { return sizes[static_cast<size_t>(axes - 1)]; }
  // Where an input's elements for a row (all axes but the innermost, flat) begin.
  int64_t row_offset(size_t input, int64_t row) const;
  bool varies(size_t input) const { return inputs[input][static_cast<size_t>(axes - 1)] != 0; }
};
// Of at most kMaxInputs; allocates nothing.
BroadcastWalk broadcast_walk(std::span<const TensorView> inputs, const Shape& result);

}  // namespace strand::layers
