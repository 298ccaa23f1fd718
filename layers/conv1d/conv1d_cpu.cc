// cpu.eigen: kernel_size shifted products, without unfolding the input.
//
// A work item is a tile of positions of one batch element and group. A few channels at a time, the tile's input is laid
// into a buffer that stays in the first-level cache, so that each tap reads it at unit stride: one segment a stride
// phase (a sample is copied once, whatever kernel_size), or one a tap where taps lie farther apart than a tile. Padding
// is resolved there and nowhere else. A block of output rows is then held in registers while all channels and taps
// pass.
//
// Every output is a sequential sum in the order (tap chunk, channel, tap) that the problem alone decides, in a lane of
// its own: the same bits wherever it lies in a tile, and for any number of threads. Lanes past the end are not stored.
//
// An epilogue is applied to each tile while it is in the cache. For a gate the rows are packed so that a block holds
// both halves of the same channels, and their sums stay in a second buffer.

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_cpu_tiling.h"
#include "layers/epilogue_cpu.h"
#include "layers/packets_cpu.h"

namespace strand::layers {
namespace {

constexpr int64_t kGateFloats = 12288;  // for the sums of gates: 48 KB more
constexpr int64_t kRows = 6;            // output channels a block; 6 x 16 floats fill 12 of AVX2's 16 registers
constexpr int64_t kNarrow = 8;          // positions a strip at a tile's end
// Up to as many outputs a group, or floats of input (a stream's window, near the core anyway), copying the input costs
// more than it saves.
constexpr int64_t kDirectRows = 4;
constexpr int64_t kDirectFloats = 65536;

struct Conv {
  Conv1dProblem problem;
  Tiling tiling;
  std::shared_ptr<const Buffer> weight;        // by group and block of kRows outputs: [C_in / groups, K, rows]
  std::shared_ptr<const Buffer> bias;          // [C_out] in the order of weight's rows, or null
  std::shared_ptr<const Buffer> coefficients;  // [2, channels] of the epilogue, or null
};

// What one run computes: a stretch of the signal, or all of it.
struct Stretch {
  const Conv1dProblem& problem;
  int64_t length;    // of the input
  int64_t pad_left;  // from the stretch's own start
  int64_t out_length;
  const Tiling& tiling;
  const float* weight;
  const float* bias;
  const float* coefficients;
  const float* residual;
  int64_t x_row;  // floats from a channel to the next
  int64_t y_row;
  int64_t residual_row;
};

// Where sums go: rows [first_row, first_row + rows) of a group, for the positions of one tile.
struct Target {
  float* y;
  int64_t stride;
  int64_t first_row;
  int64_t rows;
};

// The part of the input that a chunk of taps and `channels` channels need for `count` positions from `first`.
void fill(const Stretch& conv, const TapChunk& chunk, const float* x, int64_t channels, int64_t first, int64_t count,
          float* buffer) {
  const Conv1dProblem& p = conv.problem;
  for (int64_t c = 0; c < channels; ++c, x += conv.x_row) {
    for (const Segment& segment : chunk.segments) {
      float* target = buffer + c * chunk.width + segment.base;
      const int64_t needed = segment.count - conv.tiling.positions + count;
      const int64_t begin = first * p.stride - conv.pad_left + segment.start;
      const bool inside = begin >= 0 && begin + (needed - 1) * p.stride < conv.length;
      if (inside && p.stride == 1) {
        std::memcpy(target, x + begin, static_cast<size_t>(needed) * sizeof(float));
      } else if (inside) {
        using Strided = Eigen::Map<const Eigen::ArrayXf, 0, Eigen::InnerStride<>>;
        Eigen::Map<Eigen::ArrayXf>(target, needed) = Strided(x + begin, needed, Eigen::InnerStride<>(p.stride));
      } else {
        for (int64_t i = 0; i < needed; ++i) {
          const int64_t at = source_index(begin + i * p.stride, conv.length, p.padding_mode);
          target[i] = at < 0 ? 0.0F : x[at];
        }
      }
      std::fill(target + needed, target + segment.count, 0.0F);
    }
  }
}

// What a strip of outputs is summed from.
struct Operands {
  const float* x;          // first channel, first position of the strip
  int64_t channel_stride;  // floats
  int64_t channels;
  const int64_t* offsets;  // [taps]
  int64_t taps;
};

// Outputs [Rows, count] of a strip Width wide, begun, or added to what is there. The bias (or null) comes with the last
// products, at the end: small products added to a large bias one by one would lose themselves in it. `weights`: from
// the first channel and tap, [channels, K, Rows]; `weight_stride`: floats a channel.
template <int Rows, int Width, bool Begin>
void strip(const Operands& in, int64_t t, const float* weights, int64_t weight_stride, const float* bias, float* y,
           int64_t y_stride, int64_t count) {
  using Packet = typename Eigen::internal::find_best_packet<float, Width>::type;
  using Eigen::internal::ploadu, Eigen::internal::pset1, Eigen::internal::pstoreu;
  constexpr int kLanes = Eigen::internal::unpacket_traits<Packet>::size;
  constexpr int kPackets = Width / kLanes;
  const bool cut = Width == kNarrow && count < Width;  // rows end before the strip does
  Packet sums[Rows][kPackets];
  std::array<float, kNarrow> edge{};
  for (int r = 0; r < Rows; ++r) {
    const float* source = y + r * y_stride;
    if (!Begin && cut) source = std::copy_n(source, count, edge.data()) - count;
    for (int i = 0; i < kPackets; ++i) sums[r][i] = Begin ? pset1<Packet>(0.0F) : ploadu<Packet>(source + i * kLanes);
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
    float* target = cut ? edge.data() : y + r * y_stride;
    const Packet last = pset1<Packet>(bias == nullptr ? 0.0F : bias[r]);
    for (int i = 0; i < kPackets; ++i) pstoreu(target + i * kLanes, Eigen::internal::padd(sums[r][i], last));
    if (cut) std::copy_n(target, count, y + r * y_stride);
  }
}

// Few rows take wide strips: eight independent sums or more hide the latency of a multiply-add.
template <int Rows, bool Begin>
void strips(const Operands& in, const float* weights, int64_t weight_stride, const float* bias, float* y,
            int64_t y_stride, int64_t count) {
  constexpr int kWidth = Rows == 1 ? 64 : Rows <= 3 ? 32 : 16;
  int64_t t = 0;
  for (; t + kWidth <= count; t += kWidth) {
    strip<Rows, kWidth, Begin>(in, t, weights, weight_stride, bias, y + t, y_stride, kWidth);
  }
  for (; t < count; t += kNarrow) {
    strip<Rows, kNarrow, Begin>(in, t, weights, weight_stride, bias, y + t, y_stride, std::min(kNarrow, count - t));
  }
}

constexpr std::array kBegin = {strips<1, true>, strips<2, true>, strips<3, true>,
                               strips<4, true>, strips<5, true>, strips<6, true>};
constexpr std::array kContinue = {strips<1, false>, strips<2, false>, strips<3, false>,
                                  strips<4, false>, strips<5, false>, strips<6, false>};

// The target's rows of a group for `count` positions, from the channels and taps in `in`; `skipped` (channel, tap)
// pairs of the group's weights come before these.
void all_rows(const Stretch& conv, int64_t group, const Operands& in, int64_t skipped, const Target& to,
              int64_t count) {
  const Conv1dProblem& p = conv.problem;
  const int64_t group_out = p.group_out();
  const int64_t reduction = p.reduction();
  const bool last = conv.bias != nullptr && skipped + in.channels * in.taps == reduction;
  for (int64_t o = to.first_row; o < to.first_row + to.rows; o += kRows) {
    const int64_t rows = std::min(kRows, group_out - o);
    const int64_t channel = group * group_out + o;
    const auto& kernels = skipped == 0 ? kBegin : kContinue;
    kernels[static_cast<size_t>(rows - 1)](in, conv.weight + channel * reduction + skipped * rows, p.kernel_size * rows,
                                           last ? conv.bias + channel : nullptr, to.y + (o - to.first_row) * to.stride,
                                           to.stride, count);
  }
}

// Whether a tile may be read where it lies: at unit stride, away from the ends, lanes past its last position included.
bool reads_direct(const Stretch& conv, int64_t first, int64_t count) {
  const Conv1dProblem& p = conv.problem;
  if (p.stride != 1 || conv.tiling.chunks.size() > 1) return false;
  if (p.group_out() > kDirectRows && p.group_in() * conv.length > kDirectFloats) return false;
  const int64_t begin = first - conv.pad_left;
  return begin >= 0 && begin + round_up(count, kNarrow) + p.dilation * (p.kernel_size - 1) <= conv.length;
}

// x: [C_in / groups, L] of one batch element and group.
void sum_tile(const Stretch& conv, int64_t group, const float* x, const Target& to, int64_t first, int64_t count,
              float* buffer) {
  const Conv1dProblem& p = conv.problem;
  const Tiling& tiling = conv.tiling;
  if (reads_direct(conv, first, count)) {
    all_rows(conv, group,
             {x + first - conv.pad_left, conv.x_row, p.group_in(), tiling.direct_offsets.data(), p.kernel_size}, 0, to,
             count);
    return;
  }
  for (const TapChunk& chunk : tiling.chunks) {
    const int64_t step = kBufferFloats / chunk.width;
    for (int64_t c = 0; c < p.group_in(); c += step) {
      const int64_t channels = std::min(step, p.group_in() - c);
      fill(conv, chunk, x + c * conv.x_row, channels, first, count, buffer);
      all_rows(conv, group, {buffer, chunk.width, channels, tiling.offsets.data() + chunk.first_tap, chunk.taps},
               c * p.kernel_size + chunk.first_tap, to, count);
    }
  }
}

// Applies what comes after sums and gates to `rows` rows of y from `row`, one of the group's first.
void finish_tile(const Stretch& conv, int64_t group, float* output, int64_t row, int64_t rows, int64_t first,
                 int64_t count) {
  const Epilogue& epilogue = conv.problem.epilogue;
  if (epilogue.none()) return;
  finish_rows(epilogue, conv.coefficients == nullptr ? nullptr : conv.coefficients + group * rows,
              conv.problem.result_channels(),
              {conv.residual == nullptr ? nullptr : conv.residual + row * conv.residual_row + first, conv.residual_row},
              {output + row * conv.y_row + first, conv.y_row}, rows, count);
}

// The positions of one tile of a batch element's group: `row` is the first of its rows of y, [N * channels, L_out].
void compute_tile(const Stretch& conv, int64_t group, const float* x, float* output, int64_t row, int64_t first,
                  float* buffer) {
  const int64_t rows = conv.problem.group_out();
  const int64_t count = std::min(conv.tiling.positions, conv.out_length - first);
  sum_tile(conv, group, x, {output + row * conv.y_row + first, conv.y_row, 0, rows}, first, count, buffer);
  finish_tile(conv, group, output, row, rows, first, count);
}

// The same for gates, of which there is one group. Not inlined: its sums would lengthen the stack of all.
[[gnu::noinline]] void compute_gated_tile(const Stretch& conv, const float* x, float* output, int64_t row,
                                          int64_t first, float* buffer) {
  const Conv1dProblem& p = conv.problem;
  const int64_t count = std::min(conv.tiling.positions, conv.out_length - first);
  alignas(64) std::array<float, kGateFloats> sums;
  const int64_t step = kGateFloats / conv.tiling.positions / kRows * kRows;
  for (int64_t done = 0; done < p.out_channels; done += step) {
    const int64_t rows = std::min(step, p.out_channels - done);
    sum_tile(conv, 0, x, {sums.data(), count, done, rows}, first, count, buffer);
    for (int64_t block = 0; block < rows; block += kRows) {
      const int64_t half = std::min(kRows, rows - block) / 2;
      for (int64_t r = 0; r < half; ++r) {
        const float* a = sums.data() + (block + r) * count;
        gate_row(p.epilogue, a, a + half * count, output + (row + (done + block) / 2 + r) * conv.y_row + first, count);
      }
    }
  }
  finish_tile(conv, 0, output, row, p.result_channels(), first, count);
}

void convolve(const Conv& prepared, const Context& context, const Bindings& bindings) {
  const auto floats = [](const std::shared_ptr<const Buffer>& buffer) {
    return buffer == nullptr ? nullptr : reinterpret_cast<const float*>(buffer->data());
  };
  const Conv1dProblem& p = prepared.problem;
  const bool has_residual = p.epilogue.residual != Epilogue::Residual::kNone;
  const int64_t length = bindings.inputs[0].shape()[2];
  const int64_t out_length = bindings.outputs[0].shape()[2];
  const std::span<const int64_t> rows = bindings.rows;
  const Stretch conv{p,
                     length,
                     p.pad_left + bindings.window.input - bindings.window.output * p.stride,
                     out_length,
                     prepared.tiling,
                     floats(prepared.weight),
                     floats(prepared.bias),
                     floats(prepared.coefficients),
                     has_residual ? bindings.inputs[1].ptr<const float>() : nullptr,
                     rows.empty() ? length : rows[0],
                     rows.empty() ? out_length : rows.back(),
                     rows.empty() || !has_residual ? out_length : rows[1]};
  const auto* input = bindings.inputs[0].ptr<const float>();  // [N, C_in, L]
  auto* output = bindings.outputs[0].ptr<float>();            // [N, C_out or half of it, L_out]
  // Short chunks are one tile, and spared the divisions.
  const bool one_tile = out_length <= conv.tiling.positions;
  const int64_t tiles = one_tile ? 1 : ceil_div(out_length, conv.tiling.positions);
  context.parallel_for(p.batch * p.groups * tiles, 1, [&](int64_t begin, int64_t end) {
    alignas(64) std::array<float, kBufferFloats> buffer;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t block = one_tile ? item : item / tiles;  // batch element and group
      const float* x = input + block * p.group_in() * conv.x_row;
      const int64_t first = (item - block * tiles) * conv.tiling.positions;
      if (p.epilogue.gated) {
        compute_gated_tile(conv, x, output, block * p.result_channels(), first, buffer.data());
      } else {
        const int64_t group = p.groups == 1 ? 0 : block % p.groups;
        compute_tile(conv, group, x, output, block * p.group_out(), first, buffer.data());
      }
    }
  });
}

class ConvKernel final : public Kernel {
 public:
  explicit ConvKernel(Conv conv) : conv_(std::move(conv)) {}
  bool takes_rows_apart() const override { return true; }
  void run(const Context& context, const Bindings& bindings) const override { convolve(conv_, context, bindings); }

 private:
  Conv conv_;
};

// The output channel that stands in packed row `row`: for gates a block is its channels' first halves, then the second.
int64_t channel_of(const Conv1dProblem& p, int64_t row) {
  if (!p.epilogue.gated) return row;
  const int64_t block = row / kRows * kRows;
  const int64_t half = std::min(kRows, p.out_channels - block) / 2;
  const int64_t channel = block / 2 + (row - block) % half;
  return row - block < half ? channel : p.out_channels / 2 + channel;
}

// [C_out, C_in / groups, K] -> by group and block of kRows outputs: [C_in / groups, K, rows].
void pack_weight(const Conv1dProblem& p, std::span<const float> weight, float* target) {
  for (int64_t group = 0; group < p.groups; ++group) {
    for (int64_t o = 0; o < p.group_out(); o += kRows) {
      const int64_t rows = std::min(kRows, p.group_out() - o);
      std::array<const float*, kRows> source{};
      for (int64_t r = 0; r < rows; ++r) {
        source[static_cast<size_t>(r)] = weight.data() + channel_of(p, group * p.group_out() + o + r) * p.reduction();
      }
      for (int64_t i = 0; i < p.reduction(); ++i) {
        for (int64_t r = 0; r < rows; ++r) *target++ = source[static_cast<size_t>(r)][i];
      }
    }
  }
}

}  // namespace

Implementation conv1d_eigen(const Conv1dProblem& problem, const PrepareArgs& args) {
  Implementation result{"cpu.eigen", DeviceType::kCpu, "", {}};
  if (args.inputs[0].dtype != DType::kFloat32) {
    result.declined = "computes in float32 only";
    return result;
  }
  if (problem.epilogue.gated && problem.groups > 1) {
    result.declined = "computes gates for one group only";
    return result;
  }
  result.prepare = [problem, &args]() -> std::unique_ptr<Kernel> {
    Conv conv{problem, best_tiling(problem), nullptr, nullptr, nullptr};
    const std::string order = problem.epilogue.gated ? ".gates" : "";
    const std::span<const float> weight = args.weights.host("weight");
    conv.weight =
        args.weights.pack("weight.cpu.rows6" + order, static_cast<int64_t>(weight.size_bytes()),
                          [&](std::byte* target) { pack_weight(problem, weight, reinterpret_cast<float*>(target)); });
    if (problem.has_bias) {
      const std::span<const float> bias = args.weights.host("bias");
      conv.bias =
          args.weights.pack("bias.cpu.rows6" + order, static_cast<int64_t>(bias.size_bytes()), [&](std::byte* target) {
            for (int64_t row = 0; row < problem.out_channels; ++row) {
              reinterpret_cast<float*>(target)[row] = bias[static_cast<size_t>(channel_of(problem, row))];
            }
          });
    }
    if (problem.epilogue.by_channel()) conv.coefficients = args.weights.floats("epilogue");
    return std::make_unique<ConvKernel>(std::move(conv));
  };
  return result;
}

}  // namespace strand::layers
