// The definition in double, and how far a float32 computation of it may stray.
//
// What a rounding does to later steps is up to the network: most forget it, some integrate it. A bound through norms of
// weight_hh is either astronomical or not safe, so the scale is found by experiment: beside the exact signal run copies
// whose gates, activations and states are perturbed by random parts of what float32 may be wrong in each (a gate:
// sum_factor times eps times the sum of its terms' magnitudes). One half of the copies is perturbed the same at all
// times, since the roundings of a steady signal are; the other afresh. The scale is the root of the mean square
// of their deviations, over eps, and a few |h|.

#include <array>
#include <cmath>

#include "layers/implementation_list.h"
#include "layers/recurrent/recurrent.h"

namespace strand::layers {
namespace {

constexpr double kEps = 0x1p-24;
constexpr size_t kCopies = 16;  // the first is exact

// Uniform in [-1, 1), a hash (splitmix64) of where it is used.
double noise(uint64_t place) {
  uint64_t z = (place + 1) * 0x9E3779B97F4A7C15U;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return static_cast<double>(static_cast<int64_t>(z ^ (z >> 31))) * 0x1p-63;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct LayerWeights {
  std::shared_ptr<const Buffer> weight_ih, weight_hh, bias_ih, bias_hh;  // biases null without
};

// Copies is 1 for the values and kCopies for the scale. T is the edges' type.
template <class T, size_t Copies>
class Simulation final : public Kernel {
 public:
  Simulation(const RecurrentProblem& problem, const PrepareArgs& args) : problem_(problem) {
    for (int64_t i = 0; i < problem.layers * problem.directions; ++i) {
      const auto find = [&](const char* name) {
        return args.weights.doubles(problem.parameter(name, i / problem.directions, i % problem.directions));
      };
      weights_.push_back({find("weight_ih"), find("weight_hh"), problem.bias ? find("bias_ih") : nullptr,
                          problem.bias ? find("bias_hh") : nullptr});
    }
  }

  // Sequences of two layers, and h, c and the new h.
  int64_t workspace_bytes() const override {
    const int64_t sequence = checked_mul(problem_.rows(), problem_.directions * problem_.hidden_size);
    const int64_t values = checked_add(checked_mul(2, sequence), 3 * problem_.hidden_size);
    return checked_mul(values, static_cast<int64_t>(sizeof(Values)));
  }
  int64_t state_bytes() const override {
    if (Copies > 1 || problem_.directions > 1) return 0;
    return checked_mul(checked_mul(problem_.layers * problem_.states(), problem_.batch),
                       problem_.hidden_size * int64_t{sizeof(double)});
  }

  void run(const Context&, const Bindings& bindings) const override {
    const int64_t steps = problem_.length_of(bindings);
    const int64_t width = problem_.directions * problem_.hidden_size;
    auto* scratch = reinterpret_cast<Values*>(bindings.workspace);
    Values* sequences[] = {scratch, scratch + problem_.rows() * width};
    for (int64_t layer = 0; layer < problem_.layers; ++layer) {
      for (int64_t direction = 0; direction < problem_.directions; ++direction) {
        for (int64_t n = 0; n < problem_.batch; ++n) {
          run_sequence(bindings, {layer, direction, n}, steps, sequences[(layer + 1) % 2], sequences[layer % 2],
                       scratch + 2 * problem_.rows() * width);
        }
      }
    }
    if (problem_.cell) return;
    const Values* last = sequences[(problem_.layers - 1) % 2];
    for (int64_t i = 0; i < problem_.batch * steps * width; ++i) bindings.outputs[0].ptr<T>()[i] = result(last[i]);
  }

 private:
  using Values = std::array<double, Copies>;
  struct Place {
    int64_t layer, direction, n;
  };

  static T result(const Values& values) {
    if constexpr (Copies == 1) {
      return static_cast<T>(values[0]);
    } else {
      double squares = 0;
      for (size_t k = 1; k < Copies; ++k) squares += (values[k] - values[0]) * (values[k] - values[0]);
      return static_cast<T>(std::sqrt(squares / static_cast<double>(Copies - 1)) / kEps + 4 * std::fabs(values[0]) +
                            kUnderflow);
    }
  }

  // A value, in each copy but the first off by a random part of `size`.
  static double perturbed(double value, double size, size_t copy, uint64_t unit, int64_t t) {
    if (copy == 0 || !std::isfinite(size)) return value;
    const uint64_t time = copy < Copies / 2 ? 0 : static_cast<uint64_t>(t) + 1;
    return value + kEps * size * noise((unit << 32) * Copies + time * Copies + copy);
  }

  int64_t state_index(const Place& at, int64_t number, int64_t j) const {
    return ((at.layer * problem_.states() + number) * problem_.batch + at.n) * problem_.hidden_size + j;
  }
  int64_t port_index(const Place& at, int64_t j) const {
    return ((at.layer * problem_.directions + at.direction) * problem_.batch + at.n) * problem_.hidden_size + j;
  }

  void run_sequence(const Bindings& bindings, const Place& at, int64_t steps, const Values* below, Values* output,
                    Values* scratch) const {
    const int64_t hidden = problem_.hidden_size;
    Values* states[] = {scratch, scratch + hidden};  // h, c
    auto* carried = reinterpret_cast<double*>(bindings.state);
    for (int number = 0; number < problem_.states(); ++number) {
      const TensorView* given = initial_state(bindings, number);
      for (int64_t j = 0; j < hidden; ++j) {
        double value = carried != nullptr ? carried[state_index(at, number, j)] : 0.0;
        if (given != nullptr) value = static_cast<double>(given->ptr<const T>()[port_index(at, j)]);
        states[number][j].fill(value);
      }
    }
    for (int64_t s = 0; s < steps; ++s) {
      const int64_t t = at.direction == 0 ? s : steps - 1 - s;
      const int64_t row = problem_.row(t, at.n, steps);
      step(bindings, at, row, t, below, states[0], states[1], scratch + 2 * hidden);
      for (int64_t j = 0; j < hidden; ++j) {
        states[0][j] = scratch[2 * hidden + j];
        output[(row * problem_.directions + at.direction) * hidden + j] = states[0][j];
      }
    }
    const size_t first = problem_.cell ? 0 : 1;
    for (int number = 0; number < problem_.states(); ++number) {
      for (int64_t j = 0; j < hidden; ++j) {
        if (carried != nullptr) carried[state_index(at, number, j)] = states[number][j][0];
        bindings.outputs[first + static_cast<size_t>(number)].ptr<T>()[port_index(at, j)] = result(states[number][j]);
      }
    }
  }

  // One gate from x (or the layer below) and from h, and the sums of the magnitudes of their terms.
  void gate(const Bindings& bindings, const Place& at, int64_t row, int64_t index, const Values* below, const Values* h,
            Values& from_x, Values& from_h, Values& size_x, Values& size_h) const {
    const LayerWeights& w = weights_[static_cast<size_t>(at.layer * problem_.directions + at.direction)];
    const auto values = [](const std::shared_ptr<const Buffer>& buffer) {
      return reinterpret_cast<const double*>(buffer->data());
    };
    const double bias_x = problem_.bias ? values(w.bias_ih)[index] : 0.0;
    const double bias_h = problem_.bias ? values(w.bias_hh)[index] : 0.0;
    for (size_t k = 0; k < Copies; ++k) {
      from_x[k] = bias_x;
      from_h[k] = bias_h;
      size_x[k] = std::fabs(bias_x);
      size_h[k] = std::fabs(bias_h);
    }
    const auto add = [](double weight, double x, double& sum, double& size) {
      sum += weight * x;
      if constexpr (Copies > 1) size += std::fabs(weight * x);
    };
    const int64_t width = problem_.width(at.layer);
    const double* row_ih = values(w.weight_ih) + index * width;
    for (int64_t i = 0; i < width; ++i) {
      for (size_t k = 0; k < Copies; ++k) {
        const double x = at.layer == 0 ? static_cast<double>(bindings.inputs[0].ptr<const T>()[row * width + i])
                                       : below[row * width + i][k];
        add(row_ih[i], x, from_x[k], size_x[k]);
      }
    }
    const double* row_hh = values(w.weight_hh) + index * problem_.hidden_size;
    for (int64_t i = 0; i < problem_.hidden_size; ++i) {
      for (size_t k = 0; k < Copies; ++k) add(row_hh[i], h[i][k], from_h[k], size_h[k]);
    }
  }

  void step(const Bindings& bindings, const Place& at, int64_t row, int64_t t, const Values* below, const Values* h,
            Values* c, Values* next) const {
    const int64_t hidden = problem_.hidden_size;
    const double factor = sum_factor(problem_.width(at.layer) + hidden + 2);
    for (int64_t j = 0; j < hidden; ++j) {
      Values from_x[4], from_h[4], size_x[4], size_h[4];
      for (int64_t g = 0; g < problem_.gates(); ++g) {
        gate(bindings, at, row, g * hidden + j, below, h, from_x[g], from_h[g], size_x[g], size_h[g]);
      }
      for (size_t k = 0; k < Copies; ++k) {
        uint64_t unit = static_cast<uint64_t>((at.layer * 2 + at.direction) * hidden + j) * 16;
        const auto off = [&](double value, double size) { return perturbed(value, size, k, unit++, t); };
        const auto off_relative = [&](double value) { return off(value, 8 * std::fabs(value)); };
        const auto pre = [&](int g) {
          return off(from_x[g][k] + from_h[g][k], factor * (size_x[g][k] + size_h[g][k]));
        };
        if (problem_.lstm) {
          const double in = off_relative(sigmoid(pre(0)));
          const double forget = off_relative(sigmoid(pre(1)));
          const double gain = off_relative(std::tanh(pre(2)));
          const double out = off_relative(sigmoid(pre(3)));
          const double kept = forget * c[j][k];
          c[j][k] = off(kept + in * gain, 2 * (std::fabs(kept) + std::fabs(in * gain)));
          next[j][k] = off_relative(out * off_relative(std::tanh(c[j][k])));
        } else {
          const double reset = off_relative(sigmoid(pre(0)));
          const double update = off_relative(sigmoid(pre(1)));
          const double n_h = off(from_h[2][k], factor * size_h[2][k]);
          const double sum = from_x[2][k] + reset * n_h;
          const double fresh = off_relative(std::tanh(off(sum, factor * size_x[2][k] + 4 * std::fabs(reset * n_h))));
          const double a = (1 - update) * fresh, b = update * h[j][k];
          next[j][k] = off(a + b, 4 * (std::fabs(fresh) + std::fabs(b)));
        }
      }
    }
  }

  RecurrentProblem problem_;
  std::vector<LayerWeights> weights_;
};

}  // namespace

std::unique_ptr<Kernel> recurrent_reference(const RecurrentProblem& problem, const PrepareArgs& args) {
  if (args.outputs[0].dtype == DType::kFloat64) return std::make_unique<Simulation<double, 1>>(problem, args);
  return std::make_unique<Simulation<float, 1>>(problem, args);
}

std::unique_ptr<Kernel> recurrent_scale(const RecurrentProblem& problem, const PrepareArgs& args) {
  return std::make_unique<Simulation<double, kCopies>>(problem, args);
}

}  // namespace strand::layers
