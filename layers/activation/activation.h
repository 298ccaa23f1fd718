#pragma once
// Activations beyond one function of each element: those with a parameter a channel (PReLU, Snake), those of two halves
// of an axis (GLU, gated units, Magnitude), and FiLM, whose factors come from a second input. Immutable.

#include <memory>
#include <string>
#include <vector>

#include "layers/axes.h"
#include "layers/epilogue.h"
#include "layers/half_function.h"
#include "layers/host_device.h"
#include "layers/layer.h"

namespace strand::layers {

// PReLU: x where it is positive, else weight[c] * x. One weight serves all channels.
// Snake and SnakeBeta: x + sin^2(alpha[c] * x) / (beta[c] + 1e-9), where Snake's beta is alpha (arXiv:2006.08195,
// BigVGAN arXiv:2206.04658); with alpha_logscale both are exp of what the weights hold.
struct ChannelOptions {
  enum class Kind : uint8_t { kPrelu, kSnake };

  Kind kind = Kind::kPrelu;
  int64_t channels = 1;
  bool own_beta = false;
  bool log_scale = false;
  bool padded_shape = false;  // parameters are [1, C, 1], as DAC has them
};

class ChannelActivation final : public Layer {
 public:
  explicit ChannelActivation(const ChannelOptions& options) : options_(options) {}

  const ChannelOptions& options() const { return options_; }
  // One channel's; PReLU's factor is the slope.
  struct Coefficients {
    double factor;
    double share;  // 1 / (beta + 1e-9)
  };
  Coefficients coefficients(const Weights& weights, int64_t channel) const;
  // [factors of all channels, shares of all channels] in float32 on the device.
  std::shared_ptr<const Buffer> packed(const Weights& weights) const;

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  std::vector<Parameter> parameters() const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;
  std::optional<Epilogue> as_epilogue(int input, std::span<const TensorType> inputs) const override;
  std::vector<float> epilogue_coefficients(const Weights& weights, int64_t channels) const override;

 private:
  ChannelOptions options_;
};

// x as [outer, channels, inner]; one channel where one parameter serves all.
struct ChannelSplit {
  int64_t rows = 0;  // outer * channels
  int64_t channels = 1;
  int64_t inner = 1;
};
ChannelSplit channel_split(const Shape& shape, const ChannelOptions& options);

// y = activation(first half) * gate(second half), halves of one axis: GLU has identity and sigmoid, WaveNet tanh and
// sigmoid. Magnitude is the root of the halves' sum of squares.
struct HalvesOptions {
  std::string type;
  int64_t dim = 1;
  HalfFunction activation = HalfFunction::kIdentity;
  HalfFunction gate = HalfFunction::kSigmoid;
  bool magnitude = false;
};

class Halves final : public Layer {
 public:
  explicit Halves(HalvesOptions options) : options_(std::move(options)) {}

  const HalvesOptions& options() const { return options_; }
  // The output around its axis. Error(kShape) where the axis is odd.
  AxisSplit split(const Shape& input) const;

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;
  std::optional<Epilogue> as_epilogue(int input, std::span<const TensorType> inputs) const override;

 private:
  HalvesOptions options_;
};

// FiLM: y[n, c, t] = x[n, c, t] * condition[n, c, t] + condition[n, C + c, t] (arXiv:1709.07871). The condition is
// [N, 2C, L] or, the same at all times, [N, 2C, 1] or [N, 2C]; a batch of 1 serves all. What makes the condition (NAM's
// 1x1 convolution with its groups) is a layer of its own.
struct FilmProblem {
  int64_t batch = 0;
  int64_t channels = 0;
  int64_t length = 0;
  bool shared = false;    // one condition for the batch
  bool constant = false;  // at all times

  // Where row (n, c)'s factors begin; its shifts lie channels * condition_length() further.
  STRAND_HD int64_t condition_length() const { return constant ? 1 : length; }
  // Row: a type that holds the row and `channels`; divisions are as wide.
  template <class Row>
  STRAND_HD int64_t condition_row(Row row) const {
    const Row n = row / static_cast<Row>(channels);
    const Row c = row - n * static_cast<Row>(channels);
    return ((shared ? 0 : static_cast<int64_t>(n) * 2 * channels) + static_cast<int64_t>(c)) * condition_length();
  }
};

class Film final : public Layer {
 public:
  // Error(kShape) where the two do not fit.
  static FilmProblem problem(const Shape& input, const Shape& condition);

  std::vector<Port> inputs() const override { return {{"input"}, {"condition"}}; }
  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  int64_t multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType> outputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;
};

std::unique_ptr<Kernel> channel_cpu(const ChannelActivation& layer, const Weights& weights);
std::unique_ptr<Kernel> halves_cpu(const Halves& layer);
std::unique_ptr<Kernel> film_cpu();
void activation_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
