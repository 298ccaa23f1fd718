#pragma once
// The layers that only move elements: Slice, Split and Pad copy (permute.h has those that reorder axes), Flatten,
// Reshape, Squeeze and Unsqueeze are views. Each keeps track of which axis is time, and loses it where time is merged
// with another axis. Immutable.

#include <optional>
#include <string>
#include <vector>

#include "layers/axes.h"
#include "layers/host_device.h"
#include "layers/layer.h"

namespace strand::layers {

// Kernels take the length of time from what is bound: each problem has a stretch_of() it.

// x as [outer, size, inner]: y[o, t, i] = x[o, start + t * step, i], t in [0, count).
struct SliceProblem {
  AxisSplit split;
  int64_t start = 0;
  int64_t step = 1;
  int64_t count = 0;
  int dim = 0;
};
SliceProblem stretch_of(SliceProblem problem, const Bindings& bindings, size_t output = 0);

class Slice final : public Layer {
 public:
  Slice(int64_t dim, int64_t start, std::optional<int64_t> end, int64_t step)
      : dim_(dim), start_(start), end_(end), step_(step) {}

  // Bounds are clamped to the axis as PyTorch's are; Error(kShape) where nothing is left of an axis that had elements.
  SliceProblem problem(const Shape& shape) const;

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;
  std::shared_ptr<const Layer> in_window(const Window& window, int64_t inputs, int64_t outputs) const override;

 private:
  int64_t dim_;
  int64_t start_;
  std::optional<int64_t> end_;
  int64_t step_;
};

enum class PadMode : uint8_t { kConstant, kReflect, kReplicate, kCircular };

// x is [rows, length], y is [rows, left + length + right]. Where a stretch of either ends sooner, that side is below 0.
struct PadProblem {
  int64_t rows = 0;
  int64_t length = 0;
  int64_t left = 0;
  int64_t right = 0;
  PadMode mode = PadMode::kConstant;
  double value = 0;

  STRAND_HD int64_t output_length() const { return left + length + right; }
};
PadProblem stretch_of(PadProblem problem, const Bindings& bindings);

class Pad final : public Layer {
 public:
  Pad(int64_t left, int64_t right, PadMode mode, double value)
      : left_(left), right_(right), mode_(mode), value_(value) {}

  // Error(kShape) where the input is too short for the mode.
  PadProblem problem(const Shape& shape) const;

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;
  std::shared_ptr<const Layer> in_window(const Window& window, int64_t inputs, int64_t outputs) const override;

 private:
  int64_t left_;
  int64_t right_;
  PadMode mode_;
  double value_;
};

// Several parts of one axis, which they make up.
class Split final : public Layer {
 public:
  Split(int64_t dim, std::vector<int64_t> sizes);                                         // Error(kSchema)
  Split(int64_t dim, int64_t chunks) : dim_(dim), count_(static_cast<size_t>(chunks)) {}  // as equal as torch.chunk's

  std::vector<SliceProblem> parts(const Shape& shape) const;  // Error(kShape) where they are not the axis

  std::vector<std::string> outputs() const override;  // "0", "1", ...
  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

 private:
  int64_t dim_;
  std::vector<int64_t> sizes_;  // empty for chunks
  size_t count_;
};

// The same elements under another shape.
class View : public Layer {
 public:
  virtual Shape output_shape(const Shape& input) const = 0;

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  bool is_view() const override { return true; }
  std::vector<Implementation> implementations(const PrepareArgs&) const override { return {}; }
  ErrorBound error_bound(const PrepareArgs& args) const override;
};

class Flatten final : public View {
 public:
  Flatten(int64_t start_dim, int64_t end_dim) : start_dim_(start_dim), end_dim_(end_dim) {}
  Shape output_shape(const Shape& input) const override;

 private:
  int64_t start_dim_;
  int64_t end_dim_;
};

class Reshape final : public View {
 public:
  explicit Reshape(std::vector<int64_t> shape) : shape_(std::move(shape)) {}
  Shape output_shape(const Shape& input) const override;

 private:
  std::vector<int64_t> shape_;
};

class Squeeze final : public View {
 public:
  explicit Squeeze(int64_t dim) : dim_(dim) {}
  Shape output_shape(const Shape& input) const override;

 private:
  int64_t dim_;
};

class Unsqueeze final : public View {
 public:
  explicit Unsqueeze(int64_t dim) : dim_(dim) {}
  Shape output_shape(const Shape& input) const override;

 private:
  int64_t dim_;
};

std::unique_ptr<Kernel> slices_cpu(const std::vector<SliceProblem>& parts);  // one an output
std::unique_ptr<Kernel> pad_cpu(const PadProblem& problem);
void shape_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
