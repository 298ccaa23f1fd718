// The definition in double, and how far a float32 computation of it may stray: what each of its sums may be off by is
// carried on. A product that is off by d makes its weight wrong by a factor of exp(d), about 1 + d, and every weight's
// denominator by the weights' mean of that.

#include <cmath>
#include <limits>
#include <memory>

#include "engine/checked.h"
#include "layers/attention/attention.h"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

// Values, and the errors that they already have; null where they have none.
template <class T>
struct Operand {
  const T* values;
  const double* errors = nullptr;

  double value(int64_t i) const { return static_cast<double>(values[i]); }
  double error(int64_t i) const { return errors != nullptr ? errors[i] : 0; }
};

// `store(index, y, error)` gets every element of y; `scratch` holds 2 * source of them.
template <class T, class Mask, class Store>
class Attend {
 public:
  Attend(const AttentionProblem& problem, const Operand<T>& q, const Operand<T>& k, const Operand<T>& v,
         const Mask* mask, double* scratch, Store store)
      : p_(problem),
        q_(q),
        k_(k),
        v_(v),
        mask_(mask),
        weights_(scratch),
        spread_(scratch + problem.source),
        store_(std::move(store)) {}

  void run() {
    for (int64_t n = 0; n < p_.batch; ++n) {
      for (int64_t h = 0; h < p_.heads; ++h) {
        for (int64_t i = 0; i < p_.length; ++i) {
          weigh(n, h, i);
          sum(n, h, i);
        }
      }
    }
  }

 private:
  void multiply(int64_t n, int64_t h, int64_t i, int64_t j) {
    double product = 0;
    double error = 0;
    const int64_t at = p_.query.offset(n, h, i);
    const int64_t other = p_.key.offset(n, h, j);
    for (int64_t d = 0; d < p_.size; ++d) {
      const double a = q_.value(at + d);
      const double b = k_.value(other + d);
      product += a * b;
      error += std::fabs(a * b) + std::fabs(a) * k_.error(other + d) + std::fabs(b) * q_.error(at + d);
    }
    product *= p_.scale;
    weights_[j] = product;
    spread_[j] = std::fabs(p_.scale) * error + std::fabs(product);
    if (mask_ != nullptr) {
      weights_[j] += static_cast<double>(mask_[p_.mask.offset(n, h, i) + j * p_.mask_column]);
      spread_[j] += std::fabs(weights_[j]);
    }
    if (p_.causal && j > i) weights_[j] = -std::numeric_limits<double>::infinity();
  }

  void weigh(int64_t n, int64_t h, int64_t i) {
    double max = -std::numeric_limits<double>::infinity();
    for (int64_t j = 0; j < p_.source; ++j) {
      multiply(n, h, i, j);
      max = std::fmax(max, weights_[j]);
    }
    double total = 0;
    mean_spread_ = 0;
    for (int64_t j = 0; j < p_.source; ++j) {
      const double distance = weights_[j] - max;
      weights_[j] = std::exp(distance);
      total += weights_[j];
      spread_[j] -= distance;
      if (weights_[j] != 0) mean_spread_ += weights_[j] * spread_[j];
    }
    for (int64_t j = 0; j < p_.source; ++j) weights_[j] /= total;
    mean_spread_ = mean_spread_ / total + 4 + std::log2(static_cast<double>(p_.source));
  }

  void sum(int64_t n, int64_t h, int64_t i) {
    for (int64_t d = 0; d < p_.value_size; ++d) {
      double y = 0;
      double error = 0;
      for (int64_t j = 0; j < p_.source; ++j) {
        const int64_t at = p_.value.offset(n, h, j) + d;
        const double value = std::fabs(v_.value(at));
        y += weights_[j] * v_.value(at);
        error += value * kUnderflow;
        if (weights_[j] != 0) error += weights_[j] * (value * (spread_[j] + mean_spread_) + v_.error(at));
      }
      store_(p_.output.offset(n, h, i) + d, y, error);
    }
  }

  const AttentionProblem& p_;
  Operand<T> q_, k_, v_;
  const Mask* mask_;
  double* weights_;  // [source]
  double* spread_;   // [source], what the weights' products may be off by
  double mean_spread_ = 0;
  Store store_;
};

template <class T, class Mask, class Store>
void attend(const AttentionProblem& problem, const Operand<T>& q, const Operand<T>& k, const Operand<T>& v,
            const Mask* mask, double* scratch, Store store) {
  Attend<T, Mask, Store>(problem, q, k, v, mask, scratch, std::move(store)).run();
}

int64_t scratch_bytes(int64_t elements, int64_t source) {
  return checked_mul(checked_add(elements, checked_mul(2, source)), int64_t{sizeof(double)});
}

template <class T>
class AttentionReference final : public Kernel {
 public:
  AttentionReference(const ScaledDotProductAttention& layer, int64_t source, bool scales)
      : layer_(layer), source_(source), scales_(scales) {}

  int64_t workspace_bytes() const override { return scratch_bytes(0, source_); }

  void run(const Context&, const Bindings& bindings) const override {
    const auto operand = [&](size_t port) { return Operand<T>{bindings.inputs[port].ptr<const T>()}; };
    auto* y = bindings.outputs[0].ptr<T>();
    const auto store = [this, y](int64_t at, double value, double error) {
      y[at] = static_cast<T>(scales_ ? error : value);
    };
    attend(layer_.problem(bindings), operand(0), operand(1), operand(2), input_at(bindings, 3).template ptr<const T>(),
           reinterpret_cast<double*>(bindings.workspace), store);
  }

 private:
  ScaledDotProductAttention layer_;
  int64_t source_;
  bool scales_;
};

using Doubles = std::shared_ptr<const Buffer>;

// y = weight x + bias for rows of x; errors, where given, what y is off by.
template <class T>
void project(const Operand<T>& x, int64_t rows, int64_t in, const double* weight, const double* bias, int64_t out,
             double* y, double* errors) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t o = 0; o < out; ++o) {
      double sum = bias != nullptr ? bias[o] : 0;
      double error = std::fabs(sum);
      for (int64_t i = 0; i < in; ++i) {
        const double term = weight[o * in + i] * x.value(row * in + i);
        sum += term;
        error += std::fabs(term) + std::fabs(weight[o * in + i]) * x.error(row * in + i);
      }
      y[row * out + o] = sum;
      if (errors != nullptr) errors[row * out + o] = error;
    }
  }
}

template <class T>
class MultiheadReference final : public Kernel {
 public:
  MultiheadReference(const MultiheadAttention& layer, const PrepareArgs& args, bool scales)
      : layer_(layer), projections_(layer.projections()), scales_(scales) {
    const auto shape = [&](size_t port) { return port < args.inputs.size() ? args.inputs[port].shape : Shape{}; };
    const AttentionProblem problem = layer.problem(shape(0), shape(1), shape(2), shape(3));
    const MultiheadLayout layout(problem, layer.options().embed_dim);
    workspace_bytes_ = scratch_bytes(checked_mul(scales ? 2 : 1, layout.elements()), problem.source);
    for (const Projection& projection : projections_) weights_.push_back(args.weights.doubles(projection.weight));
    weights_.push_back(args.weights.doubles("out_proj.weight"));
    if (!layer.options().bias) return;
    in_bias_ = args.weights.doubles("in_proj_bias");
    out_bias_ = args.weights.doubles("out_proj.bias");
  }

  int64_t workspace_bytes() const override { return workspace_bytes_; }

  void run(const Context&, const Bindings& bindings) const override {
    const AttentionProblem problem = layer_.problem(bindings);
    const int64_t e = layer_.options().embed_dim;
    const MultiheadLayout layout(problem, e);
    auto* scratch = reinterpret_cast<double*>(bindings.workspace);
    double* errors = scales_ ? scratch + layout.elements() : nullptr;
    const auto part = [&](int64_t offset) {
      return Operand<double>{scratch + offset, errors != nullptr ? errors + offset : nullptr};
    };
    const std::array<int64_t, 3> offsets = {0, layout.key(), layout.value()};
    for (size_t i = 0; i < 3; ++i) {
      const Projection& projection = projections_[i];
      const double* bias = in_bias_ != nullptr ? doubles(in_bias_) + static_cast<int64_t>(i) * e : nullptr;
      project(Operand<T>{source_of(bindings, i).ptr<const T>()}, i == 0 ? layout.rows : layout.source, projection.in,
              doubles(weights_[i]) + projection.first * projection.in, bias, e, scratch + offsets[i],
              errors != nullptr ? errors + offsets[i] : nullptr);
    }
    double* attended = scratch + layout.output();
    const auto store = [&](int64_t at, double value, double error) {
      attended[at] = value;
      if (errors != nullptr) errors[layout.output() + at] = error;
    };
    attend(problem, part(0), part(layout.key()), part(layout.value()), input_at(bindings, 3).template ptr<const T>(),
           scratch + layout.elements() * (scales_ ? 2 : 1), store);
    // q's place is free by now.
    project(part(layout.output()), layout.rows, e, doubles(weights_[3]),
            out_bias_ != nullptr ? doubles(out_bias_) : nullptr, e, scratch, errors);
    const double* result = scales_ ? errors : scratch;
    for (int64_t i = 0; i < layout.rows * e; ++i) bindings.outputs[0].ptr<T>()[i] = static_cast<T>(result[i]);
  }

 private:
  static const double* doubles(const Doubles& buffer) { return reinterpret_cast<const double*>(buffer->data()); }

  MultiheadAttention layer_;
  std::array<Projection, 3> projections_;
  bool scales_;
  int64_t workspace_bytes_ = 0;
  std::vector<Doubles> weights_;  // of q, k, v and the output
  Doubles in_bias_, out_bias_;    // null without
};

}  // namespace

std::unique_ptr<Kernel> attention_reference(const ScaledDotProductAttention& layer, const PrepareArgs& args,
                                            bool scales) {
  const int64_t source = args.inputs[1].shape[-2];
  if (args.outputs[0].dtype == DType::kFloat64) {
    return std::make_unique<AttentionReference<double>>(layer, source, scales);
  }
  return std::make_unique<AttentionReference<float>>(layer, source, scales);
}

std::unique_ptr<Kernel> multihead_reference(const MultiheadAttention& layer, const PrepareArgs& args, bool scales) {
  if (args.outputs[0].dtype == DType::kFloat64) {
    return std::make_unique<MultiheadReference<double>>(layer, args, scales);
  }
  return std::make_unique<MultiheadReference<float>>(layer, args, scales);
}

}  // namespace strand::layers
