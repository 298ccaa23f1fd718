// LSTM and GRU on the CPU, a step at a time: the hidden units in blocks of 8 (up to 8 of them) or 16, whose gates'
// weights lie side by side, [block][x's features, then h's][gate][unit], so that a step reads them in one sweep with
// all of a block's sums in registers. A sum begins with the biases and runs over x, then h, in order: a step's bits
// depend on its x and state alone. Threads take sequences of the batch and directions.
//
// Units past the last have zero weights; their h and c are never read. GRU's fourth sum is what n takes from h.

#include <Eigen/Core>

#include <algorithm>
#include <utility>

#include "engine/checked.h"
#include "layers/packets_cpu.h"
#include "layers/recurrent/recurrent.h"

namespace strand::layers {
namespace {

constexpr int kSums = 4;

// Where a direction's pieces of a layer lie in its packed floats.
struct Layout {
  int64_t gates, width, hidden, units;

  int64_t blocks() const { return ceil_div(hidden, units); }
  int64_t padded() const { return blocks() * units; }
  int64_t block() const { return (kSums + (width + hidden) * gates) * units; }
  int64_t bytes() const { return checked_mul(checked_mul(blocks(), block()), int64_t{sizeof(float)}); }
};

std::shared_ptr<const Buffer> pack_layer(const RecurrentProblem& problem, const Layout& layout, const Weights& weights,
                                         int64_t layer, int64_t direction) {
  const auto name = [&](const char* kind) { return problem.parameter(kind, layer, direction); };
  const auto [gates, width, hidden, units] = layout;
  const auto fill = [&, gates = gates, width = width, hidden = hidden, units = units](std::byte* target) {
    auto* packed = reinterpret_cast<float*>(target);
    const std::span<const float> ih = weights.host(name("weight_ih"));
    const std::span<const float> hh = weights.host(name("weight_hh"));
    const auto bias = [&](const char* kind, int64_t gate, int64_t j) {
      return problem.bias ? weights.host(name(kind))[static_cast<size_t>(gate * hidden + j)] : 0.0F;
    };
    std::fill_n(packed, layout.blocks() * layout.block(), 0.0F);
    for (int64_t j = 0; j < hidden; ++j) {
      float* column = packed + j / units * layout.block() + j % units;
      for (int64_t g = 0; g < gates; ++g) {
        const bool apart = !problem.lstm && g == 2;
        column[g * units] = bias("bias_ih", g, j) + (apart ? 0.0F : bias("bias_hh", g, j));
        if (apart) column[(kSums - 1) * units] = bias("bias_hh", g, j);
        float* weight = column + (kSums + g) * units;
        for (int64_t i = 0; i < width; ++i, weight += gates * units) {
          *weight = ih[static_cast<size_t>((g * hidden + j) * width + i)];
        }
        for (int64_t i = 0; i < hidden; ++i, weight += gates * units) {
          *weight = hh[static_cast<size_t>((g * hidden + j) * hidden + i)];
        }
      }
    }
  };
  return weights.pack(name("recurrent") + ".units" + std::to_string(units), layout.bytes(), fill);
}

template <int Units>
using Vector = Eigen::Array<float, Units, 1>;

template <int Units>
Vector<Units> sigmoid(const Vector<Units>& x) {
  return 1.0F / (1.0F + (-x).exp());
}

template <int Units>
struct Block {
  using Packet = typename Eigen::internal::find_best_packet<float, Units>::type;
  static constexpr int kLanes = Eigen::internal::unpacket_traits<Packet>::size;
  static constexpr int kPackets = Units / kLanes;

  Packet sums[kSums][kPackets];

  void load(const float* bias) {
    for (int s = 0; s < kSums; ++s) {
      for (int p = 0; p < kPackets; ++p) sums[s][p] = Eigen::internal::ploadu<Packet>(bias + s * Units + p * kLanes);
    }
  }
  // weights is [count][Gates][Units]; the last gate goes to the sum number Last.
  template <int Gates, int Last>
  void add(const float* weights, const float* x, int64_t count) {
    for (int64_t i = 0; i < count; ++i, weights += Gates * Units) {
      const Packet factor = Eigen::internal::pset1<Packet>(x[i]);
      for (int g = 0; g < Gates; ++g) {
        const int s = g == Gates - 1 ? Last : g;
        for (int p = 0; p < kPackets; ++p) {
          const auto weight = Eigen::internal::ploadu<Packet>(weights + g * Units + p * kLanes);
          sums[s][p] = multiply_add(factor, weight, sums[s][p]);
        }
      }
    }
  }
  Vector<Units> sum(int s) const {
    Vector<Units> values;
    for (int p = 0; p < kPackets; ++p) Eigen::internal::pstoreu(values.data() + p * kLanes, sums[s][p]);
    return values;
  }
};

// One step of one sequence: x [width], h [padded] -> next [padded], and c [padded] in place.
template <int Units, bool Lstm>
void step(const Layout& layout, const float* packed, const float* x, const float* h, float* c, float* next) {
  constexpr int kGates = Lstm ? 4 : 3;
  for (int64_t first = 0; first < layout.hidden; first += Units, packed += layout.block()) {
    Block<Units> block;
    block.load(packed);
    const float* weights = packed + kSums * Units;
    block.template add<kGates, kGates - 1>(weights, x, layout.width);
    block.template add<kGates, kSums - 1>(weights + layout.width * kGates * Units, h, layout.hidden);
    Eigen::Map<Vector<Units>> result(next + first);
    if constexpr (Lstm) {
      Eigen::Map<Vector<Units>> cell(c + first);
      const Vector<Units> in = sigmoid<Units>(block.sum(0));
      const Vector<Units> forget = sigmoid<Units>(block.sum(1));
      const Vector<Units> gain = block.sum(2).tanh();
      cell = forget * cell + in * gain;
      result = sigmoid<Units>(block.sum(3)) * cell.tanh();
    } else {
      const Vector<Units> reset = sigmoid<Units>(block.sum(0));
      const Vector<Units> update = sigmoid<Units>(block.sum(1));
      const Vector<Units> fresh = (block.sum(2) + reset * block.sum(3)).tanh();
      result = (1.0F - update) * fresh + update * Eigen::Map<const Vector<Units>>(h + first);
    }
  }
}

template <int Units, bool Lstm>
class RecurrentCpu final : public Kernel {
 public:
  RecurrentCpu(const RecurrentProblem& problem, const Weights& weights) : problem_(problem) {
    for (int64_t layer = 0; layer < problem.layers; ++layer) {
      layouts_.push_back({problem.gates(), problem.width(layer), problem.hidden_size, Units});
      for (int64_t direction = 0; direction < problem.directions; ++direction) {
        packed_.push_back(pack_layer(problem, layouts_.back(), weights, layer, direction));
      }
    }
  }

  // h, the next h and c of each sequence, then the sequences between layers.
  int64_t workspace_bytes() const override {
    const int64_t between = std::min<int64_t>(problem_.layers - 1, 2);
    const int64_t floats = checked_add(states_floats(), checked_mul(between, sequence_floats()));
    return checked_mul(floats, int64_t{sizeof(float)});
  }
  int64_t state_bytes() const override {
    if (problem_.directions > 1) return 0;
    return checked_mul(checked_mul(problem_.layers * problem_.states(), problem_.batch), row_bytes());
  }

  void run(const Context& context, const Bindings& bindings) const override {
    const int64_t steps = problem_.length_of(bindings);
    auto* scratch = reinterpret_cast<float*>(bindings.workspace);
    const auto* x = bindings.inputs[0].ptr<const float>();
    for (int64_t layer = 0; layer < problem_.layers; ++layer) {
      const bool last = layer == problem_.layers - 1;
      float* y = scratch + states_floats() + layer % 2 * sequence_floats();
      if (last) y = problem_.cell ? nullptr : bindings.outputs[0].ptr<float>();
      const Layout& layout = layouts_[static_cast<size_t>(layer)];
      const int64_t work = std::max<int64_t>(steps, 1) * layout.blocks() * layout.block();
      context.parallel_for(problem_.batch * problem_.directions, 100'000 / work + 1, [&](int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; ++item) {
          const Place at{layer, item % problem_.directions, item / problem_.directions};
          run_sequence(bindings, at, steps, x, y, scratch + item * 3 * layout.padded());
        }
      });
      x = y;
    }
  }

 private:
  struct Place {
    int64_t layer, direction, n;
  };

  int64_t padded() const { return round_up(problem_.hidden_size, Units); }
  int64_t row_bytes() const { return problem_.hidden_size * int64_t{sizeof(float)}; }
  int64_t states_floats() const { return checked_mul(checked_mul(3 * problem_.directions, problem_.batch), padded()); }
  int64_t sequence_floats() const { return checked_mul(problem_.rows(), problem_.directions * problem_.hidden_size); }
  // A row of h_0 or h_n, and of the state.
  int64_t port_row(const Place& at) const {
    return (at.layer * problem_.directions + at.direction) * problem_.batch + at.n;
  }
  int64_t state_row(const Place& at, int64_t number) const {
    return (at.layer * problem_.states() + number) * problem_.batch + at.n;
  }

  void run_sequence(const Bindings& bindings, const Place& at, int64_t steps, const float* x, float* y,
                    float* scratch) const {
    const int64_t hidden = problem_.hidden_size;
    const Layout& layout = layouts_[static_cast<size_t>(at.layer)];
    const auto* packed = reinterpret_cast<const float*>(
        packed_[static_cast<size_t>(at.layer * problem_.directions + at.direction)]->data());
    float* h = scratch;
    float* next = scratch + layout.padded();
    float* c = scratch + 2 * layout.padded();
    begin(bindings, at, 0, h);
    if (Lstm) begin(bindings, at, 1, c);
    for (int64_t s = 0; s < steps; ++s) {
      const int64_t row = problem_.row(at.direction == 0 ? s : steps - 1 - s, at.n, steps);
      step<Units, Lstm>(layout, packed, x + row * layout.width, h, c, next);
      std::swap(h, next);
      if (y != nullptr) std::copy_n(h, hidden, y + (row * problem_.directions + at.direction) * hidden);
    }
    finish(bindings, at, 0, h);
    if (Lstm) finish(bindings, at, 1, c);
  }

  void begin(const Bindings& bindings, const Place& at, int number, float* values) const {
    const int64_t hidden = problem_.hidden_size;
    std::fill_n(values, padded(), 0.0F);
    if (const TensorView* given = initial_state(bindings, number)) {
      std::copy_n(given->ptr<const float>() + port_row(at) * hidden, hidden, values);
    } else if (bindings.state != nullptr) {
      std::copy_n(reinterpret_cast<const float*>(bindings.state) + state_row(at, number) * hidden, hidden, values);
    }
  }

  void finish(const Bindings& bindings, const Place& at, int number, const float* values) const {
    const int64_t hidden = problem_.hidden_size;
    const size_t port = (problem_.cell ? 0 : 1) + static_cast<size_t>(number);
    std::copy_n(values, hidden, bindings.outputs[port].ptr<float>() + port_row(at) * hidden);
    if (bindings.state == nullptr || problem_.directions > 1) return;
    std::copy_n(values, hidden, reinterpret_cast<float*>(bindings.state) + state_row(at, number) * hidden);
  }

  RecurrentProblem problem_;
  std::vector<Layout> layouts_;                        // a layer
  std::vector<std::shared_ptr<const Buffer>> packed_;  // [layer][direction]
};

template <int Units>
std::unique_ptr<Kernel> make_kernel(const RecurrentProblem& problem, const Weights& weights) {
  if (problem.lstm) return std::make_unique<RecurrentCpu<Units, true>>(problem, weights);
  return std::make_unique<RecurrentCpu<Units, false>>(problem, weights);
}

}  // namespace

std::unique_ptr<Kernel> recurrent_cpu(const RecurrentProblem& problem, const Weights& weights) {
  return problem.hidden_size <= 8 ? make_kernel<8>(problem, weights) : make_kernel<16>(problem, weights);
}

}  // namespace strand::layers
