#pragma once
// The innermost product of cpu.eigen: a strip of positions for up to six output channels, whose sums stay in registers
// while all channels and taps pass. Each output is a sequential sum in a lane of its own, whatever its strip. For
// conv1d_cpu.cc only; functions without state.

#include <Eigen/Core>
#include <algorithm>
#include <array>

#include "layers/epilogue_cpu.h"
#include "layers/packets_cpu.h"

namespace strand::layers {

constexpr int64_t kRows = 6;    // output channels a block; 6 x 16 floats fill 12 of AVX2's 16 registers
constexpr int64_t kNarrow = 8;  // positions a strip at a tile's end

// What a strip of outputs is summed from.
struct Operands {
  const float* x;          // first channel, first position of the strip
  int64_t channel_stride;  // floats
  int64_t channels;
  const int64_t* offsets;  // [taps]
  int64_t taps;
};

// What comes with the last products, at the end: small ones added to a large bias one by one would lose themselves in
// it. Null where there is none.
struct Last {
  const float* bias = nullptr;  // [Rows]
  RowSpan<const float> residual;
};

// Outputs [Rows, count] of a strip Width wide, begun, or added to what is there. `weights`: from the first channel and
// tap, [channels, K, Rows]; `weight_stride`: floats a channel.
template <int Rows, int Width, bool Begin>
void strip(const Operands& in, int64_t t, const float* weights, int64_t weight_stride, const Last& last,
           const RowSpan<float>& to, int64_t count) {
  using Packet = typename Eigen::internal::find_best_packet<float, Width>::type;
  using Eigen::internal::padd, Eigen::internal::ploadu, Eigen::internal::pset1, Eigen::internal::pstoreu;
  constexpr int kLanes = Eigen::internal::unpacket_traits<Packet>::size;
  constexpr int kPackets = Width / kLanes;
  const bool cut = Width == kNarrow && count < Width;  // rows end before the strip does
  std::array<float, kNarrow> edge{};
  const auto readable = [&](const float* row) { return cut ? std::copy_n(row, count, edge.data()) - count : row; };
  Packet sums[Rows][kPackets];
  for (int r = 0; r < Rows; ++r) {
    const float* y = Begin ? nullptr : readable(to.from(r, t).data);
    for (int i = 0; i < kPackets; ++i) sums[r][i] = Begin ? pset1<Packet>(0.0F) : ploadu<Packet>(y + i * kLanes);
  }
  int64_t c = 0;
  do {  // there are a channel and a tap; GCC spills the sums where it can't see that
    const float* x = in.x + t + c * in.channel_stride;
    const float* weight = weights + c * weight_stride;
    int64_t k = 0;
    do {
      const float* shifted = x + in.offsets[k];
      // What there is less of is held in registers: 12 sums leave 4 of AVX2's.
      if constexpr (Rows < kPackets) {
        Packet factors[Rows];
        for (int r = 0; r < Rows; ++r) factors[r] = pset1<Packet>(weight[r]);
        for (int i = 0; i < kPackets; ++i) {
          const Packet operand = ploadu<Packet>(shifted + i * kLanes);
          for (int r = 0; r < Rows; ++r) sums[r][i] = multiply_add(factors[r], operand, sums[r][i]);
        }
      } else {
        Packet operands[kPackets];
        for (int i = 0; i < kPackets; ++i) operands[i] = ploadu<Packet>(shifted + i * kLanes);
        for (int r = 0; r < Rows; ++r) {
          const Packet factor = pset1<Packet>(weight[r]);
          for (int i = 0; i < kPackets; ++i) sums[r][i] = multiply_add(factor, operands[i], sums[r][i]);
        }
      }
      weight += Rows;
    } while (++k < in.taps);
  } while (++c < in.channels);
  for (int r = 0; r < Rows; ++r) {
    const Packet bias = pset1<Packet>(last.bias == nullptr ? 0.0F : last.bias[r]);
    for (int i = 0; i < kPackets; ++i) sums[r][i] = padd(sums[r][i], bias);
  }
  for (int r = 0; r < Rows && last.residual.data != nullptr; ++r) {
    const float* residual = readable(last.residual.from(r, t).data);
    for (int i = 0; i < kPackets; ++i) sums[r][i] = padd(sums[r][i], ploadu<Packet>(residual + i * kLanes));
  }
  for (int r = 0; r < Rows; ++r) {
    float* const y = to.from(r, t).data;
    float* const target = cut ? edge.data() : y;
    for (int i = 0; i < kPackets; ++i) pstoreu(target + i * kLanes, sums[r][i]);
    if (cut) std::copy_n(target, count, y);
  }
}

// Few rows take wide strips: eight independent sums or more hide the latency of a multiply-add.
template <int Rows, bool Begin>
void strips(const Operands& in, const float* weights, int64_t weight_stride, const Last& last, const RowSpan<float>& to,
            int64_t count) {
  constexpr int kWidth = Rows == 1 ? 64 : Rows <= 3 ? 32 : 16;
  int64_t t = 0;
  for (; t + kWidth <= count; t += kWidth) {
    strip<Rows, kWidth, Begin>(in, t, weights, weight_stride, last, to, kWidth);
  }
  for (; t < count; t += kNarrow) {
    strip<Rows, kNarrow, Begin>(in, t, weights, weight_stride, last, to, std::min(kNarrow, count - t));
  }
}

inline constexpr std::array kBegin = {strips<1, true>, strips<2, true>, strips<3, true>,
                                      strips<4, true>, strips<5, true>, strips<6, true>};
inline constexpr std::array kContinue = {strips<1, false>, strips<2, false>, strips<3, false>,
                                         strips<4, false>, strips<5, false>, strips<6, false>};

}  // namespace strand::layers
