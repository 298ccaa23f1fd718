// ConvTranspose1d on the CPU: each phase is a convolution of stride 1, so vectors run over the times of one phase.
//
// A block of positions of all channels is copied to the workspace with zeros around the signal, whence every tap reads
// at unit stride without a case for the ends. An item is a block of output rows and a chunk of positions; all channels
// and taps of a phase pass while its sums are held in registers, and are stored `stride` apart.
//
// Every output is a sequential sum in the order (channel, tap) in a lane of its own: the same bits wherever it lies.
// Weights with an Inf or NaN would make NaN of the zeros around the signal: outputs near the ends are then made again.

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <vector>

#include "engine/checked.h"
#include "layers/conv_transpose1d/conv_transpose1d.h"
#include "layers/implementation_list.h"
#include "layers/packets_cpu.h"

namespace strand::layers {
namespace {

constexpr int64_t kRows = 6;                  // output channels a block; 6 x 16 floats fill 12 of AVX2's 16 registers
constexpr int64_t kWidest = 64;               // positions a strip, and a chunk
constexpr int64_t kBlockFloats = 256 * 1024;  // 1 MB of input at a time

// What a strip of one phase is summed from.
struct Operands {
  const float* x;  // [channels, channel_stride], where the first tap of the first position reads
  int64_t channel_stride;
  int64_t channels;
  int64_t taps;
  int64_t tap_stride;   // how much earlier the next tap reads
  const float* weight;  // [channels, taps, Rows]
};

// Where the sums of a strip go: lane i of row r to y[r * row_stride + i * step], for lanes [begin, end).
struct Target {
  float* y;
  int64_t row_stride;
  int64_t step;
  int64_t begin;
  int64_t end;
};

template <int Rows, int Width>
void strip(const Operands& in, const float* bias, const Target& out) {
  using Packet = typename Eigen::internal::find_best_packet<float, Width>::type;
  using Eigen::internal::ploadu, Eigen::internal::pset1, Eigen::internal::pstoreu;
  constexpr int kLanes = Eigen::internal::unpacket_traits<Packet>::size;
  constexpr int kPackets = Width / kLanes;
  Packet sums[Rows][kPackets];
  for (auto& row : sums) std::fill_n(row, kPackets, pset1<Packet>(0.0F));
  const float* weight = in.weight;
  for (int64_t c = 0; c < in.channels; ++c) {
    const float* x = in.x + c * in.channel_stride;
    for (int64_t k = 0; k < in.taps; ++k, x -= in.tap_stride, weight += Rows) {
      Packet operand[kPackets];
      for (int i = 0; i < kPackets; ++i) operand[i] = ploadu<Packet>(x + i * kLanes);
      for (int r = 0; r < Rows; ++r) {
        const Packet factor = pset1<Packet>(weight[r]);
        for (int i = 0; i < kPackets; ++i) sums[r][i] = multiply_add(factor, operand[i], sums[r][i]);
      }
    }
  }
  alignas(64) std::array<float, Width> row;
  for (int r = 0; r < Rows; ++r) {
    const Packet last = pset1<Packet>(bias == nullptr ? 0.0F : bias[r]);
    for (int i = 0; i < kPackets; ++i) {
      pstoreu(row.data() + i * kLanes, Eigen::internal::padd(sums[r][i], last));
    }
    float* y = out.y + r * out.row_stride;
    for (int64_t i = out.begin; i < out.end; ++i) y[i * out.step] = row[static_cast<size_t>(i)];
  }
}

// Few rows take wide strips: eight independent sums or more hide the latency of a multiply-add.
constexpr int64_t width_of(int64_t rows) { return rows == 1 ? 64 : rows <= 3 ? 32 : 16; }

void any_strip(int64_t rows, const Operands& in, const float* bias, const Target& out) {
  constexpr std::array kByRows = {strip<1, width_of(1)>, strip<2, width_of(2)>, strip<3, width_of(3)>,
                                  strip<4, width_of(4)>, strip<5, width_of(5)>, strip<6, width_of(6)>};
  kByRows[static_cast<size_t>(rows - 1)](in, bias, out);
}

class ConvTransposeCpu final : public Kernel {
 public:
  ConvTransposeCpu(const ConvTransposeProblem& problem, const PrepareArgs& args)
      : problem_(problem), common_(problem), bias_(problem.has_bias ? args.weights.floats("bias") : nullptr) {
    for (int64_t phase = 0; phase < problem.stride; ++phase) phases_.push_back(common_.at(problem, phase));
    const std::span<const float> weight = args.weights.host("weight");
    finite_ = all_finite(weight);
    weight_ = args.weights.pack("weight.cpu.phases6", static_cast<int64_t>(weight.size_bytes()),
                                [&](std::byte* target) { pack(weight, reinterpret_cast<float*>(target)); });
    history_ = problem.reach() / problem.stride;
    const int64_t longest = round_up(std::max(kBlockFloats / problem.in_channels, history_) + 1, kWidest);
    block_ = std::min(longest, round_up(problem.positions() + 1, kWidest));
    width_ = checked_add(history_, block_);
  }

  int64_t workspace_bytes() const override {
    return checked_mul(problem_.in_channels, width_) * static_cast<int64_t>(sizeof(float));
  }

  void run(const Context& context, const Bindings& bindings) const override {
    const ConvTransposeProblem p = stretch_of(problem_, bindings);
    const auto* x = bindings.inputs[0].ptr<const float>();  // [N, C_in, L]
    auto* y = bindings.outputs[0].ptr<float>();             // [N, C_out, L_out]
    auto* block = reinterpret_cast<float*>(bindings.workspace);
    if (p.out_length == 0) return;
    for (int64_t n = 0; n < p.batch; ++n) {
      const int64_t end = p.first_position() + p.positions();
      for (int64_t m = p.first_position(); m < end; m += block_) {
        fill(context, p, x + n * p.in_channels * p.length, m, block);
        compute(context, p, block, m, std::min(block_, end - m), y + n * p.out_channels * p.out_length);
      }
    }
    if (!finite_) recompute_ends(context, p, x, y);
  }

 private:
  const float* weight() const { return reinterpret_cast<const float*>(weight_->data()); }
  const float* bias(int64_t channel) const {
    return bias_ == nullptr ? nullptr : reinterpret_cast<const float*>(bias_->data()) + channel;
  }

  // [C_in, C_out / groups, K] -> by group and block of kRows outputs: by phase [C_in / groups, taps, rows].
  void pack(std::span<const float> source, float* target) const {
    const ConvTransposeProblem& p = problem_;
    for (int64_t channel = 0; channel < p.out_channels;) {
      const int64_t first = channel % p.group_out();
      const int64_t rows = std::min(kRows, p.group_out() - first);
      const int64_t group = channel / p.group_out();
      for (int64_t phase = 0; phase < p.stride; ++phase) {
        const TransposePhase taps = common_.at(p, phase);
        for (int64_t c = group * p.group_in(); c < (group + 1) * p.group_in(); ++c) {
          for (int64_t j = 0; j < taps.taps; ++j) {
            for (int64_t r = first; r < first + rows; ++r) {
              const int64_t tap = taps.first_tap + j * common_.tap_step;
              *target++ = source[static_cast<size_t>((c * p.group_out() + r) * p.kernel_size + tap)];
            }
          }
        }
      }
      channel += rows;
    }
  }

  // block [C_in, width_]: x at positions m - history_ to m + block_, zeros outside of it.
  void fill(const Context& context, const ConvTransposeProblem& p, const float* x, int64_t m, float* block) const {
    const int64_t first = m - history_;
    const int64_t begin = std::clamp<int64_t>(first, 0, p.length);
    const int64_t end = std::clamp(first + width_, begin, p.length);
    context.parallel_for(p.in_channels, kGrain / (width_ + 1) + 1, [&](int64_t from, int64_t to) {
      for (int64_t c = from; c < to; ++c) {
        float* row = block + c * width_;
        std::fill_n(row, begin - first, 0.0F);
        std::copy_n(x + c * p.length + begin, end - begin, row + begin - first);
        std::fill(row + end - first, row + width_, 0.0F);
      }
    });
  }

  // Outputs of positions [m, m + count) of one batch element.
  void compute(const Context& context, const ConvTransposeProblem& p, const float* block, int64_t m, int64_t count,
               float* y) const {
    const int64_t row_blocks = ceil_div(p.group_out(), kRows);
    const int64_t chunks = ceil_div(count, kWidest);
    context.parallel_for(p.groups * row_blocks * chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t chunk = item % chunks * kWidest;
        const int64_t group = item / chunks / row_blocks;
        const int64_t first = item / chunks % row_blocks * kRows;
        const int64_t rows = std::min(kRows, p.group_out() - first);
        rows_of(p, block + group * p.group_in() * width_, group * p.group_out() + first, rows, m, chunk,
                std::min(kWidest, count - chunk), y);
      }
    });
  }

  void rows_of(const ConvTransposeProblem& p, const float* block, int64_t channel, int64_t rows, int64_t m,
               int64_t chunk, int64_t count, float* y) const {
    const float* packed = weight() + channel * p.group_in() * p.kernel_size;
    const int64_t width = width_of(rows);
    for (int64_t phase = 0; phase < p.stride; ++phase) {
      const TransposePhase& taps = phases_[static_cast<size_t>(phase)];
      const float* x = block + history_ - taps.shift + chunk;
      for (int64_t i = 0; i < count; i += width) {
        const int64_t t = (m + chunk + i) * p.stride + phase - p.offset;  // of the first lane
        const int64_t begin = t < 0 ? ceil_div(-t, p.stride) : 0;
        const int64_t end = std::min({width, count - i, ceil_div(p.out_length - t, p.stride)});
        if (begin >= end) continue;
        any_strip(rows, {x + i, width_, p.group_in(), taps.taps, common_.shift_step, packed}, bias(channel),
                  {y + channel * p.out_length + t, p.out_length, p.stride, begin, end});
      }
      packed += p.group_in() * taps.taps * rows;
    }
  }

  // Outputs that some tap reaches past an end for, without the products that are not in the formula.
  void recompute_ends(const Context& context, const ConvTransposeProblem& p, const float* x, float* y) const {
    context.parallel_for(p.batch * p.out_channels, 1, [&](int64_t from, int64_t to) {
      for (int64_t row = from; row < to; ++row) {
        for (int64_t t = 0; t < p.out_length; ++t) {
          const int64_t m = floor_div(t + p.offset, p.stride);
          if (m < history_ || m >= p.length) y[row * p.out_length + t] = one_output(p, x, row, t);
        }
      }
    });
  }

  float one_output(const ConvTransposeProblem& p, const float* x, int64_t row, int64_t t) const {
    const int64_t channel = row % p.out_channels;
    const int64_t group = channel / p.group_out();
    const int64_t r = channel % p.group_out() % kRows;
    const int64_t rows = std::min(kRows, p.group_out() - (channel % p.group_out() - r));
    const float* packed = weight() + (channel - r) * p.group_in() * p.kernel_size + r;
    const int64_t m = floor_div(t + p.offset, p.stride);
    const int64_t phase = t + p.offset - m * p.stride;
    for (int64_t i = 0; i < phase; ++i) packed += p.group_in() * phases_[static_cast<size_t>(i)].taps * rows;
    const TransposePhase& taps = phases_[static_cast<size_t>(phase)];
    const float* first = x + (row / p.out_channels * p.in_channels + group * p.group_in()) * p.length;
    float sum = 0;
    for (int64_t c = 0; c < p.group_in(); ++c) {
      for (int64_t j = 0; j < taps.taps; ++j, packed += rows) {
        const int64_t at = m - taps.shift - j * common_.shift_step;
        if (at >= 0 && at < p.length) sum = multiply_add(*packed, first[c * p.length + at], sum);
      }
    }
    return sum + (bias_ == nullptr ? 0.0F : *bias(channel));
  }

  ConvTransposeProblem problem_;
  TransposePhases common_;
  std::vector<TransposePhase> phases_;
  std::shared_ptr<const Buffer> weight_;
  std::shared_ptr<const Buffer> bias_;
  bool finite_ = true;
  int64_t history_ = 0;  // how many positions before its own an output needs
  int64_t block_ = 0;    // positions at a time
  int64_t width_ = 0;    // of a row of the workspace
};

}  // namespace

std::unique_ptr<Kernel> conv_transpose1d_cpu(const ConvTransposeProblem& problem, const PrepareArgs& args) {
  return std::make_unique<ConvTransposeCpu>(problem, args);
}

}  // namespace strand::layers
