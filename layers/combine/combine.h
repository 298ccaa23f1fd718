#pragma once
// The layers of two or more inputs: Add, Subtract, Multiply and Divide element by element with NumPy's broadcasting (or
// of one input and a number), and Concat along an axis; all in the order of their inputs. Immutable.

#include <optional>
#include <vector>

#include "layers/axes.h"
#include "layers/broadcast.h"
#include "layers/epilogue.h"
#include "layers/layer.h"

namespace strand::layers {

enum class Operation : uint8_t { kAdd, kSubtract, kMultiply, kDivide };

class Elementwise final : public Layer {
 public:
  // `value` stands for the second of two inputs.
  explicit Elementwise(Operation operation, std::optional<double> value = {}) : operation_(operation), value_(value) {}

  Operation operation() const { return operation_; }
  const std::optional<double>& value() const { return value_; }

  std::vector<Port> inputs() const override { return {{"input", false, true}}; }
  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;
  std::optional<Epilogue> as_epilogue(int input, std::span<const TensorType> inputs) const override;

 private:
  Operation operation_;
  std::optional<double> value_;
};

class Concat final : public Layer {
 public:
  explicit Concat(int64_t dim) : dim_(dim) {}

  // Each input as [outer, part], its part of the output's rows.
  struct Parts {
    int64_t outer = 1;
    int64_t row = 0;             // the output's elements an outer index
    std::vector<int64_t> sizes;  // each input's
  };
  Parts parts(std::span<const TensorType> inputs) const;

  std::vector<Port> inputs() const override { return {{"input", false, true}}; }
  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

 private:
  int64_t dim_;
};

// `alike`: all inputs have the output's shape.
std::unique_ptr<Kernel> elementwise_cpu(Operation operation, std::optional<double> value, bool alike);
// The elements of an input for each index of the axes before `axis`.
inline int64_t part_of(const TensorView& input, int axis) { return input.shape().elements(axis, input.shape().rank()); }
std::unique_ptr<Kernel> concat_cpu(int axis);
void combine_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
