#pragma once
// Learned values that do not depend on the signal: rows of a table picked by number (Embedding) or by time and added
// (PositionalEmbedding), and a factor a channel (LayerScale). Immutable.

#include <memory>
#include <string>
#include <vector>

#include "layers/axes.h"
#include "layers/layer.h"

namespace strand::layers {

// y[.., :] = weight[x[..]], PyTorch's. Edges carry floats, so the input holds whole numbers as such; what is none, or
// outside [0, num_embeddings), gives a row of NaN on every device.
class Embedding final : public Layer {
 public:
  Embedding(int64_t num_embeddings, int64_t embedding_dim)
      : num_embeddings_(num_embeddings), embedding_dim_(embedding_dim) {}

  // Beyond it floats are not whole numbers one after another.
  static constexpr int64_t kMostEmbeddings = int64_t{1} << 24;

  int64_t num_embeddings() const { return num_embeddings_; }
  int64_t embedding_dim() const { return embedding_dim_; }

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  std::vector<Parameter> parameters() const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

 private:
  int64_t num_embeddings_;
  int64_t embedding_dim_;
};

// x as [outer, times, features], or [outer, features, times] where the features are not last.
struct PositionSplit {
  int64_t outer = 1;
  int64_t times = 1;
  int64_t features = 1;
  bool features_last = true;

  int64_t elements() const { return outer * times * features; }
};

// y = x + table[t], with the learned `parameter` [num_embeddings, embedding_dim] or, sinusoidal, the table of
// arXiv:1706.03762: sin(t / 10000^(2 i / embedding_dim)) in column 2 i, and the cosine in the next one.
struct PositionOptions {
  int64_t num_embeddings = 1;
  int64_t embedding_dim = 1;
  int64_t dim = -1;  // the features' axis; time is the last one of the others
  bool sinusoidal = false;
  std::string parameter = "weight";
};

class PositionalEmbedding final : public Layer {
 public:
  explicit PositionalEmbedding(PositionOptions options) : options_(std::move(options)) {}

  const PositionOptions& options() const { return options_; }
  PositionSplit split(const Shape& shape) const;
  // [num_embeddings, embedding_dim] in float32 on the device, or the other way round where features are not last.
  std::shared_ptr<const Buffer> packed(const Weights& weights, bool features_last) const;
  // The table's element of that flat index, in double.
  double element(const double* learned, int64_t index) const;

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  std::vector<Parameter> parameters() const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

 private:
  int time_axis(const Shape& shape) const;

  PositionOptions options_;
};

// y = x * parameter[c] (arXiv:2103.17239).
class LayerScale final : public Layer {
 public:
  LayerScale(int64_t channels, int64_t dim, std::string parameter)
      : channels_(channels), dim_(dim), parameter_(std::move(parameter)) {}

  const std::string& parameter() const { return parameter_; }
  AxisSplit split(const Shape& shape) const { return split_at(shape, dim_); }

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  std::vector<Parameter> parameters() const override { return {{parameter_, {channels_}, Init::kOnes}}; }
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

 private:
  int64_t channels_;
  int64_t dim_;
  std::string parameter_;
};

std::unique_ptr<Kernel> embedding_cpu(const Embedding& layer, const Weights& weights);
std::unique_ptr<Kernel> position_cpu(const PositionalEmbedding& layer, const PrepareArgs& args);
std::unique_ptr<Kernel> layer_scale_cpu(const LayerScale& layer, const Weights& weights);
void embedding_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
