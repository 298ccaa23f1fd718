#pragma once
// The sizes of a tensor, outermost first, row-major. A plain value without heap memory; sizes are never negative.

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace strand {

class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) : Shape(std::span<const int64_t>(sizes.begin(), sizes.size())) {}
  // Throws Error(kShape) on a negative size and Error(kLimit) past kMaxRank.
  explicit Shape(std::span<const int64_t> sizes);

  int rank() const { return rank_; }
  // A negative axis counts from the end. Throws Error(kShape) outside the rank.
  int64_t operator[](int axis) const { return sizes_[static_cast<size_t>(checked_axis(axis))]; }
  void set(int axis, int64_t size) {
    if (size < 0) refuse_size(size);
    sizes_[static_cast<size_t>(checked_axis(axis))] = size;
  }
  void append(int64_t size);
  std::span<const int64_t> sizes() const { return {sizes_.data(), static_cast<size_t>(rank_)}; }

  // The number of elements; Error(kLimit) where it does not fit 64 bits.
  int64_t elements() const;
  // The product of the sizes in [first, last).
  int64_t elements(int first, int last) const;
  // The axis in [0, rank); Error(kShape) if there is none such. Inline: each access to a size makes the check.
  int checked_axis(int axis) const {
    const int result = axis < 0 ? axis + rank_ : axis;
    if (result < 0 || result >= rank_) refuse_axis(axis);
    return result;
  }

  friend bool operator==(const Shape&, const Shape&) = default;

 private:
  [[noreturn]] void refuse_axis(int axis) const;
  [[noreturn]] static void refuse_size(int64_t size);

  std::array<int64_t, kMaxRank> sizes_{};
  int rank_ = 0;
};

std::string to_string(const Shape& shape);  // "[16, 64, 1000]"

}  // namespace strand
