// ConvTranspose1d on CUDA: a gather, a phase of the outputs at a time, so that no two threads write one output.
//
// Problem: of one phase C[o, p] = sum over r of W[o, r] * X[r, p], with p = (batch element, position m), r = (channel,
//   tap j of the phase), X[r, p] = x[n, c, m - shift - j * shift_step] and C[o, p] = y[n, o, m * stride + ...].
// Two mappings:
// - tiled: a block computes kOutputs channels x kPositions positions of one phase and group, a thread 4 x 4 sums. W
//   (packed by tap, channels of output contiguous) and X come to shared memory kDepth rows at a time. Blocks ride
//   grid.x, phases fastest: those of the same positions share x in the L2 cache, and fill the same lines of y there.
// - flat: a thread an output. For few output channels a group, and where weights hold an Inf or NaN, for which a zero
//   that stands for a sample outside of x must not be multiplied.
// Before both come the implementations of Conv1d, on the problem that conv_transpose1d_conv.h makes of it. One of them
// interleaves its outputs itself; those of the others are interleaved by a kernel of its own, a few batch elements at a
// time, so that it finds them in the L2 cache. Limits: reductions below 2^31, 64-bit sizes elsewhere. Stores of one
// warp lie `stride` apart.

#include <algorithm>

#include "engine/checked.h"
#include "layers/conv_transpose1d/conv_transpose1d.h"
#include "layers/conv_transpose1d/conv_transpose1d_conv.h"
#include "layers/conv_transpose1d/interleave.cuh"
#include "layers/convolution.h"
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

// What the Conv1d is prepared with; kept while it may be.
struct AsConv {
  ConvTransposeProblem problem;
  TransposeAsConv as;
  Weights weights;
  std::vector<TensorType> inputs;
  std::vector<TensorType> outputs;
  PrepareArgs args;

  AsConv(const ConvTransposeProblem& p, const TransposeAsConv& conv, const PrepareArgs& a, int64_t batch)
      : problem(p),
        as(conv),
        weights(a.weights.as("conv1d")),
        inputs{{DType::kFloat32, {batch, p.in_channels, p.length}}},
        outputs{{DType::kFloat32, {batch, conv.conv.out_channels, conv.positions}}},
        args{inputs, outputs, a.device, a.workspace_limit, weights, a.precision} {
    problem.batch = as.conv.batch = batch;
    if (as.interleaved) args.workspace_limit -= z_bytes();
  }
  AsConv(const AsConv&) = delete;

  void set_weights(const Weights& source) {
    const Conv1dProblem& conv = as.conv;
    weights.set("weight", Tensor({conv.out_channels, conv.group_in(), conv.kernel_size},
                                 conv_weights(problem, as, source.host("weight"))));
    if (conv.has_bias) weights.set("bias", Tensor({conv.out_channels}, conv_bias(as, source.host("bias"))));
  }
  int64_t z_bytes() const { return checked_mul(outputs[0].shape.elements(), sizeof(float)); }
};

class InterleavedKernel final : public Kernel {
 public:
  // `kernels`: of all but the last elements of the batch, so many at a time, and of those, if there are any.
  InterleavedKernel(const ConvTransposeProblem& p, const TransposeAsConv& as, std::shared_ptr<const Buffer> bias,
                    int64_t chunk, std::unique_ptr<Kernel> whole, std::unique_ptr<Kernel> rest)
      : problem_(p), as_(as), bias_(std::move(bias)), chunk_(chunk), whole_(std::move(whole)), rest_(std::move(rest)) {}

  int64_t workspace_bytes() const override {
    const int64_t inner = std::max(whole_->workspace_bytes(), rest_ == nullptr ? 0 : rest_->workspace_bytes());
    return checked_add(z_bytes(), inner);
  }
  void run(const Context& context, const Bindings& bindings) const override {
    const ConvTransposeProblem& p = problem_;
    auto* x = const_cast<float*>(bindings.inputs[0].ptr<const float>());
    for (int64_t first = 0; first < p.batch; first += chunk_) {
      const int64_t count = std::min(chunk_, p.batch - first);
      const Device device = bindings.inputs[0].device;
      const TensorView in{
          {DType::kFloat32, {count, p.in_channels, p.length}}, x + first * p.in_channels * p.length, device};
      const TensorView z{{DType::kFloat32, {count, as_.conv.out_channels, as_.positions}}, bindings.workspace, device};
      Bindings inner;
      inner.inputs = {&in, 1};
      inner.outputs = {&z, 1};
      inner.workspace = bindings.workspace + z_bytes();
      (count == chunk_ ? whole_ : rest_)->run(context, inner);
      const int64_t row = p.out_channels * p.out_length;
      float* y = bindings.outputs[0].ptr<float>() + first * row;
      if (as_.divisor > 1) {
        interleave<true>(context, count, z.ptr<const float>(), y);
      } else {
        interleave<false>(context, count, z.ptr<const float>(), y);
      }
    }
  }

 private:
  // `count` elements of the batch.
  template <bool kGaps>
  void interleave(const Context& context, int64_t count, const float* z, float* y) const {
    const ConvTransposeProblem& p = problem_;
    const InterleaveRows<kGaps> outputs{static_cast<uint32_t>(p.out_channels),
                                        static_cast<uint32_t>(p.offset - as_.first_position * p.stride),
                                        static_cast<uint32_t>(p.out_length),
                                        DivideBy(p.stride),
                                        DivideBy(as_.divisor),
                                        as_.phases,
                                        as_.positions,
                                        z,
                                        bias_ == nullptr ? nullptr : reinterpret_cast<const float*>(bias_->data()),
                                        y};
    cuda::launch_rows(context, "ConvTranspose1d, interleaving", count * p.out_channels, outputs.fours(), outputs);
  }
  int64_t z_bytes() const {
    return round_up(chunk_ * as_.conv.out_channels * as_.positions * static_cast<int64_t>(sizeof(float)),
                    Buffer::kAlignment);
  }

  ConvTransposeProblem problem_;
  TransposeAsConv as_;
  std::shared_ptr<const Buffer> bias_;
  int64_t chunk_;
  std::unique_ptr<Kernel> whole_;
  std::unique_ptr<Kernel> rest_;  // or null
};

// Conv1d's implementation of that name, prepared. Its place in the list is another one for another batch.
std::unique_ptr<Kernel> prepare_conv(AsConv& as, const std::string& name, const Weights& source) {
  as.set_weights(source);
  std::vector<Implementation> list;
  conv1d_cuda(as.as.conv, as.args, list);
  return std::ranges::find(list, name, &Implementation::name)->prepare();
}

// What Conv1d has that stores interleaved outputs; declined where it has not.
Implementation interleaving(const ConvTransposeProblem& p, const TransposeAsConv& as, const PrepareArgs& args) {
  TransposeAsConv fused = as;
  fused.conv.interleave = {static_cast<int>(p.stride), static_cast<int>(as.divisor),
                           p.offset - as.first_position * p.stride, p.out_length};
  const auto conv = std::make_shared<AsConv>(p, fused, args, p.batch);
  Implementation result = conv1d_interleaving(conv->as.conv, conv->args);
  result.prepare = [p, conv, inner = std::move(result.prepare), &args]() -> std::unique_ptr<Kernel> {
    // Zeros around x times an Inf would be NaN.
    if (!all_finite(args.weights.host("weight"))) return prepare(p, args);
    conv->set_weights(args.weights);
    return inner();
  };
  return result;
}

// Appends what Conv1d has for the problem. All of its names but the naive one, which cuda.native replaces.
void append_conv1d(const ConvTransposeProblem& problem, const PrepareArgs& args, std::vector<Implementation>& list) {
  constexpr int64_t kCachedBytes = int64_t{40} << 20;  // of the Conv1d's outputs, that the L2 cache still holds
  TransposeAsConv as;
  const std::string reason = transpose_as_conv(problem, as);
  if (!reason.empty() || problem.batch == 0 || !unless_float32(args).empty()) return;
  int64_t chunk = problem.batch;
  if (as.interleaved) {
    const int64_t element = checked_mul(checked_mul(as.conv.out_channels, as.positions), sizeof(float));
    if (element > args.workspace_limit) return;
    chunk = std::clamp<int64_t>(std::min(kCachedBytes, args.workspace_limit) / element, 1, problem.batch);
  }
  const auto conv = std::make_shared<AsConv>(problem, as, args, chunk);
  std::vector<Implementation> inner;
  conv1d_cuda(conv->as.conv, conv->args, inner);
  Implementation fused;
  if (as.interleaved) fused = interleaving(problem, as, args);
  for (const Implementation& each : inner) {
    if (each.name == "cuda.naive") continue;
    if (each.name == fused.name && fused.declined.empty()) {
      list.push_back(fused);
      continue;
    }
    Implementation outer{each.name, DeviceType::kCuda, each.declined, {}};
    outer.prepare = [problem, as, chunk, conv, name = each.name, &args]() -> std::unique_ptr<Kernel> {
      // Zeros around x times an Inf would be NaN.
      if (!all_finite(args.weights.host("weight"))) return prepare(problem, args);
      auto whole = prepare_conv(*conv, name, args.weights);
      if (!as.interleaved) return whole;
      std::unique_ptr<Kernel> rest;
      if (problem.batch % chunk != 0) {
        AsConv last(problem, as, args, problem.batch % chunk);
        rest = prepare_conv(last, name, args.weights);
      }
      return std::make_unique<InterleavedKernel>(problem, as, problem.has_bias ? args.weights.floats("bias") : nullptr,
                                                 chunk, std::move(whole), std::move(rest));
    };
    list.push_back(std::move(outer));
  }
}

}  // namespace

void conv_transpose1d_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const ConvTransposeProblem problem = static_cast<const ConvTranspose1d&>(layer).problem(args.inputs[0]);
  append_conv1d(problem, args, list);
  list.push_back(float32_implementation(args, "cuda.native", [problem, &args] { return prepare(problem, args); }));
}

}  // namespace strand::layers
