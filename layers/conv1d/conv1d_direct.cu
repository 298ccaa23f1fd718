// cuda.direct: the strided, dilated convolution as a tiled product, without ever forming the unfolded input in memory.
//
// Problem: C[o, p] = sum over r of W[o, r] * X[r, p], where p = (batch element, output time) and r = (channel, tap), in
//   that order; X[r, p] is the sample xp[n, c, t * stride + k * dilation].
// Mapping: a block computes kOutputs channels x kPositions positions of one group; a warp 4 x 8 threads, a thread
//   ThreadOutputs x ThreadPositions sums in registers. Positions run through the batch, so short signals fill tiles
//   too. Blocks ride grid.x, the tiles of output channels fastest: they share their input in the L2 cache.
// Shared memory: a ring of Stages chunks of Depth rows of W and X, filled by asynchronous copies while older chunks are
//   multiplied. W is packed so that a chunk is one contiguous piece. X is gathered, a thread one column (fixed p,
//   walking down r), a warp 32 consecutive positions of one tap; or, of the two smallest tiles at a stride, 8 of four
//   rows (RowLanes), mostly taps, which share sectors. A load serves as many multiply-adds as the block has channels,
//   and the taps of a channel meet in the L1 cache, so neither stride, dilation nor kernel size needs a tile that fits.
//   At the end the ring holds the sums, from which each row is stored by consecutive threads: rows of odd lengths allow
//   no wider stores.
// Slices: of the smallest tile each warp multiplies a fourth of a chunk's rows, and the parts are added at the end.
// Parts: where the tiles would not fill the device, blocks sum parts of the reduction each, which go to the workspace
//   and are added in order by a second kernel (conv1d_direct_plan.h).
// Limits: reductions (C_in / groups * K) and grids below 2^31, and 2^32 values in the samples of 256 positions. Any
//   stride, dilation and padding.
// It beats im2col, which writes and reads the unfolded input through memory: for a kernel of 3 three times the input.

#include <algorithm>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_direct.cuh"
#include "layers/conv1d/conv1d_direct_plan.h"

namespace strand::layers {
namespace direct {
namespace {

constexpr int kAddThreads = 256;

template <class T, bool Plain>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks)
    tiled(Tiled conv, const float* __restrict__ x, const float* __restrict__ weight, Conv1dStore store,
          float* __restrict__ y) {
  store.plain = Plain;
  __shared__ alignas(16) float ring[T::kSharedFloats];
  const unsigned output_tile = blockIdx.x % static_cast<unsigned>(conv.output_tiles);
  const unsigned rest = blockIdx.x / static_cast<unsigned>(conv.output_tiles);
  const auto groups = static_cast<unsigned>(conv.problem.groups);
  const unsigned group = rest % groups;
  const unsigned part = rest / groups / static_cast<unsigned>(conv.position_tiles);
  const int64_t position =
      static_cast<int64_t>(rest / groups - part * static_cast<unsigned>(conv.position_tiles)) * T::kPositions;
  const int first_chunk = static_cast<int>(part) * conv.part_chunks;
  const int end = min(conv.chunks, first_chunk + conv.part_chunks);
  y += part * conv.part_stride;
  weight += static_cast<int64_t>(group * conv.output_tiles + output_tile) * conv.chunks * T::kWeightFloats;

  Gather<T> gather(conv, x, group, position, first_chunk * T::kDepth);
  const auto start_chunk = [&](int chunk) {
    if (chunk < end) {
      float* stage = ring + chunk % T::kStages * T::kStageFloats;
      weight_chunk<T>(weight + static_cast<int64_t>(chunk) * T::kWeightFloats, stage);
      gather.chunk(conv, stage + T::kWeightFloats, (chunk + 1) * T::kDepth);
    }
    __pipeline_commit();
  };
  for (int chunk = first_chunk; chunk < first_chunk + T::kStages - 1; ++chunk) start_chunk(chunk);

  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int down = warp % T::kSliceWarps / T::kWarpsAcross * T::kWarpOutputs;
  const int across = warp % T::kWarpsAcross * T::kWarpPositions;
  const int first_depth = warp / T::kSliceWarps * (T::kDepth / T::kSlices);
  float sums[T::kThreadOutputs][T::kThreadPositions] = {};
  for (int chunk = first_chunk; chunk < end; ++chunk) {
    __pipeline_wait_prior(T::kStages - 2);
    __syncthreads();  // the chunk is there for all, and the one before it is done with
    start_chunk(chunk + T::kStages - 1);
    const float* stage = ring + chunk % T::kStages * T::kStageFloats;
    multiply<T>(stage + first_depth * T::kOutputs + down + lane / 8 * 4,
                stage + T::kWeightFloats + first_depth * T::kPitch + across + lane % 8 * 4, sums);
  }
  __pipeline_wait_prior(0);
  __syncthreads();
  const int output = static_cast<int>(output_tile) * T::kOutputs;
  if constexpr (T::kSlices > 1) {
    store_slices<T>(conv, group, output, position, ring, sums, store, y);
  } else {
    store_warp<T>(conv, group, output + down, position + across, ring + warp * 16 * T::kWarpPositions, sums, store, y);
  }
}

// [C_out, C_in / groups, K] -> by group and tile of outputs: [reduction up to whole chunks, kOutputs], zeros around.
template <class T>
Conv1dWeights pack(const Tiled& conv, const PrepareArgs& args) {
  const Conv1dProblem& p = conv.problem;
  const std::span<const float> weight = args.weights.host("weight");
  const int64_t rows = int64_t{conv.chunks} * T::kDepth;
  const int64_t count = checked_mul(checked_mul(p.groups * conv.output_tiles, rows), T::kOutputs);
  const auto fill = [&](std::byte* bytes) {
    auto* target = reinterpret_cast<float*>(bytes);
    std::fill_n(target, count, 0.0F);
    for (int64_t channel = 0; channel < p.out_channels; ++channel) {
      const int64_t group = channel / p.group_out();
      const int64_t o = channel % p.group_out();
      float* column = target + (group * conv.output_tiles + o / T::kOutputs) * rows * T::kOutputs + o % T::kOutputs;
      for (int64_t r = 0; r < p.reduction(); ++r) {
        column[r * T::kOutputs] = weight[static_cast<size_t>(channel * p.reduction() + r)];
      }
    }
  };
  const std::string packing = "weight.tiled" + std::to_string(T::kOutputs) + "x" + std::to_string(T::kDepth);
  return {args.weights.pack(packing, checked_mul(count, sizeof(float)), fill), p, args};
}

// The parts of each sum in order, and what comes after it.
template <bool Plain>
__global__ void __launch_bounds__(kAddThreads)
    add_parts(Conv1dStore store, const float* __restrict__ parts, int count, int64_t stride, float* __restrict__ y) {
  store.plain = Plain;
  const int64_t at = int64_t{blockIdx.x} * kAddThreads + threadIdx.x;
  if (at >= stride) return;
  float sum = 0;
#pragma unroll 8
  for (int i = 0; i < count; ++i) sum += parts[i * stride + at];
  const int64_t row = at / store.length;
  y[at] = store.at(row / store.channels, row % store.channels)(sum, at - row * store.length);
}

void launch_add_parts(const Context& context, const Conv1dStore& store, const float* parts, int64_t count,
                      int64_t stride, float* y) {
  const auto blocks = static_cast<unsigned>(ceil_div(stride, kAddThreads));
  (store.plain ? add_parts<true> : add_parts<false>)<<<blocks, kAddThreads, 0, cuda::stream(context)>>>(
      store, parts, static_cast<int>(count), stride, y);
  cuda::check_launch("conv1d cuda.direct, parts");
}

template <class T>
std::unique_ptr<Kernel> tiled_kernel(const Conv1dProblem& p, const PrepareArgs& args, const DirectPlan& plan) {
  Tiled conv{p, args.outputs[0].shape[2], 0, 0, 0, 0, 0, 0};
  conv.positions = p.batch * conv.out_length;
  conv.output_tiles = static_cast<int>(ceil_div(p.group_out(), T::kOutputs));
  conv.position_tiles = static_cast<int>(ceil_div(conv.positions, T::kPositions));
  conv.chunks = static_cast<int>(ceil_div(p.reduction(), T::kDepth));
  conv.part_chunks = static_cast<int>(plan.part_chunks);
  const int64_t elements = conv.positions * p.out_channels;
  if (plan.parts > 1) conv.part_stride = elements;
  const int64_t blocks = direct_blocks(p, conv.out_length, kDirectTiles[plan.tile], plan.parts);
  const int64_t bytes = plan.parts > 1 ? plan.parts * elements * int64_t{sizeof(float)} : 0;
  return function_kernel(
      [conv, blocks, parts = plan.parts, weights = pack<T>(conv, args)](const Context& context,
                                                                        const Bindings& bindings) {
        if (blocks == 0) return;
        const Conv1dStore store = weights.store(bindings);
        auto* y = bindings.outputs[0].ptr<float>();
        auto* sums = parts > 1 ? reinterpret_cast<float*>(bindings.workspace) : y;
        (parts > 1 || store.plain
             ? tiled<T, true>
             : tiled<T, false>)<<<static_cast<unsigned>(blocks), T::kThreads, 0, cuda::stream(context)>>>(
            conv, bindings.inputs[0].ptr<const float>(), weights.data(), parts > 1 ? Conv1dStore{} : store, sums);
        cuda::check_launch("conv1d cuda.direct, tiled");
        if (parts > 1) launch_add_parts(context, store, sums, parts, conv.part_stride, y);
      },
      bytes);
}

template <int Index, int ThreadOutputs, int ThreadPositions, int WarpsDown, int WarpsAcross, int Slices, int Stages,
          int RowLanes = 1>
std::unique_ptr<Kernel> make(const Conv1dProblem& p, const PrepareArgs& args, const DirectPlan& plan) {
  constexpr int kDepth = kDirectTiles[Index].depth;
  using Padded = Tile<ThreadOutputs, ThreadPositions, WarpsDown, WarpsAcross, Slices, kDepth, Stages, RowLanes, true>;
  using Mirrored =
      Tile<ThreadOutputs, ThreadPositions, WarpsDown, WarpsAcross, Slices, kDepth, Stages, RowLanes, false>;
  static_assert(Padded::kOutputs == kDirectTiles[Index].outputs && Padded::kThreads == kDirectTiles[Index].threads);
  static_assert(Padded::kPositions == kDirectTiles[Index].positions);
  const bool zeros = p.unpadded() || p.padding_mode == PaddingMode::kZeros;
  return zeros ? tiled_kernel<Padded>(p, args, plan) : tiled_kernel<Mirrored>(p, args, plan);
}

using Maker = std::unique_ptr<Kernel> (*)(const Conv1dProblem&, const PrepareArgs&, const DirectPlan&);

// As in kDirectTiles.
template <int SmallRowLanes>
constexpr Maker kMakers[] = {make<0, 8, 8, 4, 2, 1, 3>,
                             make<1, 8, 8, 2, 2, 1, 3>,
                             make<2, 8, 8, 1, 4, 1, 4>,
                             make<3, 4, 8, 1, 4, 1, 4>,
                             make<4, 4, 4, 2, 2, 1, 3, SmallRowLanes>,
                             make<5, 4, 4, 1, 1, 4, 4, SmallRowLanes>};
static_assert(std::size(kMakers<1>) == std::size(kDirectTiles));

Maker maker(const Conv1dProblem& p, int tile) { return gathers_taps(p, tile) ? kMakers<4>[tile] : kMakers<1>[tile]; }

std::string declines(const Conv1dProblem& p, const PrepareArgs& args) {
  constexpr int64_t kMax = 0x7FFFFF00;
  std::string reason = conv1d_cuda_declines(p, args);
  if (!reason.empty() || p.group_out() <= kThinOutputs) return reason;
  if (p.reduction() > kMax) {
    return std::to_string(p.reduction()) + " products an output, more than " + std::to_string(kMax);
  }
  const int64_t out_length = args.outputs[0].shape[2];
  if (!direct_indices_fit(p, out_length)) return "more than 2^32 values in the samples of a tile";
  const int64_t blocks =
      checked_mul(ceil_div(p.batch * out_length, 64), checked_mul(p.groups, ceil_div(p.group_out(), 16)));
  return blocks > kMaxBlocks ? "up to " + std::to_string(blocks) + " blocks, more than grid.x takes" : "";
}

}  // namespace
}  // namespace direct

Implementation conv1d_direct(const Conv1dProblem& problem, const PrepareArgs& args) {
  return {
      "cuda.direct", DeviceType::kCuda, direct::declines(problem, args), [problem, &args] {
        const DirectPlan plan =
            plan_direct(problem, args.outputs[0].shape[2], conv1d_multiprocessors(args.device), args.workspace_limit);
        return plan.thin ? conv1d_thin_kernel(problem, args) : direct::maker(problem, plan.tile)(problem, args, plan);
      }};
}

}  // namespace strand::layers
