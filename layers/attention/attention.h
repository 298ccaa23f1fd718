#pragma once
// Scaled dot-product attention, with heads h of `size` features each:
//   y[n, h, i] = sum over j of p[n, h, i, j] * v[n, h, j],   p[n, h, i] = softmax(scale * q[n, h, i] . k[n, h] + mask)
// as PyTorch's scaled_dot_product_attention, and MultiheadAttention, which projects its inputs and its output
// (arXiv:1706.03762). Immutable.

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "layers/host_device.h"
#include "layers/layer.h"
#include "layers/registry.h"

namespace strand::layers {

// Where an element of head h of sequence n lies, its features side by side.
struct HeadStrides {
  int64_t batch = 0;
  int64_t head = 0;
  int64_t row = 0;

  STRAND_HD int64_t offset(int64_t n, int64_t h, int64_t i) const { return n * batch + h * head + i * row; }
};

struct AttentionProblem {
  int64_t batch = 1;
  int64_t heads = 1;
  int64_t length = 0;      // rows of q and y
  int64_t source = 0;      // rows of k and v
  int64_t size = 0;        // features a head, of q and k
  int64_t value_size = 0;  // features a head, of v and y
  double scale = 1;
  bool causal = false;  // row i sees rows 0 .. i alone
  bool masked = false;
  HeadStrides query, key, value, output, mask;
  int64_t mask_column = 0;
};

// Fills in where the mask's elements lie: it broadcasts to [batch, heads, length, source], or is [batch * heads,
// length, source] as PyTorch wants it. Error(kShape) where it does neither.
void set_mask(AttentionProblem& problem, const Shape& mask);

// One head of many sequences is computed as one sequence with many heads.
AttentionProblem merged(AttentionProblem problem);

// Of both layers: which times of an input an output needs where rows are that axis of the query.
TimeMap attention_times(int input, std::span<const TensorType> inputs, int rows_axis, bool causal);
// Multiply-adds of both products.
int64_t products_of(const AttentionProblem& problem);

class ScaledDotProductAttention final : public Layer {
 public:
  ScaledDotProductAttention(int64_t num_heads, std::optional<double> scale, bool causal)
      : num_heads_(num_heads), scale_(scale), causal_(causal) {}

  // Error(kShape) where the inputs do not fit.
  AttentionProblem problem(const Shape& query, const Shape& key, const Shape& value, const Shape& mask) const;
  AttentionProblem problem(const Bindings& bindings) const;

  std::vector<Port> inputs() const override { return {{"query"}, {"key"}, {"value"}, {"attn_mask", true}}; }
  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  int64_t multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType> outputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

 private:
  AttentionProblem problem(std::span<const TensorType> inputs) const;

  int64_t num_heads_;
  std::optional<double> scale_;
  bool causal_;
};

struct MultiheadOptions {
  int64_t embed_dim = 1;
  int64_t num_heads = 1;
  int64_t kdim = 1;
  int64_t vdim = 1;
  bool bias = true;
  bool batch_first = false;
  bool causal = false;

  // PyTorch keeps three matrices where the inputs' features differ, and one above the other where they do not.
  bool one_matrix() const { return kdim == embed_dim && vdim == embed_dim; }
};

// q's, k's and v's. Rows [first, first + embed_dim) of the parameter.
struct Projection {
  std::string weight;
  int64_t first = 0;
  int64_t in = 0;
};

class MultiheadAttention final : public Layer {
 public:
  explicit MultiheadAttention(const MultiheadOptions& options) : options_(options) {}

  const MultiheadOptions& options() const { return options_; }
  std::array<Projection, 3> projections() const;
  // Of projected rows, which lie as the inputs' do. Error(kShape) where the inputs do not fit; absent ones have rank 0.
  AttentionProblem problem(const Shape& query, const Shape& key, const Shape& value, const Shape& mask) const;
  AttentionProblem problem(const Bindings& bindings) const;

  std::vector<Port> inputs() const override { return {{"query"}, {"key", true}, {"value", true}, {"attn_mask", true}}; }
  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  std::vector<Parameter> parameters() const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  int64_t multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType> outputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

 private:
  AttentionProblem problem(std::span<const TensorType> inputs) const;

  MultiheadOptions options_;
};

// An input's view; not present() where it is not given.
inline TensorView input_at(const Bindings& bindings, size_t port) {
  return port < bindings.inputs.size() ? bindings.inputs[port] : TensorView{};
}
// What MultiheadAttention projects: a missing key is the query, and a missing value the key.
inline TensorView source_of(const Bindings& bindings, size_t port) {
  while (port > 0 && !input_at(bindings, port).present()) --port;
  return bindings.inputs[port];
}

// How the workspace of MultiheadAttention is cut up, in elements: q, k, v and what attention makes of them.
struct MultiheadLayout {
  int64_t rows;    // of q and y
  int64_t source;  // of k and v
  int64_t features;

  MultiheadLayout(const AttentionProblem& problem, int64_t embed_dim);
  int64_t key() const { return rows * features; }
  int64_t value() const { return key() + source * features; }
  int64_t output() const { return value() + source * features; }
  int64_t elements() const;
};

// With `scales` what a float32 result may be off by in units of eps and the error bound's factor, instead of the truth.
std::unique_ptr<Kernel> attention_reference(const ScaledDotProductAttention& layer, const PrepareArgs& args,
                                            bool scales);
std::unique_ptr<Kernel> multihead_reference(const MultiheadAttention& layer, const PrepareArgs& args, bool scales);
std::unique_ptr<Kernel> attention_cpu(const ScaledDotProductAttention& layer, const PrepareArgs& args);
std::unique_ptr<Kernel> multihead_cpu(const MultiheadAttention& layer, const PrepareArgs& args);
void attention_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

void register_multihead(LayerRegistry& registry);

}  // namespace strand::layers
