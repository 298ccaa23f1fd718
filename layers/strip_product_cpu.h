#pragma once
// A product of two matrices on the CPU, a strip of 16 columns for some rows at a time: what MatMul and attention share.
// 256 rows of b's strip are copied to the stack, zeros beyond its last column, and up to six rows of a meet them, so
// that 12 vector accumulators stay in registers. An output's sum runs over k in order, whatever its place or strip.
// Functions without state; not installed.

#include <Eigen/Core>

#include <algorithm>
#include <array>
#include <cstdint>

#include "layers/packets_cpu.h"

namespace strand::layers {

constexpr int kStrip = 16;

// y[i, j] = sum over k of a[i, k] * b[k, j]; elements of a row of a, and of y, lie side by side.
struct StripProduct {
  const float* a;
  int64_t a_row;
  const float* b;
  int64_t b_row;
  int64_t b_column;
  float* y;
  int64_t y_row;
  int64_t inner;
};

namespace strip_product {

constexpr int kRows = 6;
constexpr int64_t kDepth = 256;

using Packet = Eigen::internal::find_best_packet<float, kStrip>::type;
constexpr int kLanes = Eigen::internal::unpacket_traits<Packet>::size;
constexpr int kPackets = kStrip / kLanes;

struct Strip {
  alignas(64) std::array<float, kDepth * kStrip> values;
};

// y[r, 0 .. columns) for Rows rows: `depth` terms on top of what it holds, or of 0 at the begin.
template <int Rows>
void multiply(const Strip& strip, const float* a, int64_t a_row, int64_t depth, bool begins, float* y, int64_t y_row,
              int64_t columns) {
  using Eigen::internal::ploadu, Eigen::internal::pset1, Eigen::internal::pstoreu;
  Packet sums[Rows][kPackets];
  std::array<float, kStrip> values{};
  for (int r = 0; r < Rows; ++r) {
    if (!begins) std::copy_n(y + r * y_row, columns, values.data());
    for (int p = 0; p < kPackets; ++p) sums[r][p] = ploadu<Packet>(values.data() + p * kLanes);
  }
  for (int64_t k = 0; k < depth; ++k) {
    Packet factors[kPackets];
    for (int p = 0; p < kPackets; ++p) factors[p] = ploadu<Packet>(strip.values.data() + k * kStrip + p * kLanes);
    for (int r = 0; r < Rows; ++r) {
      const Packet factor = pset1<Packet>(a[r * a_row + k]);
      for (int p = 0; p < kPackets; ++p) sums[r][p] = multiply_add(factor, factors[p], sums[r][p]);
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int p = 0; p < kPackets; ++p) pstoreu(values.data() + p * kLanes, sums[r][p]);
    std::copy_n(values.data(), columns, y + r * y_row);
  }
}

using Multiply = decltype(&multiply<1>);
constexpr std::array<Multiply, kRows> kMultiply = {multiply<1>, multiply<2>, multiply<3>,
                                                   multiply<4>, multiply<5>, multiply<6>};

// Row `k` of b's strip.
inline void copy_row(const StripProduct& p, int64_t k, int64_t column, int64_t columns, float* target) {
  const float* source = p.b + k * p.b_row + column * p.b_column;
  if (p.b_column == 1) {
    std::copy_n(source, columns, target);
  } else {
    for (int64_t j = 0; j < columns; ++j) target[j] = source[j * p.b_column];
  }
  std::fill(target + columns, target + kStrip, 0.0F);
}

}  // namespace strip_product

// Rows [first, end) of y's columns [column, column + columns), at most kStrip of them.
inline void multiply_strip(const StripProduct& p, int64_t first, int64_t end, int64_t column, int64_t columns) {
  using namespace strip_product;
  Strip strip;
  for (int64_t k = 0; k < p.inner || k == 0; k += kDepth) {
    const int64_t depth = std::min(kDepth, p.inner - k);
    for (int64_t i = 0; i < depth; ++i) copy_row(p, k + i, column, columns, strip.values.data() + i * kStrip);
    for (int64_t row = first; row < end; row += kRows) {
      const int64_t rows = std::min<int64_t>(kRows, end - row);
      kMultiply[static_cast<size_t>(rows - 1)](strip, p.a + row * p.a_row + k, p.a_row, depth, k == 0,
                                               p.y + row * p.y_row + column, p.y_row, columns);
    }
  }
}

}  // namespace strand::layers
