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

#include "layers/conv1d/conv1d_cpu.h"

#include <algorithm>

#include "engine/checked.h"

namespace strand::layers {
namespace {

constexpr int64_t kGateFloats = 12288;  // for the sums of gates: 48 KB more

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
  Added added = Added::kNothing;    // to the finished sums
  RowSpan<const float> residual{};  // which is this, or null
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
      if (p.stride == 1 && (inside || p.padding_mode == PaddingMode::kZeros)) {
        const int64_t from = std::clamp<int64_t>(-begin, 0, needed);
        const int64_t to = std::clamp(run.length - begin, from, needed);
        std::fill_n(target, from, 0.0F);
        std::copy_n(x + std::clamp<int64_t>(begin, 0, run.length), to - from, target + from);
        std::fill(target + to, target + needed, 0.0F);
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

// The residual's part for a block from `row` on; one channel serves all rows.
RowSpan<const float> added_to(const Target& to, int64_t row) {
  return to.residual.data == nullptr ? to.residual : to.residual.from(row, 0);
}

// The target's rows for `count` positions, of all products.
void whole_rows(const Conv& conv, const Operands& in, const Target& to, int64_t count) {
  const Block* block = to.first;
  for (int64_t row = 0; row < to.rows; row += kRows, ++block) {
    Last last = block->last;
    last.residual = added_to(to, row);
    block->whole(in, block->weight, conv.taps * block->rows, last, to.y.from(row, 0), count);
  }
}

// From the channels and taps in `in`; `skipped` (channel, tap) pairs of the weights come before these; it `ends` with
// the last.
void all_rows(const Conv& conv, const Operands& in, int64_t skipped, bool ends, const Target& to, int64_t count) {
  if (skipped == 0 && ends) return whole_rows(conv, in, to, count);
  const Block* block = to.first;
  for (int64_t row = 0; row < to.rows; row += kRows, ++block) {
    Last last{kNoBias.data()};
    if (ends) {
      last = block->last;
      last.residual = added_to(to, row);
    }
    const Strips strips = part_strips(block->rows, skipped == 0, ends ? to.added : Added::kNothing);
    strips(in, block->weight + skipped * block->rows, conv.taps * block->rows, last, to.y.from(row, 0), count);
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
  if (run.residual.data != nullptr && run.conv.added == Added::kNothing) residual = run.residual.from(row, first);
  finish_rows(run.conv.rest, coefficients, run.conv.problem.result_channels(), residual, run.y.from(row, first), rows,
              count);
}

// The positions of one tile of a batch element's group: `row` is the first of its rows of y, [N * channels, L_out].
void compute_tile(const Stretch& run, int64_t group, const float* x, int64_t row, int64_t first, float* buffer) {
  const int64_t rows = run.conv.group_out;
  const int64_t count = std::min(run.conv.tiling.positions, run.out_length - first);
  Target target{run.y.from(row, first), run.conv.blocks.data() + group * run.conv.group_blocks, rows};
  target.added = run.conv.added;
  if (run.conv.added == Added::kResidual) target.residual = run.residual.from(row, first);
  if (run.conv.added == Added::kMixed)
    target.residual = {run.residual.from(row / run.conv.problem.out_channels, first).data, 0};
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
    sum_tile(run, x, {{sums.data(), count}, run.conv.blocks.data() + done / kRows, rows}, first, count, buffer);
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
  if (conv.added == Added::kMixed) residual.stride = 0;  // one row for all
  int64_t row = 0;
  for (const Block& block : conv.blocks) {
    Last last = block.last;
    if (conv.added != Added::kNothing) last.residual = residual.from(row, 0);
    block.whole(in, block.weight, conv.taps * block.rows, last, y.from(row, 0), count);
    row += block.rows;
  }
  if (!conv.finishes) return true;
  if (conv.added != Added::kNothing) residual = {};
  finish_rows(conv.rest, conv.coefficients, conv.group_out, residual, y, conv.group_out, count);
  return true;
}

class ConvKernel final : public Kernel {
 public:
  explicit ConvKernel(Conv conv) : conv_(std::move(conv)) {}
  bool takes_rows_apart() const override { return true; }
  void run(const Context& context, const Bindings& bindings) const override {
    if (!convolve_short(conv_, bindings)) convolve(conv_, context, bindings);
  }

 private:
  Conv conv_;
};

}  // namespace

std::unique_ptr<Kernel> conv_kernel(Conv conv) { return std::make_unique<ConvKernel>(std::move(conv)); }

}  // namespace strand::layers
