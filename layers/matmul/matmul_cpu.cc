// MatMul on the CPU: a task is a strip of 16 columns for some rows. 256 rows of b's strip at a time are copied to the
// stack, zeros beyond its last column, and up to six rows of a meet them, so that 12 vector accumulators stay in
// registers. An output's sum runs over k in order, whatever its place, strip or thread.

#include <Eigen/Core>

#include <algorithm>
#include <array>

#include "engine/checked.h"
#include "layers/function_kernel.h"
#include "layers/matmul/matmul.h"
#include "layers/packets_cpu.h"

namespace strand::layers {
namespace {

constexpr int kStrip = 16;
constexpr int kRows = 6;
constexpr int64_t kDepth = 256;
constexpr int64_t kTaskRows = 48;

using Packet = Eigen::internal::find_best_packet<float, kStrip>::type;
constexpr int kLanes = Eigen::internal::unpacket_traits<Packet>::size;
constexpr int kPackets = kStrip / kLanes;

struct Strip {
  alignas(64) std::array<float, kDepth * kStrip> values;
};

// y[r, 0 .. columns) for Rows rows: `depth` terms on top of what it holds, or of 0 at the begin.
template <int Rows>
void multiply(const Strip& strip, const float* a, int64_t inner, int64_t depth, bool begins, float* y, int64_t stride,
              int64_t columns) {
  using Eigen::internal::ploadu, Eigen::internal::pset1, Eigen::internal::pstoreu;
  Packet sums[Rows][kPackets];
  std::array<float, kStrip> values{};
  for (int r = 0; r < Rows; ++r) {
    if (!begins) std::copy_n(y + r * stride, columns, values.data());
    for (int p = 0; p < kPackets; ++p) sums[r][p] = ploadu<Packet>(values.data() + p * kLanes);
  }
  for (int64_t k = 0; k < depth; ++k) {
    Packet factors[kPackets];
    for (int p = 0; p < kPackets; ++p) factors[p] = ploadu<Packet>(strip.values.data() + k * kStrip + p * kLanes);
    for (int r = 0; r < Rows; ++r) {
      const Packet factor = pset1<Packet>(a[r * inner + k]);
      for (int p = 0; p < kPackets; ++p) sums[r][p] = multiply_add(factor, factors[p], sums[r][p]);
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int p = 0; p < kPackets; ++p) pstoreu(values.data() + p * kLanes, sums[r][p]);
    std::copy_n(values.data(), columns, y + r * stride);
  }
}

using Multiply = decltype(&multiply<1>);
constexpr std::array<Multiply, kRows> kMultiply = {multiply<1>, multiply<2>, multiply<3>,
                                                   multiply<4>, multiply<5>, multiply<6>};

// Rows [first, end) of y's columns [column, column + columns).
void multiply_strip(const MatMulProblem& p, const float* a, const float* b, float* y, int64_t first, int64_t end,
                    int64_t column, int64_t columns) {
  Strip strip;
  for (int64_t k = 0; k < p.inner || k == 0; k += kDepth) {
    const int64_t depth = std::min(kDepth, p.inner - k);
    for (int64_t i = 0; i < depth; ++i) {
      float* target = strip.values.data() + i * kStrip;
      std::copy_n(b + (k + i) * p.columns + column, columns, target);
      std::fill(target + columns, target + kStrip, 0.0F);
    }
    for (int64_t row = first; row < end; row += kRows) {
      const int64_t rows = std::min<int64_t>(kRows, end - row);
      kMultiply[static_cast<size_t>(rows - 1)](strip, a + row * p.inner + k, p.inner, depth, k == 0,
                                               y + row * p.columns + column, p.columns, columns);
    }
  }
}

}  // namespace

std::unique_ptr<Kernel> matmul_cpu() {
  return function_kernel([](const Context& context, const Bindings& bindings) {
    const MatMulProblem p = MatMul::problem(bindings.inputs[0].shape(), bindings.inputs[1].shape());
    const int64_t strips = ceil_div(p.columns, kStrip);
    const int64_t parts = ceil_div(p.rows, kTaskRows);
    // A thread should have some 100,000 multiply-adds to do.
    const int64_t grain = 100'000 / ((p.inner + 1) * kStrip * std::min(p.rows, kTaskRows) + 1) + 1;
    context.parallel_for(p.batches * strips * parts, grain, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t batch = task / parts / strips;
        const int64_t row = batch / p.batch.row_length();
        const auto matrix = [&](size_t input) {
          return p.batch.row_offset(input, row) + (p.batch.varies(input) ? batch % p.batch.row_length() : 0);
        };
        const int64_t first = task % parts * kTaskRows;
        const int64_t column = task / parts % strips * kStrip;
        multiply_strip(p, bindings.inputs[0].ptr<const float>() + matrix(0) * p.rows * p.inner,
                       bindings.inputs[1].ptr<const float>() + matrix(1) * p.inner * p.columns,
                       bindings.outputs[0].ptr<float>() + batch * p.rows * p.columns, first,
                       std::min(p.rows, first + kTaskRows), column, std::min<int64_t>(kStrip, p.columns - column));
      }
    });
  });
}

}  // namespace strand::layers
