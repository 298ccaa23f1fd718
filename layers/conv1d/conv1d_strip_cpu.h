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
// it.
struct Last {
  const float* bias = nullptr;      // [Rows]
  RowSpan<const float> residual{};  // what is Added, or null
  const float* factors = nullptr;   // [Rows], and
  const float* shifts = nullptr;    // [Rows], for Added::kMixed
  const float* slopes = nullptr;    // [Rows], of the negative results, for Bend::kLeaky
};

// To the sums and their bias: a residual, or what one row of it makes of all: factor * residual + shift.
enum class Added : uint8_t { kNothing, kResidual, kMixed };

// Where the results meet a function at once: those that cost no more than a pass over the results would.
enum class Bend : uint8_t { kNone, kRelu, kLeaky };

// Relu and LeakyRelu of functions.h.
template <Bend Bent, class Packet>
[[gnu::always_inline]] inline Packet bent(const Packet& x, const Packet& slope) {
  using Eigen::internal::pcmp_lt, Eigen::internal::pmul, Eigen::internal::pselect, Eigen::internal::pset1;
  const Packet zero = pset1<Packet>(0.0F);
  if constexpr (Bent == Bend::kRelu) return pselect(pcmp_lt(x, zero), zero, x);
  if constexpr (Bent == Bend::kLeaky) return pselect(pcmp_lt(zero, x), x, pmul(x, slope));
  return x;
}

// Outputs [Rows, count] of a strip Width wide, begun, or added to what is there. `weights`: from the first channel and
// tap, [channels, K, Rows]; `weight_stride`: floats a channel. Branches after the sums would make GCC spill them.
template <int Rows, int Width, bool Begin, Added Add, Bend Bent>
[[gnu::always_inline]] inline void strip(const Operands& in, int64_t t, const float* weights, int64_t weight_stride,
                                         const Last& last, const RowSpan<float>& to, int64_t count) {
  using Packet = typename Eigen::internal::find_best_packet<float, Width>::type;
  using Eigen::internal::padd, Eigen::internal::ploadu, Eigen::internal::pset1, Eigen::internal::pstoreu;
  constexpr int kLanes = Eigen::internal::unpacket_traits<Packet>::size;
  constexpr int kPackets = Width / kLanes;
  const bool cut = Width == kNarrow && count < Width;  // rows end before the strip does
  std::array<float, kNarrow> edge{};
  const auto readable = [&](const float* row) { return cut ? std::copy_n(row, count, edge.data()) - count : row; };
  Packet sums[Rows][kPackets];
  for (int r = 0; r < Rows; ++r) {
    const float* y = Begin ? nullptr : readable(to.data + r * to.stride + t);
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
    const Packet bias = pset1<Packet>(last.bias[r]);
    const Packet slope = pset1<Packet>(Bent == Bend::kLeaky ? last.slopes[r] : 0.0F);
    const Packet factor = pset1<Packet>(Add == Added::kMixed ? last.factors[r] : 0.0F);
    const Packet shift = pset1<Packet>(Add == Added::kMixed ? last.shifts[r] : 0.0F);
    const float* residual =
        Add == Added::kNothing ? nullptr : readable(last.residual.data + r * last.residual.stride + t);
    for (int i = 0; i < kPackets; ++i) {
      sums[r][i] = padd(sums[r][i], bias);
      if constexpr (Add != Added::kNothing) {
        Packet added = ploadu<Packet>(residual + i * kLanes);
        if constexpr (Add == Added::kMixed) {  // with the bits that it has as a sum of its own
          added = padd(multiply_add(factor, added, pset1<Packet>(0.0F)), shift);
        }
        sums[r][i] = padd(sums[r][i], added);
      }
      sums[r][i] = bent<Bent>(sums[r][i], slope);
    }
    float* const y = to.data + r * to.stride + t;
    float* const target = cut ? edge.data() : y;
    for (int i = 0; i < kPackets; ++i) pstoreu(target + i * kLanes, sums[r][i]);
    if (cut) std::copy_n(target, count, y);
  }
}

// Few rows take wide strips: eight independent sums or more hide the latency of a multiply-add.
template <int Rows, bool Begin, Added Add, Bend Bent>
void strips(const Operands& given, const float* weights, int64_t weight_stride, const Last& ending,
            const RowSpan<float>& target, int64_t count) {
  const Operands in = given;  // copies that no store can change
  const Last last = ending;
  const RowSpan<float> to = target;
  constexpr int kWidth = Rows == 1 ? 64 : Rows <= 3 ? 32 : 16;
  int64_t t = 0;
  for (; t + kWidth <= count; t += kWidth) {
    strip<Rows, kWidth, Begin, Add, Bent>(in, t, weights, weight_stride, last, to, kWidth);
  }
  for (; t < count; t += kNarrow) {
    strip<Rows, kNarrow, Begin, Add, Bent>(in, t, weights, weight_stride, last, to, std::min(kNarrow, count - t));
  }
}

using Strips = decltype(&strips<1, true, Added::kNothing, Bend::kNone>);

// By rows - 1.
template <bool Begin, Added Add, Bend Bent>
constexpr std::array<Strips, kRows> kStripsOf = {strips<1, Begin, Add, Bent>, strips<2, Begin, Add, Bent>,
                                                 strips<3, Begin, Add, Bent>, strips<4, Begin, Add, Bent>,
                                                 strips<5, Begin, Add, Bent>, strips<6, Begin, Add, Bent>};

// All products at once.
template <Added Add>
constexpr std::array kWholeStrips = {kStripsOf<true, Add, Bend::kNone>, kStripsOf<true, Add, Bend::kRelu>,
                                     kStripsOf<true, Add, Bend::kLeaky>};
inline Strips whole_strips(int64_t rows, Added added, Bend bend) {
  constexpr std::array kAll = {kWholeStrips<Added::kNothing>, kWholeStrips<Added::kResidual>,
                               kWholeStrips<Added::kMixed>};
  return kAll[static_cast<size_t>(added)][static_cast<size_t>(bend)][static_cast<size_t>(rows - 1)];
}

// Some of the products: the first, to which nothing is added yet, or more of them.
inline Strips part_strips(int64_t rows, bool begins, Added added) {
  constexpr std::array kMore = {kStripsOf<false, Added::kNothing, Bend::kNone>,
                                kStripsOf<false, Added::kResidual, Bend::kNone>,
                                kStripsOf<false, Added::kMixed, Bend::kNone>};
  const auto& strips = begins ? kStripsOf<true, Added::kNothing, Bend::kNone> : kMore[static_cast<size_t>(added)];
  return strips[static_cast<size_t>(rows - 1)];
}

}  // namespace strand::layers
