#include <Eigen/Core>

#include <algorithm>
#include <array>

#include "engine/checked.h"
#include "layers/linear_rows.h"
#include "layers/packets_cpu.h"

namespace strand::layers {
namespace {

constexpr int kPanel = 16;
constexpr int kRows = 6;

using Packet = Eigen::internal::find_best_packet<float, kPanel>::type;
constexpr int kLanes = Eigen::internal::unpacket_traits<Packet>::size;
constexpr int kPackets = kPanel / kLanes;
using Panel = std::array<float, kPanel>;

std::shared_ptr<const Buffer> pack_panels(const Weights& weights, const std::string& name, int64_t in, int64_t out,
                                          int64_t first) {
  const int64_t panels = ceil_div(out, kPanel);
  const int64_t floats = checked_mul(checked_mul(panels, kPanel), in);
  const std::string packing = name + ".panels16." + std::to_string(first) + "+" + std::to_string(out);
  return weights.pack(packing, checked_mul(floats, int64_t{sizeof(float)}), [&](std::byte* target) {
    auto* packed = reinterpret_cast<float*>(target);
    const float* weight = weights.host(name).data() + first * in;
    for (int64_t o = 0; o < panels * kPanel; ++o) {
      float* column = packed + o / kPanel * kPanel * in + o % kPanel;
      for (int64_t i = 0; i < in; ++i) column[i * kPanel] = o < out ? weight[o * in + i] : 0.0F;
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

}  // namespace

LinearRows::LinearRows(const Weights& weights, const std::string& weight, int64_t in, int64_t out, int64_t first,
                       const std::string& bias, int64_t first_bias)
    : in_(in),
      out_(out),
      first_bias_(first_bias),
      panels_(pack_panels(weights, weight, in, out, first)),
      bias_(bias.empty() ? nullptr : weights.floats(bias)) {}

void LinearRows::run(const Context& context, const float* x, int64_t rows, float* y) const {
  const int64_t blocks = ceil_div(rows, kRows);
  const int64_t panels = ceil_div(out_, kPanel);
  // A thread should have some 100,000 multiply-adds to do.
  const int64_t grain = 100'000 / (in_ * kPanel * kRows) + 1;
  context.parallel_for(blocks * panels, grain, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) run_block(item / blocks, item % blocks * kRows, rows, x, y);
  });
}

void LinearRows::run_block(int64_t panel, int64_t row, int64_t rows, const float* x, float* y) const {
  const int64_t first = panel * kPanel;
  const int64_t outs = std::min<int64_t>(kPanel, out_ - first);
  Panel bias{};
  if (bias_ != nullptr) {
    std::copy_n(reinterpret_cast<const float*>(bias_->data()) + first_bias_ + first, outs, bias.data());
  }
  const int64_t count = std::min<int64_t>(kRows, rows - row);
  const auto* weights = reinterpret_cast<const float*>(panels_->data()) + first * in_;
  kMultiply[static_cast<size_t>(count - 1)](weights, x + row * in_, in_, bias, y + row * out_ + first, out_, outs);
}

}  // namespace strand::layers
