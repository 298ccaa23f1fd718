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
#include <limits>
#include <type_traits>
#include <vector>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_cpu_tiling.h"
#include "layers/conv1d/conv1d_strip_cpu.h"

namespace strand::layers {
namespace {

constexpr int64_t kGateFloats = 12288;  // for the sums of gates: 48 KB more
// Up to as many outputs a group, or floats of input (a stream's window, near the core anyway), copying the input costs
// more than it saves.
constexpr int64_t kDirectRows = 4;
constexpr int64_t kDirectFloats = 65536;
constexpr std::array<float, kRows> kNoBias{};

// Up to kRows outputs of a group.
struct Block {
  const float* weight;  // [C_in / groups, K, rows]
  const float* bias;    // [rows]
  int64_t rows;
  Strips whole;  // all products at once, and what is done to their sums in registers
};

// What a run needs, the parts that a short one touches first.
struct Conv {
  // Of one tile that is read where it lies, in one batch element and group.
  int64_t short_outputs = -1;  // at most; -1: there is none such
  int64_t short_inputs = 0;    // at most
  int64_t pad_left = 0;
  int64_t reach = 0;  // from the first tap to the last
  const int64_t* offsets = nullptr;
  int64_t taps = 0;
  int64_t group_in = 0;
  int64_t group_out = 0;
  std::vector<Block> blocks;            // by group
  int64_t group_blocks = 0;             // in each
  const float* coefficients = nullptr;  // [2, channels] of the epilogue, or null
  bool has_residual = false;            // a second input
  bool adds_residual = false;           // with the sums; then `rest` is the epilogue without it
  Bend bend = Bend::kNone;              // the sums; then `rest` is the epilogue without its function
  bool finishes = false;                // `rest` does something
  bool direct = false;                  // the input may be read where it lies
  std::array<float, kRows> slope{};     // LeakyReLU's
  Epilogue rest;
  Conv1dProblem problem;
  Tiling tiling;
  std::vector<std::shared_ptr<const Buffer>> owners;

  const float* own(std::shared_ptr<const Buffer> buffer) {
    owners.push_back(std::move(buffer));
    return reinterpret_cast<const float*>(owners.back()->data());
  }
  // Of a block's first row, where negative results have one.
  const float* slopes(int64_t channel) const { return coefficients == nullptr ? slope.data() : coefficients + channel; }
};

// What one run computes: a stretch of the signal, or all of it.
struct Stretch {
  const Conv& conv;
  int64_t length;    // of the input
  int64_t pad_left;  // from the stretch's own start
  int64_t out_length;
  int64_t x_row;  // floats from a channel to the next
  RowSpan<float> y;
  RowSpan<const float> residual;  // of the epilogue, or null
};

// Where sums go: `rows` rows, from the first block's on, for the positions of one tile.
struct Target {
  RowSpan<float> y;
  const Block* first;
  int64_t rows;
  int64_t channel;                // of the first row
  RowSpan<const float> residual;  // added to the finished sums, or null
};

// The part of the input that a chunk of taps and `channels` channels need for `count` positions from `first`.
void fill(const Stretch& run, const TapChunk& chunk, const float* x, int64_t channels, int64_t first, int64_t count,
          float* buffer) {
  const Conv1dProblem& p = run.conv.problem;
  for (int64_t c = 0; c < channels; ++c, x += run.x_row) {
    for (const Segment& segment : chunk.segments) {
      float* target = buffer + c * chunk.width + segment.base;
      const int64_t needed = segment.count - run.conv.tiling.positions + count;
      const int64_t begin = first * p.stride - run.pad_left + segment.start;
      const bool inside = begin >= 0 && begin + (needed - 1) * p.stride < run.length;
      if (inside && p.stride == 1) {
        std::memcpy(target, x + begin, static_cast<size_t>(needed) * sizeof(float));
      } else if (inside) {
        using Strided = Eigen::Map<const Eigen::ArrayXf, 0, Eigen::InnerStride<>>;
        Eigen::Map<Eigen::ArrayXf>(target, needed) = Strided(x + begin, needed, Eigen::InnerStride<>(p.stride));
      } else {
        for (int64_t i = 0; i < needed; ++i) {
          const int64_t at = source_index(begin + i * p.stride, run.length, p.padding_mode);
          target[i] = at < 0 ? 0.0F : x[at];
        }
      }
      std::fill(target + needed, target + segment.count, 0.0F);
    }
  }
}

// The target's rows for `count` positions, of all products.
void whole_rows(const Conv& conv, const Operands& in, const Target& to, int64_t count) {
  const bool adds = to.residual.data != nullptr;
  const Block* block = to.first;
  for (int64_t row = 0; row < to.rows; row += kRows, ++block) {
    block->whole(in, block->weight, conv.problem.kernel_size * block->rows,
                 {block->bias, adds ? to.residual.from(row, 0) : RowSpan<const float>{}, conv.slopes(to.channel + row)},
                 to.y.from(row, 0), count);
  }
}

// From the channels and taps in `in`; `skipped` (channel, tap) pairs of the weights come before these; it `ends` with
// the last.
void all_rows(const Conv& conv, const Operands& in, int64_t skipped, bool ends, const Target& to, int64_t count) {
  if (skipped == 0 && ends) return whole_rows(conv, in, to, count);
  const bool adds = ends && to.residual.data != nullptr;
  const Block* block = to.first;
  for (int64_t row = 0; row < to.rows; row += kRows, ++block) {
    const Last last{ends ? block->bias : kNoBias.data(), adds ? to.residual.from(row, 0) : RowSpan<const float>{}};
    part_strips(block->rows, skipped == 0, adds)(in, block->weight + skipped * block->rows,
                                                 conv.problem.kernel_size * block->rows, last, to.y.from(row, 0),
                                                 count);
  }
}

// Whether a tile may be read where it lies: at unit stride, away from the ends, lanes past its last position included.
bool reads_direct(const Stretch& run, int64_t first, int64_t count) {
  const Conv& conv = run.conv;
  if (!conv.direct || (conv.group_out > kDirectRows && conv.group_in * run.length > kDirectFloats)) return false;
  const int64_t begin = first - run.pad_left;
  return begin >= 0 &&
         begin + (count + kNarrow - 1) / kNarrow * kNarrow + conv.tiling.direct_offsets.back() <= run.length;
}

// A tile that reads_direct.
void sum_direct(const Stretch& run, const float* x, const Target& to, int64_t first, int64_t count) {
  const Conv& conv = run.conv;
  const Operands in{x + first - run.pad_left, run.x_row, conv.group_in, conv.tiling.direct_offsets.data(),
                    conv.problem.kernel_size};
  whole_rows(conv, in, to, count);
}

// x: [C_in / groups, L] of one batch element and group.
void sum_tile(const Stretch& run, const float* x, const Target& to, int64_t first, int64_t count, float* buffer) {
  if (reads_direct(run, first, count)) return sum_direct(run, x, to, first, count);
  const Tiling& tiling = run.conv.tiling;
  for (const TapChunk& chunk : tiling.chunks) {
    const int64_t step = kBufferFloats / chunk.width;
    for (int64_t c = 0; c < run.conv.group_in; c += step) {
      const int64_t channels = std::min(step, run.conv.group_in - c);
      fill(run, chunk, x + c * run.x_row, channels, first, count, buffer);
      const bool ends = &chunk == &tiling.chunks.back() && c + channels == run.conv.group_in;
      all_rows(run.conv, {buffer, chunk.width, channels, tiling.offsets.data() + chunk.first_tap, chunk.taps},
               c * run.conv.problem.kernel_size + chunk.first_tap, ends, to, count);
    }
  }
}

// Applies what comes after sums and gates to `rows` rows of y from `row`, one of the group's first.
void finish_tile(const Stretch& run, int64_t group, int64_t row, int64_t rows, int64_t first, int64_t count) {
  if (!run.conv.finishes) return;
  const float* coefficients = run.conv.coefficients == nullptr ? nullptr : run.conv.coefficients + group * rows;
  RowSpan<const float> residual;
  if (run.residual.data != nullptr && !run.conv.adds_residual) residual = run.residual.from(row, first);
  finish_rows(run.conv.rest, coefficients, run.conv.problem.result_channels(), residual, run.y.from(row, first), rows,
              count);
}

// The positions of one tile of a batch element's group: `row` is the first of its rows of y, [N * channels, L_out].
void compute_tile(const Stretch& run, int64_t group, const float* x, int64_t row, int64_t first, float* buffer) {
  const int64_t rows = run.conv.group_out;
  const int64_t count = std::min(run.conv.tiling.positions, run.out_length - first);
  Target target{run.y.from(row, first), run.conv.blocks.data() + group * run.conv.group_blocks, rows, group * rows, {}};
  if (run.conv.adds_residual) target.residual = run.residual.from(row, first);
  sum_tile(run, x, target, first, count, buffer);
  finish_tile(run, group, row, rows, first, count);
}

// The same for gates, of which there is one group. Not inlined: its sums would lengthen the stack of all.
[[gnu::noinline]] void compute_gated_tile(const Stretch& run, const float* x, int64_t row, int64_t first,
                                          float* buffer) {
  const Conv1dProblem& p = run.conv.problem;
  const int64_t count = std::min(run.conv.tiling.positions, run.out_length - first);
  alignas(64) std::array<float, kGateFloats> sums;
  const int64_t step = kGateFloats / run.conv.tiling.positions / kRows * kRows;
  for (int64_t done = 0; done < p.out_channels; done += step) {
    const int64_t rows = std::min(step, p.out_channels - done);
    sum_tile(run, x, {{sums.data(), count}, run.conv.blocks.data() + done / kRows, rows, done, {}}, first, count,
             buffer);
    for (int64_t block = 0; block < rows; block += kRows) {
      const int64_t half = std::min(kRows, rows - block) / 2;
      for (int64_t r = 0; r < half; ++r) {
        const float* a = sums.data() + (block + r) * count;
        gate_row(p.epilogue, a, a + half * count, run.y.from(row + (done + block) / 2 + r, first).data, count);
      }
    }
  }
  finish_tile(run, 0, row, p.result_channels(), first, count);
}

void convolve(const Conv& conv, const Context& context, const Bindings& bindings) {
  const Conv1dProblem& p = conv.problem;
  const int64_t length = bindings.inputs[0].shape().sizes()[2];
  const int64_t out_length = bindings.outputs[0].shape().sizes()[2];
  const std::span<const int64_t> rows = bindings.rows;
  Stretch run{conv,
              length,
              p.pad_left + bindings.window.input - bindings.window.output * p.stride,
              out_length,
              rows.empty() ? length : rows[0],
              {bindings.outputs[0].ptr<float>(), rows.empty() ? out_length : rows.back()},  // [N, channels, L_out]
              {}};
  if (conv.has_residual) run.residual = {bindings.inputs[1].ptr<const float>(), rows.empty() ? out_length : rows[1]};
  const auto* input = bindings.inputs[0].ptr<const float>();  // [N, C_in, L]
  const bool one_tile = out_length <= conv.tiling.positions;
  const int64_t tiles = one_tile ? 1 : ceil_div(out_length, conv.tiling.positions);
  context.parallel_for(p.batch * p.groups * tiles, 1, [&](int64_t begin, int64_t end) {
    alignas(64) std::array<float, kBufferFloats> buffer;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t block = one_tile ? item : item / tiles;  // batch element and group
      const float* x = input + block * conv.group_in * run.x_row;
      const int64_t first = (item - block * tiles) * conv.tiling.positions;
      if (p.epilogue.gated) {
        compute_gated_tile(run, x, block * p.result_channels(), first, buffer.data());
      } else {
        const int64_t group = p.groups == 1 ? 0 : block % p.groups;
        compute_tile(run, group, x, block * conv.group_out, first, buffer.data());
      }
    }
  });
}

// Short chunks are spared the divisions, the threads and the buffer, and everything else that takes as long as their
// sums do.
bool convolve_short(const Conv& conv, const Bindings& bindings) {
  const TensorView& input = bindings.inputs[0];
  const TensorView& output = bindings.outputs[0];
  const int64_t length = input.shape().sizes()[2];
  const int64_t count = output.shape().sizes()[2];
  const int64_t begin = bindings.window.output - bindings.window.input - conv.pad_left;
  const int64_t end = begin + (count + kNarrow - 1) / kNarrow * kNarrow + conv.reach;
  if (count > conv.short_outputs || length > conv.short_inputs || begin < 0 || end > length) return false;
  const int64_t* rows = bindings.rows.data();
  const Operands in{input.ptr<const float>() + begin, rows == nullptr ? length : rows[0], conv.group_in, conv.offsets,
                    conv.taps};
  const RowSpan<float> y{output.ptr<float>(), rows == nullptr ? count : rows[bindings.rows.size() - 1]};
  RowSpan<const float> residual;
  if (conv.has_residual) residual = {bindings.inputs[1].ptr<const float>(), rows == nullptr ? count : rows[1]};
  int64_t row = 0;
  for (const Block& block : conv.blocks) {
    Last last{block.bias, {}, conv.slopes(row)};
    if (conv.adds_residual) last.residual = residual.from(row, 0);
    block.whole(in, block.weight, conv.taps * block.rows, last, y.from(row, 0), count);
    row += block.rows;
  }
  if (!conv.finishes) return true;
  if (conv.adds_residual) residual = {};
  finish_rows(conv.rest, conv.coefficients, conv.group_out, residual, y, conv.group_out, count);
  return true;
}

class ConvKernel final : public Kernel {
 public:
  explicit ConvKernel(Conv conv) : conv_(std::move(conv)) { conv_.offsets = conv_.tiling.direct_offsets.data(); }
  bool takes_rows_apart() const override { return true; }
  void run(const Context& context, const Bindings& bindings) const override {
    if (!convolve_short(conv_, bindings)) convolve(conv_, context, bindings);
  }

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

// What the strips do of the epilogue's function, where all products of a sum are always made at once.
Bend bend_of(const Conv& conv) {
  const Epilogue& epilogue = conv.problem.epilogue;
  const bool whole = conv.tiling.chunks.size() == 1 && conv.tiling.chunks[0].width * conv.group_in <= kBufferFloats;
  if (!whole || epilogue.gated || conv.rest.residual != Epilogue::Residual::kNone) return Bend::kNone;
  switch (epilogue.function) {
    case Epilogue::Function::kRelu:
      return Bend::kRelu;
    case Epilogue::Function::kLeakyRelu:
    case Epilogue::Function::kPrelu:
      return Bend::kLeaky;
    default:
      return Bend::kNone;
  }
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
    Conv conv;
    conv.problem = problem;
    conv.tiling = best_tiling(problem);
    conv.direct = problem.stride == 1 && conv.tiling.chunks.size() == 1;
    conv.group_in = problem.group_in();
    conv.group_out = problem.group_out();
    conv.group_blocks = ceil_div(conv.group_out, kRows);
    const Epilogue& epilogue = problem.epilogue;
    conv.pad_left = problem.pad_left;
    conv.reach = conv.tiling.direct_offsets.back();
    conv.taps = problem.kernel_size;
    if (conv.direct && problem.batch == 1 && problem.groups == 1 && !epilogue.gated) {
      conv.short_outputs = conv.tiling.positions;
      conv.short_inputs =
          conv.group_out <= kDirectRows ? std::numeric_limits<int64_t>::max() : kDirectFloats / conv.group_in;
    }
    conv.rest = epilogue;
    conv.has_residual = epilogue.residual != Epilogue::Residual::kNone;
    conv.adds_residual =
        !epilogue.gated &&
        (epilogue.residual == Epilogue::Residual::kBefore ||
         (epilogue.residual == Epilogue::Residual::kAfter && epilogue.function == Epilogue::Function::kIdentity));
    if (conv.adds_residual) conv.rest.residual = Epilogue::Residual::kNone;
    conv.bend = bend_of(conv);
    if (conv.bend != Bend::kNone) conv.rest.function = Epilogue::Function::kIdentity;
    conv.slope.fill(static_cast<float>(epilogue.parameters[0]));
    conv.finishes = !conv.rest.none();
    const std::string order = epilogue.gated ? ".gates" : "";
    const std::span<const float> weight = args.weights.host("weight");
    const float* packed = conv.own(
        args.weights.pack("weight.cpu.rows6" + order, static_cast<int64_t>(weight.size_bytes()),
                          [&](std::byte* target) { pack_weight(problem, weight, reinterpret_cast<float*>(target)); }));
    const float* bias = nullptr;
    if (problem.has_bias) {
      const std::span<const float> given = args.weights.host("bias");
      bias = conv.own(
          args.weights.pack("bias.cpu.rows6" + order, static_cast<int64_t>(given.size_bytes()), [&](std::byte* target) {
            for (int64_t row = 0; row < problem.out_channels; ++row) {
              reinterpret_cast<float*>(target)[row] = given[static_cast<size_t>(channel_of(problem, row))];
            }
          }));
    }
    for (int64_t channel = 0; channel < problem.out_channels;) {
      const int64_t rows = std::min(kRows, conv.group_out - channel % conv.group_out);
      conv.blocks.push_back({packed + channel * problem.reduction(), bias == nullptr ? kNoBias.data() : bias + channel,
                             rows, whole_strips(rows, conv.adds_residual, conv.bend)});
      channel += rows;
    }
    if (epilogue.by_channel()) conv.coefficients = conv.own(args.weights.floats("epilogue"));
    return std::make_unique<ConvKernel>(std::move(conv));
  };
  return result;
}

}  // namespace strand::layers
