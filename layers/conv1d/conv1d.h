#pragma once
// Conv1d, the layer; convolution.h has the problem that its implementations speak of. [N, C_in, L] -> [N, C_out,
// L_out]:
//   y[n, o, t] = bias[o] + sum over c in group(o), k of  w[o, c, k] * xp[n, c, t * stride + k * dilation]
// with xp the padded input (PyTorch's formula). Problems are plain values; a layer is immutable.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "layers/attributes.h"
#include "layers/convolution.h"
#include "layers/layer.h"

namespace strand::layers {

// The same sums with numbers that kernels can do arithmetic on: the dilation of a single tap is 1, and the stride of a
// single output where it is above `largest`, whatever was written.
Conv1dProblem normalised(Conv1dProblem problem, int64_t out_length, int64_t largest = 1);

// The problem of one stretch of the signal, with a padding (that may be below 0) from the stretch's own ends.
Conv1dProblem stretch_of(Conv1dProblem problem, const Bindings& bindings);

// Where position `index` of the padded input (0 is the input's own start) is read from; -1 stands for a zero. Padding
// reaches past an end by less than the length (reflect) or by no more than it (circular), so one step leads inside.
constexpr int64_t source_index(int64_t index, int64_t length, PaddingMode mode) {
  if (index >= 0 && index < length) return index;
  switch (mode) {
    case PaddingMode::kZeros:
      return -1;
    case PaddingMode::kReflect:
      return index < 0 ? -index : 2 * (length - 1) - index;
    case PaddingMode::kReplicate:
      return index < 0 ? 0 : length - 1;
    case PaddingMode::kCircular:
      return index < 0 ? index + length : index - length;
  }
  return -1;
}

class Conv1d final : public Layer {
 public:
  // Error(kSchema) where the fields contradict each other.
  explicit Conv1d(const Attributes& attributes);

  std::vector<Port> inputs() const override;

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  std::vector<Parameter> parameters() const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  int64_t multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType> outputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;
  std::string tuning_key(std::span<const TensorType> inputs) const override;
  std::shared_ptr<const Layer> absorb(const Epilogue& next) const override;
  std::shared_ptr<const Layer> mix(std::span<const TensorType> inputs, int port, const Layer& maker,
                                   std::span<const TensorType> maker_inputs) const override;  // conv1d_mixed.cc
  std::optional<Folded> fold(std::span<const ChannelAffine> next, std::span<const TensorType> inputs,
                             const Weights& weights) const override;
  std::shared_ptr<const Layer> in_window(const Window& window, int64_t inputs, int64_t outputs) const override;

  // What the layer computes on an input of this type, [N, C_in, L]. Error(kShape) where it does not fit.
  Conv1dProblem problem(const TensorType& input) const;

 private:
  enum class Padding : uint8_t { kExplicit, kSame, kSameTf, kCausal, kValid };

  void read_padding(const Attributes& attributes);
  bool has_residual() const { return fixed_.epilogue.residual != Epilogue::Residual::kNone; }

  Conv1dProblem fixed_;  // all but batch, length and the padding that depends on them
  Padding padding_ = Padding::kExplicit;
};

// The implementations, in their own files. Each declines, with the reason, what it can't compute.
Implementation conv1d_eigen(const Conv1dProblem& problem, const PrepareArgs& args);
Implementation conv1d_reference(const Conv1dProblem& problem, const PrepareArgs& args);
ErrorBound conv1d_error_bound(const Conv1dProblem& problem, const PrepareArgs& args);
// Appends the CUDA implementations, fastest first; appends nothing in a build without CUDA.
void conv1d_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
