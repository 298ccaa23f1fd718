#include "engine/shape.h"

#include "engine/checked.h"

namespace strand {
void Shape::refuse_axis(int axis) const {
  throw Error(ErrorCategory::kShape, "axis " + std::to_string(axis) + " is outside shape " + to_string(*this));
}

void Shape::refuse_size(int64_t size) {
  throw Error(ErrorCategory::kShape, "a tensor's size is negative: " + std::to_string(size));
}

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

int64_t Shape::elements() const { return elements(0, rank_); }

int64_t Shape::elements(int first, int last) const {
  int64_t product = 1;
  for (int axis = first; axis < last; ++axis) product = checked_mul(product, (*this)[axis]);
  return product;
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
