// ConvTranspose1d on CUDA: a gather, a phase of the outputs at a time, so that no two threads write one output.
//
// Problem: of one phase C[o, p] = sum over r of W[o, r] * X[r, p], with p = (batch element, position m), r = (channel,
//   tap of the phase), and X[r, p] the sample x[n, c, m - shift - j * shift_step]; C[o, p] is y[n, o, m * stride +
//   ...].
// Two mappings:
// - tiled: a block computes kOutputs channels x kPositions positions of one phase and group, a thread 4 x 4 sums. W
//   (packed by tap, channels of output contiguous) and X come to shared memory kDepth rows at a time. Blocks ride
//   grid.x, phases fastest: those of the same positions share x in the L2 cache, and fill the same lines of y there.
// - flat: a thread an output. For few output channels a group, and where weights hold an Inf or NaN, for which a zero
//   that stands for a sample outside of x must not be multiplied.
// Limits: reductions below 2^31, 64-bit sizes elsewhere. Stores of one warp lie `stride` apart.

#include <algorithm>

#include "layers/conv_transpose1d/conv_transpose1d.h"
#include "layers/cuda_launch.cuh"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

// What both mappings read.
struct Gathered {
  ConvTransposeProblem problem;
  TransposePhases phases;
  int64_t first_position;
  int64_t positions;       // a batch element
  int64_t padded_outputs;  // of a group, in the packed weights
  const float* weight;     // [groups, K, C_in / groups, padded_outputs]
  const float* bias;       // [C_out], or null
  const float* x;
  float* y;
};

struct FlatTranspose {
  Gathered conv;

  template <class Index>
  __device__ float load(Index i) const {
    const ConvTransposeProblem& p = conv.problem;
    const auto index = static_cast<int64_t>(i);
    const int64_t row = index / p.out_length;
    const int64_t channel = row % p.out_channels;
    const int64_t group = channel / p.group_out();
    const int64_t t = index - row * p.out_length + p.offset;
    const int64_t m = t / p.stride;
    const TransposePhase taps = conv.phases.at(p, t - m * p.stride);
    const float* x = conv.x + (row / p.out_channels * p.in_channels + group * p.group_in()) * p.length;
    const float* weight = conv.weight + (group * p.kernel_size + taps.first_tap) * p.group_in() * conv.padded_outputs +
                          (channel - group * p.group_out());
    const int64_t tap_pitch = conv.phases.tap_step * p.group_in() * conv.padded_outputs;
    float sum = 0;
    for (int64_t c = 0; c < p.group_in(); ++c, x += p.length, weight += conv.padded_outputs) {
      int64_t at = m - taps.shift;
      for (int64_t j = 0; j < taps.taps; ++j, at -= conv.phases.shift_step) {
        if (at >= 0 && at < p.length) sum = fmaf(weight[j * tap_pitch], x[at], sum);
      }
    }
    return conv.bias == nullptr ? sum : sum + conv.bias[channel];
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    conv.y[i] = value;
  }
};

constexpr int kDepth = 16;
constexpr int kSide = 4;  // sums of a thread, either way

template <int Outputs, int Positions>
struct Tile {
  static constexpr int kOutputs = Outputs;
  static constexpr int kPositions = Positions;
  static constexpr int kAcross = Positions / kSide;  // threads
  static constexpr int kThreads = Outputs / kSide * kAcross;
  static_assert(kThreads % Positions == 0 && kThreads % Outputs == 0 && kDepth % (kThreads / Positions) == 0);
};

// Kernel rows [first_row, first_row + kDepth) to shared memory, zeros past the reduction's end. A thread keeps to one
// output channel and to one position, whose batch element's samples begin at x; -1 for m stands for no position.
template <class T>
__device__ void load_rows(const Gathered& conv, const TransposePhase& taps, int first_row, int rows, const float* x,
                          int64_t m, const float* weight, float* weights, float* samples) {
  const ConvTransposeProblem& p = conv.problem;
  const int count = static_cast<int>(taps.taps);
  const auto tid = static_cast<int>(threadIdx.x);
  for (int d = tid / T::kPositions; d < kDepth; d += T::kThreads / T::kPositions) {
    const int row = first_row + d;
    const int64_t c = row / count;
    const int64_t at = m - taps.shift - (row - c * count) * conv.phases.shift_step;
    const bool inside = row < rows && at >= 0 && at < p.length;
    samples[d * T::kPositions + tid % T::kPositions] = inside ? x[c * p.length + at] : 0.0F;
  }
  for (int d = tid / T::kOutputs; d < kDepth; d += T::kThreads / T::kOutputs) {
    const int row = first_row + d;
    const int64_t c = row / count;
    const int64_t tap = (row - c * count) * conv.phases.tap_step;
    const int64_t at = (tap * p.group_in() + c) * conv.padded_outputs;
    weights[d * T::kOutputs + tid % T::kOutputs] = row < rows ? weight[at] : 0.0F;
  }
}

template <class T>
__global__ void __launch_bounds__(T::kThreads) tiled_transpose(Gathered conv) {
  __shared__ alignas(16) float weights[kDepth * T::kOutputs];
  __shared__ alignas(16) float samples[kDepth * T::kPositions];
  const ConvTransposeProblem& p = conv.problem;
  int64_t block = blockIdx.x;
  const int64_t phase = block % p.stride;
  block /= p.stride;
  const int64_t output_tiles = conv.padded_outputs / T::kOutputs;
  const int64_t first_output = block % output_tiles * T::kOutputs;  // of the group
  block /= output_tiles;
  const int64_t group = block % p.groups;
  const int64_t first_column = block / p.groups * T::kPositions;
  const int64_t columns = p.batch * conv.positions;
  const TransposePhase taps = conv.phases.at(p, phase);
  const int rows = static_cast<int>(p.group_in() * taps.taps);
  const auto tid = static_cast<int>(threadIdx.x);

  // The column that this thread loads; past the last one, that one again.
  const int64_t column = min(first_column + tid % T::kPositions, columns - 1);
  const int64_t n = column / conv.positions;
  const int64_t m = conv.first_position + column - n * conv.positions;
  const float* x = conv.x + (n * p.in_channels + group * p.group_in()) * p.length;
  const float* weight = conv.weight + (group * p.kernel_size + taps.first_tap) * p.group_in() * conv.padded_outputs +
                        first_output + tid % T::kOutputs;

  const int down = tid / T::kAcross * kSide;
  const int across = tid % T::kAcross;  // and every kAcross-th from there: neighbours read neighbouring banks
  float sums[kSide][kSide] = {};
  for (int first_row = 0; first_row < rows; first_row += kDepth) {
    __syncthreads();
    load_rows<T>(conv, taps, first_row, rows, x, m, weight, weights, samples);
    __syncthreads();
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      const float4 w = *reinterpret_cast<const float4*>(weights + d * T::kOutputs + down);
      const float factors[kSide] = {w.x, w.y, w.z, w.w};
#pragma unroll
      for (int j = 0; j < kSide; ++j) {
        const float sample = samples[d * T::kPositions + across + j * T::kAcross];
#pragma unroll
        for (int i = 0; i < kSide; ++i) sums[i][j] = fmaf(factors[i], sample, sums[i][j]);
      }
    }
  }

  for (int j = 0; j < kSide; ++j) {
    const int64_t out_column = first_column + across + j * T::kAcross;
    if (out_column >= columns) continue;
    const int64_t batch = out_column / conv.positions;
    const int64_t position = conv.first_position + out_column - batch * conv.positions;
    const int64_t t = position * p.stride + phase - p.offset;
    if (t < 0 || t >= p.out_length) continue;
    for (int i = 0; i < kSide; ++i) {
      const int64_t o = first_output + down + i;
      if (o >= p.group_out()) break;
      const int64_t channel = group * p.group_out() + o;
      const float bias = conv.bias == nullptr ? 0.0F : conv.bias[channel];
      conv.y[(batch * p.out_channels + channel) * p.out_length + t] = sums[i][j] + bias;
    }
  }
}

template <class T>
void launch_tiled(const Context& context, const Gathered& conv) {
  const ConvTransposeProblem& p = conv.problem;
  const int64_t columns = checked_mul(p.batch, conv.positions);
  if (columns == 0) return;
  const int64_t tiles = checked_mul(ceil_div(columns, T::kPositions), p.groups * (conv.padded_outputs / T::kOutputs));
  tiled_transpose<T>
      <<<cuda::grid_size(checked_mul(tiles, p.stride), "ConvTranspose1d"), T::kThreads, 0, cuda::stream(context)>>>(
          conv);
  cuda::check_launch("ConvTranspose1d");
}

using LargeTile = Tile<64, 64>;
using SmallTile = Tile<32, 64>;

// Output channels of a group are padded to whole tiles: by 1 for the flat mapping.
int64_t tile_outputs(const ConvTransposeProblem& problem, bool finite) {
  const bool fits = problem.group_in() <= INT32_MAX / problem.kernel_size;
  if (!finite || !fits || problem.group_out() < 8) return 1;
  return problem.group_out() <= SmallTile::kOutputs ? SmallTile::kOutputs : LargeTile::kOutputs;
}

std::unique_ptr<Kernel> prepare(const ConvTransposeProblem& p, const PrepareArgs& args) {
  const std::span<const float> source = args.weights.host("weight");  // [C_in, C_out / groups, K]
  const int64_t tile = tile_outputs(p, all_finite(source));
  const int64_t padded = round_up(p.group_out(), tile);
  const int64_t count = checked_mul(checked_mul(p.in_channels, p.kernel_size), padded);
  const auto fill = [&](std::byte* bytes) {
    auto* target = reinterpret_cast<float*>(bytes);
    std::fill_n(target, count, 0.0F);
    for (int64_t c = 0; c < p.in_channels; ++c) {
      const int64_t group = c / p.group_in();
      for (int64_t o = 0; o < p.group_out(); ++o) {
        for (int64_t k = 0; k < p.kernel_size; ++k) {
          target[((group * p.kernel_size + k) * p.group_in() + c % p.group_in()) * padded + o] =
              source[static_cast<size_t>((c * p.group_out() + o) * p.kernel_size + k)];
        }
      }
    }
  };
  auto weight = args.weights.pack("weight.transpose" + std::to_string(tile), checked_mul(count, sizeof(float)), fill);
  auto bias = p.has_bias ? args.weights.floats("bias") : nullptr;
  return function_kernel([p, tile, padded, weight, bias](const Context& context, const Bindings& bindings) {
    const Gathered conv{p,
                        TransposePhases(p),
                        p.first_position(),
                        p.positions(),
                        padded,
                        reinterpret_cast<const float*>(weight->data()),
                        bias == nullptr ? nullptr : reinterpret_cast<const float*>(bias->data()),
                        bindings.inputs[0].ptr<const float>(),
                        bindings.outputs[0].ptr<float>()};
    if (tile == LargeTile::kOutputs) return launch_tiled<LargeTile>(context, conv);
    if (tile == SmallTile::kOutputs) return launch_tiled<SmallTile>(context, conv);
    cuda::launch_flat(context, "ConvTranspose1d, flat", p.batch * p.out_channels * p.out_length, FlatTranspose{conv});
  });
}

}  // namespace

void conv_transpose1d_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const ConvTransposeProblem problem = static_cast<const ConvTranspose1d&>(layer).problem(args.inputs[0]);
  list.push_back(float32_implementation(args, "cuda.native", [problem, &args] { return prepare(problem, args); }));
}

}  // namespace strand::layers
