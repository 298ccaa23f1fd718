// Linear on the CPU: the weights lie as panels of 16 outputs, [panel][in][16], zeros in a last panel's tail, and up to
// six rows of x meet a panel at a time, so that 12 vector accumulators stay in registers. An output's sum runs over
// `in` in order, whatever the row, block or thread: a row's result never depends on the others. Eigen's own product is
// not used, because it allocates and its order depends on the sizes.

#include <Eigen/Core>

#include <algorithm>
#include <array>

#include "engine/checked.h"
#include "layers/function_kernel.h"
#include "layers/linear/linear.h"
#include "layers/packets_cpu.h"

namespace strand::layers {
namespace {

constexpr int kPanel = 16;
constexpr int kRows = 6;

using Packet = Eigen::internal::find_best_packet<float, kPanel>::type;
constexpr int kLanes = Eigen::internal::unpacket_traits<Packet>::size;
constexpr int kPackets = kPanel / kLanes;
using Panel = std::array<float, kPanel>;

std::shared_ptr<const Buffer> pack_panels(const LinearProblem& problem, const Weights& weights) {
  const int64_t panels = ceil_div(problem.out_features, kPanel);
  const int64_t floats = checked_mul(checked_mul(panels, kPanel), problem.in_features);
  return weights.pack("weight.panels16", checked_mul(floats, int64_t{sizeof(float)}), [&](std::byte* target) {
    auto* packed = reinterpret_cast<float*>(target);
    const std::span<const float> weight = weights.host("weight");
    for (int64_t o = 0; o < panels * kPanel; ++o) {
      float* column = packed + o / kPanel * kPanel * problem.in_features + o % kPanel;
      for (int64_t i = 0; i < problem.in_features; ++i) {
        column[i * kPanel] = o < problem.out_features ? weight[static_cast<size_t>(o * problem.in_features + i)] : 0.0F;
      }
    }
  });
}

// y[r, 0 .. outs) for Rows rows: the panel's product on top of the bias.
template <int Rows>
void multiply(const float* panel, const float* x, int64_t in, const Panel& bias, float* y, int64_t out, int64_t outs) {
  using Eigen::internal::ploadu, Eigen::internal::pset1, Eigen::internal::pstoreu;
  Packet sums[Rows][kPackets];
  for (int r = 0; r < Rows; ++r) {
    for (int p = 0; p < kPackets; ++p) sums[r][p] = ploadu<Packet>(bias.data() + p * kLanes);
  }
  for (int64_t i = 0; i < in; ++i) {
    Packet weights[kPackets];
    for (int p = 0; p < kPackets; ++p) weights[p] = ploadu<Packet>(panel + i * kPanel + p * kLanes);
    for (int r = 0; r < Rows; ++r) {
      const Packet factor = pset1<Packet>(x[r * in + i]);
      for (int p = 0; p < kPackets; ++p) sums[r][p] = multiply_add(factor, weights[p], sums[r][p]);
    }
  }
  Panel values;
  for (int r = 0; r < Rows; ++r) {
    for (int p = 0; p < kPackets; ++p) pstoreu(values.data() + p * kLanes, sums[r][p]);
    std::copy_n(values.data(), outs, y + r * out);
  }
}

using Multiply = decltype(&multiply<1>);
constexpr std::array<Multiply, kRows> kMultiply = {multiply<1>, multiply<2>, multiply<3>,
                                                   multiply<4>, multiply<5>, multiply<6>};

class LinearKernel final : public Kernel {
 public:
  LinearKernel(const LinearProblem& problem, const Weights& weights)
      : problem_(problem),
        panels_(pack_panels(problem, weights)),
        bias_(problem.bias ? weights.floats("bias") : nullptr) {}

  void run(const Context& context, const Bindings& bindings) const override {
    const auto* x = bindings.inputs[0].ptr<const float>();
    auto* y = bindings.outputs[0].ptr<float>();
    const int64_t rows = bindings.outputs[0].elements() / problem_.out_features;
    const int64_t blocks = ceil_div(rows, kRows);
    const int64_t panels = ceil_div(problem_.out_features, kPanel);
    // A thread should have some 100,000 multiply-adds to do.
    const int64_t grain = 100'000 / (problem_.in_features * kPanel * kRows) + 1;
    context.parallel_for(blocks * panels, grain, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) run_block(item / blocks, item % blocks * kRows, rows, x, y);
    });
  }

 private:
  void run_block(int64_t panel, int64_t row, int64_t all_rows, const float* x, float* y) const {
    const int64_t first = panel * kPanel;
    const int64_t outs = std::min<int64_t>(kPanel, problem_.out_features - first);
    Panel bias{};
    if (bias_ != nullptr) std::copy_n(reinterpret_cast<const float*>(bias_->data()) + first, outs, bias.data());
    const int64_t rows = std::min<int64_t>(kRows, all_rows - row);
    const auto* weights = reinterpret_cast<const float*>(panels_->data()) + first * problem_.in_features;
    kMultiply[static_cast<size_t>(rows - 1)](weights, x + row * problem_.in_features, problem_.in_features, bias,
                                             y + row * problem_.out_features + first, problem_.out_features, outs);
  }

  LinearProblem problem_;
  std::shared_ptr<const Buffer> panels_;
  std::shared_ptr<const Buffer> bias_;
};

}  // namespace

std::unique_ptr<Kernel> linear_cpu(const LinearProblem& problem, const Weights& weights) {
  return std::make_unique<LinearKernel>(problem, weights);
}

}  // namespace strand::layers
