#pragma once
// MatMul: y[.., i, j] = sum over k of a[.., i, k] * b[.., k, j], NumPy's matmul of tensors with two axes or more, the
// axes before them broadcast. Immutable.

#include <vector>

#include "layers/broadcast.h"
#include "layers/layer.h"

namespace strand::layers {

struct MatMulProblem {
  int64_t rows = 0;   // of a and y
  int64_t inner = 0;  // columns of a, rows of b
  int64_t columns = 0;
  BroadcastWalk batch;  // in matrices: a's, b's
  int64_t batches = 1;
};

class MatMul final : public Layer {
 public:
  // Error(kShape) where the two do not fit.
  static MatMulProblem problem(const Shape& a, const Shape& b);

  std::vector<Port> inputs() const override { return {{"input"}, {"other"}}; }
  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  int64_t multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType> outputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;
};

std::unique_ptr<Kernel> matmul_cpu();
void matmul_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
