#pragma once
// Axes in another order: Transpose, Permute, and PixelShuffle1d's two directions, whose channels hold an axis of their
// own. Immutable.

#include <array>
#include <span>
#include <vector>

#include "engine/shape.h"
#include "layers/host_device.h"
#include "layers/layer.h"

namespace strand::layers {

using AxisOrder = std::array<int, Shape::kMaxRank>;  // for each output axis, the input's

// Matrices [rows, columns] whose rows lie together in x, and columns in y: y[c * column_pitch + r] = x[r * row_pitch +
// c], for each index of up to kMaxRank outer axes. Where whole rows stay rows, `rows` is 1.
struct PermuteProblem {
  int64_t rows = 1;
  int64_t row_pitch = 0;
  int64_t columns = 1;
  int64_t column_pitch = 1;
  int64_t outer = 1;  // the product of `sizes`
  int axes = 0;
  std::array<int64_t, Shape::kMaxRank> sizes{};  // of the outer axes, outermost first, as the pitches
  std::array<int64_t, Shape::kMaxRank> x_pitches{};
  std::array<int64_t, Shape::kMaxRank> y_pitches{};

  int64_t elements() const { return outer * rows * columns; }
};
PermuteProblem permute_problem(const Shape& input, const AxisOrder& order);

// Where matrix `index` begins, in x and in y.
struct PermuteStart {
  int64_t x;
  int64_t y;
};
STRAND_HD inline PermuteStart start_of(const PermuteProblem& p, int64_t index) {
  PermuteStart start{0, 0};
  for (int axis = p.axes - 1; axis >= 0; --axis) {
    const auto at = static_cast<size_t>(axis);
    const int64_t rest = index / p.sizes[at];
    start.x += (index - rest * p.sizes[at]) * p.x_pitches[at];
    start.y += (index - rest * p.sizes[at]) * p.y_pitches[at];
    index = rest;
  }
  return start;
}

class Permute : public Layer {
 public:
  explicit Permute(std::vector<int64_t> dims) : dims_(std::move(dims)) {}

  // Error(kShape) where the dims are not each axis once.
  virtual AxisOrder order(const Shape& shape) const;

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

 protected:
  int64_t dim(size_t index) const { return dims_[index]; }

 private:
  std::vector<int64_t> dims_;
};

class Transpose final : public Permute {
 public:
  Transpose(int64_t dim0, int64_t dim1) : Permute({dim0, dim1}) {}
  AxisOrder order(const Shape& shape) const override;
};

// [N, C * r, L] -> [N, C, L * r], y[n, c, l * r + i] = x[n, c * r + i, l]; or the way back.
class PixelShuffle1d final : public Layer {
 public:
  PixelShuffle1d(int64_t factor, bool back) : factor_(factor), back_(back) {}

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;
  std::shared_ptr<const Layer> in_window(const Window& window, int64_t inputs, int64_t outputs) const override;

  // For the whole signal.
  PermuteProblem problem(const Shape& shape) const;

 private:
  int64_t factor_;
  bool back_;
};

std::unique_ptr<Kernel> permute_cpu(const AxisOrder& order);

}  // namespace strand::layers
