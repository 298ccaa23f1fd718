// cuda.few_channels where few outputs share a longer sum (hifigan_post 32 -> 1, k7; nam_d128 16 -> 16, k3 d128): the
// sums are held in registers while the input goes by. The kernel itself is in conv1d_few_outputs.cuh.
//
// Problem: y[n, o, t] for up to 16 outputs o of a group at a time.
// Mapping: a block is a tile of neighbouring positions of one group and batch element, a thread four of them, times all
//   outputs (of a single one, in long rows with neighbouring taps, twelve). Tiles of a row ride grid.x fastest.
// Shared memory: the tile's input, a row a channel with all that its taps reach, or (by_tap: a stride, a dilation past
//   the tile, very many taps) a row a (channel, tap) pair with just the positions that are read, so that any stride and
//   dilation becomes 1; and its weights, [row][tap][outputs]. Two stages of so few rows that several blocks fit a
//   multiprocessor: one is copied while the other is multiplied. Rows keep their alignment to 16 bytes, so that copies
//   and reads are of 16 bytes whatever the length; where taps are neighbours, four positions read 4 + 7 floats once
//   for eight taps, and twelve 12 + 7. Padding is filled in by the copies of the tiles at the ends.
// Halves: x lies in shared memory as it is stored, copied by eight and read by four, and becomes float32 in registers;
//   what is beside rows, or comes with a stride, goes through registers one by one. y is stored by four, or one by one
//   at rows' ends. x's type is the kernel's; y's and the residual's are branches.
// Predicted (H200, 1.75 GHz): hifigan_post: for a channel a thread issues 84 multiply-adds, 8 loads and about 20 more,
//   so 33 million a warp or 0.035 ms, and 40 wavefronts of shared memory, 0.05 ms; bytes take 0.117: 0.13 ms. nam_d128:
//   16 outputs x 4 positions a tap, 64 multiply-adds for 5 loads and some 12 more: 0.24 ms of multiply-adds at their
//   peak, 0.30 issued, beside 0.25 ms of bytes: 0.36 ms. hifigan_post of halves: 19 conversions more for a channel, and
//   half the wavefronts: 0.042 ms issued beside 0.059 of bytes: 0.07 ms.
// Limits: none but a reduction below 2^31; past 16 outputs the input is brought again.
// It beats cuda.direct's thin kernel, which loads a float for each tap and position, and its tiles, which do for 16
// outputs as much loading as for 32.

#include <algorithm>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_few_outputs.cuh"

namespace strand::layers {
namespace {

constexpr int kThreadsOfMany = 128;  // a block whose threads have kManyPositions
constexpr int kSlackFloats = 16;     // what reads of whole vectors may pass the end of the last row by

int threads_of(const Conv1dProblem& p, int64_t out_length) {
  if (positions_a_thread(p, out_length) > kFewPositions) return kThreadsOfMany;
  return static_cast<int>(std::min(threads_at_most(p), round_up(ceil_div(out_length, kFewPositions), 32)));
}

FewOutputs plan(const Conv1dProblem& p, const PrepareArgs& args) {
  const int64_t out_length = args.outputs[0].shape[2];
  const int outputs = outputs_at_once(p);
  const int64_t positions = int64_t{threads_of(p, out_length)} * positions_a_thread(p, out_length);
  FewOutputs a{p, out_length, {}, {}, {}, {}, 0, 0, 0, 0, 0, 0, false, args.outputs[0].dtype};
  a.tiles_by = tensor::Divisor(ceil_div(out_length, positions));
  a.chunks_by = tensor::Divisor(ceil_div(p.group_out(), outputs));
  a.groups_by = tensor::Divisor(p.groups);
  a.by_tap = goes_by_tap(p, positions);
  a.row_taps_by = tensor::Divisor(a.by_tap ? p.kernel_size : 1);
  a.taps = a.by_tap ? 1 : static_cast<int>(p.kernel_size);
  a.rows = static_cast<int>(a.by_tap ? p.reduction() : p.group_in());
  const int per_float = is_half(args.inputs[0].dtype) ? 2 : 1;
  a.pitch = static_cast<int>(few_row_floats((a.taps - 1) * (a.by_tap ? 1 : p.dilation), positions, per_float));
  a.row_weights = a.by_tap ? outputs : static_cast<int>(round_up(p.kernel_size * outputs, 4));
  a.chunk_weights = static_cast<int>(round_up(int64_t{a.rows} * a.row_weights, 4));
  const int64_t unit = a.by_tap ? 4 : 1;
  const int64_t most = std::max<int64_t>(kStageFloats / (a.pitch + a.row_weights) / unit, 1) * unit;
  a.stage_rows = static_cast<int>(round_up(ceil_div(a.rows, ceil_div(a.rows, most)), unit));
  return a;
}

// [C_out, C_in / groups, K] -> [groups, chunks, rows, taps, Outputs], zeros around.
Conv1dWeights pack(const FewOutputs& a, int outputs, const PrepareArgs& args) {
  const Conv1dProblem& p = a.p;
  const std::span<const float> weight = args.weights.host("weight");
  const int64_t chunks = a.chunks_by.value;
  const int64_t count = checked_mul(p.groups * chunks, a.chunk_weights);
  const auto fill = [&](std::byte* bytes) {
    auto* target = reinterpret_cast<float*>(bytes);
    std::fill_n(target, count, 0.0F);
    for (int64_t channel = 0; channel < p.out_channels; ++channel) {
      const int64_t o = channel % p.group_out();
      float* from = target + (channel / p.group_out() * chunks + o / outputs) * a.chunk_weights + o % outputs;
      for (int64_t r = 0; r < p.reduction(); ++r) {
        from[r / a.taps * a.row_weights + r % a.taps * outputs] =
            weight[static_cast<size_t>(channel * p.reduction() + r)];
      }
    }
  };
  const std::string key = "weight.few_outputs" + std::to_string(a.taps) + "x" + std::to_string(outputs);
  return {args.weights.pack(key, checked_mul(count, sizeof(float)), fill), p, args};
}

FewOutputsKernel kernel_for(const FewOutputs& a, const PrepareArgs& args) {
  const int positions = positions_a_thread(a.p, a.out_length);
  const DType x_type = args.inputs[0].dtype;
  if (is_half(x_type)) return few_outputs_kernel_of_halves(a, positions, x_type);
  return has_halves(args) ? few_outputs_kernel_for<float, true>(a, positions)
                          : few_outputs_kernel_for<float, false>(a, positions);
}

}  // namespace

int64_t conv1d_few_outputs_blocks(const Conv1dProblem& problem, int64_t out_length) {
  const int64_t rows =
      checked_mul(checked_mul(problem.batch, problem.groups), ceil_div(problem.group_out(), outputs_at_once(problem)));
  const int64_t positions = int64_t{threads_of(problem, out_length)} * positions_a_thread(problem, out_length);
  return checked_mul(rows, ceil_div(out_length, positions));
}

std::unique_ptr<Kernel> conv1d_few_outputs_kernel(const Conv1dProblem& p, const PrepareArgs& args) {
  const int64_t out_length = args.outputs[0].shape[2];
  const FewOutputs a = plan(p, args);
  const int outputs = outputs_at_once(p);
  const auto threads = static_cast<unsigned>(threads_of(p, out_length));
  const int64_t stages = a.stage_rows < a.rows ? 2 : 1;
  const int64_t staged = stages * a.stage_rows * (a.pitch + a.row_weights) + kSlackFloats;
  const int positions = positions_a_thread(p, out_length);
  const bool stages_sums = !p.epilogue.none() || positions > kFewPositions;
  const int64_t sums = stages_sums ? int64_t{outputs} * threads * positions : 0;
  const auto bytes = static_cast<size_t>(std::max(staged, sums)) * sizeof(float);
  const auto blocks = static_cast<unsigned>(conv1d_few_outputs_blocks(p, out_length));
  return few_kernel(a, {kernel_for(a, args), blocks, threads, bytes}, pack(a, outputs, args));
}

}  // namespace strand::layers
