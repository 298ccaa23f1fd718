#include "engine/shape.h"

#include "engine/checked.h"

namespace strand {
namespace {

// Apart, so that the checks themselves stay short: each access to a size makes one.
[[noreturn]] void refuse_axis(int axis, const Shape& shape) {
  throw Error(ErrorCategory::kShape, "axis " + std::to_string(axis) + " is outside shape " + to_string(shape));
}

[[noreturn]] void refuse_size(int64_t size) {
  throw Error(ErrorCategory::kShape, "a tensor's size is negative: " + std::to_string(size));
}

}  // namespace

Shape::Shape(std::span<const int64_t> sizes) {
  for (const int64_t size : sizes) append(size);
}

void Shape::append(int64_t size) {
  if (rank_ == kMaxRank) {
    throw Error(ErrorCategory::kLimit, "a tensor has more than " + std::to_string(kMaxRank) + " axes");
  }
  ++rank_;
  set(rank_ - 1, size);
}

void Shape::set(int axis, int64_t size) {
  if (size < 0) refuse_size(size);
  sizes_[static_cast<size_t>(checked_axis(axis))] = size;
}

int64_t Shape::elements() const { return elements(0, rank_); }

int64_t Shape::elements(int first, int last) const {
  int64_t product = 1;
  for (int axis = first; axis < last; ++axis) product = checked_mul(product, (*this)[axis]);
  return product;
}

int Shape::checked_axis(int axis) const {
  const int result = axis < 0 ? axis + rank_ : axis;
  if (result < 0 || result >= rank_) refuse_axis(axis, *this);
  return result;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (const int64_t size : shape.sizes()) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(size);
  }
  return text + "]";
}

}  // namespace strand
