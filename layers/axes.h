#pragma once
// A tensor seen from one of its axes, and flat ranges seen as rows. Pure functions.

#include <algorithm>
#include <cstdint>

#include "engine/shape.h"

namespace strand::layers {

// Row-major [outer, size, inner] around one axis.
struct AxisSplit {
  int64_t outer = 1;
  int64_t size = 1;
  int64_t inner = 1;

  int64_t elements() const { return outer * size * inner; }
};

// Shape::checked_axis for an attribute: Error(kShape) where there is no such axis; a negative one counts from the end.
inline int checked_axis(const Shape& shape, int64_t axis) {
  // What does not fit an int is outside of every shape too.
  return shape.checked_axis(static_cast<int>(std::clamp<int64_t>(axis, INT32_MIN, INT32_MAX)));
}

// Error(kShape) where there is no such axis.
inline AxisSplit split_at(const Shape& shape, int64_t axis) {
  const int at = checked_axis(shape, axis);
  return {shape.elements(0, at), shape[at], shape.elements(at + 1, shape.rank())};
}

// Calls body(row, column, count) for the stretches of rows that make up [begin, end) of a flat [rows, row_length].
template <class Body>
void for_each_stretch(int64_t begin, int64_t end, int64_t row_length, Body body) {
  while (begin < end) {
    const int64_t row = begin / row_length;
    const int64_t column = begin - row * row_length;
    const int64_t count = std::min(row_length - column, end - begin);
    body(row, column, count);
    begin += count;
  }
}

}  // namespace strand::layers
