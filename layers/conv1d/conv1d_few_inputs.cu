// cuda.few_channels where a sum has up to 12 products (encodec_in 1 -> 32, k7; w2v2_fe0 1 -> 512, k10 s5): the input is
// held in registers while the outputs go by.
//
// Problem: y[n, o, t] of a reduction so short that writing y is what takes time.
// Mapping: a block is up to 1024 neighbouring positions of one group and batch element, and up to 64 of its outputs; a
//   thread reads the (channel, tap) values of its four positions once, whatever stride, dilation and padding, and walks
//   down the outputs. Tiles of a row ride grid.x fastest, so that what is written at a time lies side by side.
// Shared memory: the weights, [output][reduction up to a multiple of 4], read as broadcasts of 16 bytes.
// Stores: 16 bytes a lane, aligned, in rows of any alignment. Where rows share sectors and a group has 128 outputs or
//   more, a block's outputs are every eighth, which all begin at the same place of a sector, as its positions then do:
//   sectors are written whole. So they are of fewer outputs in long rows, where sums are short: see conv1d_few.cuh.
// Halves: of x they become float32 as they are read. Of y a lane stores 8 bytes; a sector has 16 of them, so that it is
//   every sixteenth output, from 256 a group on. x's width is the kernel's, and y's; which halves is a branch.
// Predicted (H200, 1.75 GHz, a warp instruction a cycle a quarter): for four outputs a thread issues 4 R multiply-adds,
//   R / 4 loads of weights and some 12 more with R the reduction up to a multiple of 4. encodec_in (R 8): 46, so 61
//   million a warp, 0.07 ms, under the 0.256 ms of its bytes; w2v2_fe0 (R 12): 63, 150 million,
//   0.16 ms, under 0.267. Both should be bound by bytes: 0.28 and 0.31 ms. With y in halves these take 0.128 and 0.134
//   ms, so that w2v2_fe0 is bound by instructions.
// Limits: reductions up to 12 (16 spill registers), any of the rest.
// It beats cuda.direct, which brings each operand of each tap to shared memory first, and stores by 4 bytes.

#include <algorithm>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_few.cuh"
#include "layers/conv1d/conv1d_tensor.h"

namespace strand::layers {
namespace {

constexpr int kThreads = 256;
constexpr int kOutputs = 64;   // a block
constexpr int kMostTwice = 8;  // products of a sum, for some of them to be computed by two warps

struct FewInputs {
  Conv1dProblem p;
  int64_t out_length;
  int stored;                 // of a warp's 128 positions: see store_sectors
  tensor::Divisor tiles_by;   // of a row
  tensor::Divisor chunks_by;  // of a group's outputs
  tensor::Divisor groups_by;
};

// What kernels with `Halves` are given.
struct FewInputsOfHalves : FewInputs {
  DType x_type;
  DType y_type;
};

template <class Given>
__device__ __forceinline__ float value_of(const Given&, float value) {
  return value;
}
__device__ __forceinline__ float value_of(const FewInputsOfHalves& a, uint16_t bits) {
  return a.x_type == DType::kFloat16 ? stored_value(*reinterpret_cast<const __half*>(&bits))
                                     : stored_value(*reinterpret_cast<const __nv_bfloat16*>(&bits));
}

// As padded_value(), or the bits of a half.
template <class X>
__device__ __forceinline__ X padded_at(const X* row, int64_t position, int64_t length, PaddingMode mode) {
  const int64_t at = source_index(position, length, mode);
  return at < 0 ? X{0} : row[at];
}

// What a thread's four positions from t on multiply: value r is (channel, tap) r of the reduction; zeros past its end,
// as the weights there. Positions before a row's beginning and past its end repeat its first and last.
template <int Reduction, bool Inside, class Given, class X>
__device__ __forceinline__ void hold_inputs(const Given& a, const X* x, int64_t t,
                                            float (&held)[Reduction][kFewPositions]) {
  const Conv1dProblem& p = a.p;
  int64_t positions[kFewPositions];
#pragma unroll
  for (int j = 0; j < kFewPositions; ++j) {
    positions[j] = max(min(t + j, a.out_length - 1), int64_t{0}) * p.stride - p.pad_left;
  }
  const auto products = static_cast<int>(p.reduction());
  const X* row = x;
  int64_t offset = 0;
  int tap = 0;
#pragma unroll
  for (int r = 0; r < Reduction; ++r) {
#pragma unroll
    for (int j = 0; j < kFewPositions; ++j) {
      const int64_t at = positions[j] + offset;
      held[r][j] = 0;
      if (r < products) {
        held[r][j] = value_of(a, Inside ? __ldg(row + at) : padded_at(row, at, p.length, p.padding_mode));
      }
    }
    offset += p.dilation;
    if (++tap == p.kernel_size) {
      tap = 0;
      offset = 0;
      row += p.length;
    }
  }
}

__device__ __forceinline__ float* place_of(const FewInputs&, float* target) { return target; }
__device__ __forceinline__ HalvesTarget place_of(const FewInputsOfHalves& a, uint16_t* target) {
  return {target, a.y_type};
}

// Of a multiprocessor, so that no register is spilled.
constexpr int blocks_at_once(int reduction, bool plain, bool apart, bool halves) {
  const bool large = halves && apart && !plain;
  return reduction <= 4 || (reduction <= 8 && !large) ? 3 : 2;
}

// `Apart`: a block's outputs are every eighth channel, or of halves every sixteenth, see apart_of. `Halves`: x, y or
// the residual may be halves. `X`, `Y`: float, or uint16_t for halves of a.x_type, a.y_type.
template <int Reduction, bool Plain, bool Apart, bool Halves, class X, class Y>
__global__ void __launch_bounds__(kThreads, blocks_at_once(Reduction, Plain, Apart, Halves))
    few_inputs_kernel(const __grid_constant__ std::conditional_t<Halves, FewInputsOfHalves, FewInputs> a,
                      const X* __restrict__ x, const float* __restrict__ weight, Conv1dStore store, Y* __restrict__ y) {
  store.plain = Plain;
  __shared__ float4 weights[kOutputs * Reduction / 4];
  const Conv1dProblem& p = a.p;
  const uint32_t above_tile = a.tiles_by.divide(blockIdx.x);
  const uint32_t above_chunk = a.chunks_by.divide(above_tile);
  const uint32_t n = a.groups_by.divide(above_chunk);
  const uint32_t group = above_chunk - n * a.groups_by.value;
  const int64_t tile = blockIdx.x - above_tile * a.tiles_by.value;
  constexpr int kSector = kSectorBytes / sizeof(Y);
  constexpr int kApart = Apart ? kSector : 1;
  const int chunk = static_cast<int>(above_tile - above_chunk * a.chunks_by.value);
  const int64_t first_output = int64_t{chunk / kApart} * (kOutputs * kApart) + chunk % kApart;
  const int64_t channel = group * p.group_out() + first_output;
  const auto outputs = static_cast<int>(min((p.group_out() - first_output + kApart - 1) / kApart, int64_t{kOutputs}));
  const float4* source = reinterpret_cast<const float4*>(weight) + channel * (Reduction / 4);
  for (int i = threadIdx.x; i < outputs * Reduction / 4; i += blockDim.x) {
    weights[i] = source[i + i / (Reduction / 4) * ((kApart - 1) * Reduction / 4)];
  }

  const int64_t positions = int64_t{blockDim.x / 32} * a.stored;
  Y* row = y + (int64_t{n} * p.out_channels + channel) * a.out_length;
  // The block's rows all begin so far within a sector.
  const auto within = static_cast<int>(reinterpret_cast<uintptr_t>(row) / sizeof(Y) % kSector);
  const int64_t begin = tile * positions - (Apart ? within : 0);
  const int64_t end = begin + positions + kWarpOutputs - a.stored;  // of what the block computes
  const int64_t warp_t = begin + threadIdx.x / 32 * a.stored;
  const int64_t t = warp_t + threadIdx.x % 32 * kFewPositions;
  const int64_t first = begin * p.stride - p.pad_left;
  const int64_t last = (end - 1) * p.stride - p.pad_left + (p.kernel_size - 1) * p.dilation;
  const X* rows = x + (int64_t{n} * p.in_channels + group * p.group_in()) * p.length;
  float held[Reduction][kFewPositions];
  if (first >= 0 && last < p.length && end <= a.out_length) {
    hold_inputs<Reduction, true>(a, rows, t, held);
  } else {
    hold_inputs<Reduction, false>(a, rows, t, held);
  }
  __syncthreads();
  if (Apart && warp_t >= a.out_length) return;  // the last tile may begin past the row
  Y* target = row + t;
#pragma unroll 1
  for (int o = 0; o < outputs; ++o, target += a.out_length * kApart) {
    float sums[kFewPositions] = {};
#pragma unroll
    for (int r = 0; r < Reduction; r += 4) {
      const float4 four = weights[(o * Reduction + r) / 4];
      const float w[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < kFewPositions; ++j) sums[j] = fmaf(w[i], held[r + i][j], sums[j]);
      }
    }
    if constexpr (Halves) {  // not at<Halves>, of which nvcc says that it leaves `store` unused
      store.at<true>(n, channel + o * kApart)(sums, t, 1, a.out_length);
    } else {
      store.at(n, channel + o * kApart)(sums, t, 1, a.out_length);
    }
    const auto place = place_of(a, target);
    if constexpr (Apart) {
      store_aligned(place, sums, t, a.out_length);
    } else if (Reduction > kMostTwice || a.stored == kWarpOutputs) {
      store_four(place, sums, a.out_length - t);
    } else {
      store_sectors(place, sums, a.out_length - t, warp_t == 0);
    }
  }
}

// Rows whose beginnings share sectors, of so many channels that a block of them can have a single place in a sector:
// every eighth, or of halves every sixteenth. Its positions then begin there too. `sector`: values.
int apart_of(const Conv1dProblem& p, int64_t out_length, int sector) {
  constexpr int64_t kMinOutputs = 16;  // of such a block
  return out_length % sector != 0 && p.group_out() >= kMinOutputs * sector ? sector : 1;
}

// [C_out, reduction] -> [C_out, Reduction], zeros at the ends.
template <int Reduction>
Conv1dWeights pack(const Conv1dProblem& p, const PrepareArgs& args) {
  const std::span<const float> weight = args.weights.host("weight");
  const int64_t count = checked_mul(p.out_channels, Reduction);
  const auto fill = [&](std::byte* bytes) {
    auto* target = reinterpret_cast<float*>(bytes);
    std::fill_n(target, count, 0.0F);
    for (int64_t o = 0; o < p.out_channels; ++o) {
      std::copy_n(weight.data() + o * p.reduction(), p.reduction(), target + o * Reduction);
    }
  };
  return {args.weights.pack("weight.few_inputs", checked_mul(count, sizeof(float)), fill), p, args};
}

int threads_of(int64_t out_length) {
  return static_cast<int>(std::min<int64_t>(kThreads, round_up(ceil_div(out_length, kFewPositions), 32)));
}

// Short rows have too many ends, long sums too much to do twice.
int stored_of(const Conv1dProblem& p, int64_t out_length, int sector) {
  constexpr int64_t kMinLength = 2048;
  const bool shares = out_length % sector != 0 && apart_of(p, out_length, sector) == 1;
  return shares && out_length >= kMinLength && p.reduction() <= kMostTwice ? kWarpOutputs - sector : kWarpOutputs;
}

// Of a row. The last warp with outputs stores all of its 128.
int64_t tiles_of(const Conv1dProblem& p, int64_t out_length, int sector) {
  const int stored = stored_of(p, out_length, sector);
  const int64_t positions = int64_t{threads_of(out_length) / 32} * stored;
  const int before = apart_of(p, out_length, sector) - 1;  // positions that the first tile may begin by before the row
  return ceil_div(out_length + before - (kWarpOutputs - stored), positions);
}

// Of a group's outputs.
int64_t chunks_of(const Conv1dProblem& p, int64_t out_length, int sector) {
  const int64_t apart = apart_of(p, out_length, sector);
  const int64_t sets = ceil_div(p.group_out(), apart * kOutputs);
  // The last set may have fewer channels than there are places.
  return (sets - 1) * apart + std::min(apart, p.group_out() - (sets - 1) * apart * kOutputs);
}

int sector_of(DType y_type) { return kSectorBytes / bytes_stored(y_type); }

template <int Reduction, bool Halves, class X, class Y>
const void* kernel_of(bool plain, bool apart) {
  const auto pick = [apart](auto* near, auto* far) { return reinterpret_cast<const void*>(apart ? far : near); };
  if constexpr (!Halves || !std::is_same_v<X, float> || !std::is_same_v<Y, float>) {  // else there is a residual
    if (plain) {
      return pick(few_inputs_kernel<Reduction, true, false, Halves, X, Y>,
                  few_inputs_kernel<Reduction, true, true, Halves, X, Y>);
    }
  }
  return pick(few_inputs_kernel<Reduction, false, false, Halves, X, Y>,
              few_inputs_kernel<Reduction, false, true, Halves, X, Y>);
}

template <int Reduction>
const void* kernel_of_halves(bool x, bool y, bool plain, bool apart) {
  if (x) {
    return y ? kernel_of<Reduction, true, uint16_t, uint16_t>(plain, apart)
             : kernel_of<Reduction, true, uint16_t, float>(plain, apart);
  }
  return y ? kernel_of<Reduction, true, float, uint16_t>(plain, apart)
           : kernel_of<Reduction, true, float, float>(plain, apart);
}

template <int Reduction>
std::unique_ptr<Kernel> few_inputs(const Conv1dProblem& p, const PrepareArgs& args) {
  const int64_t out_length = args.outputs[0].shape[2];
  const DType y_type = args.outputs[0].dtype;
  const int sector = sector_of(y_type);
  const FewInputs a{p,
                    out_length,
                    stored_of(p, out_length, sector),
                    tensor::Divisor(std::max<int64_t>(tiles_of(p, out_length, sector), 1)),
                    tensor::Divisor(chunks_of(p, out_length, sector)),
                    tensor::Divisor(p.groups)};
  const auto blocks = static_cast<unsigned>(conv1d_few_inputs_blocks(p, out_length, y_type));
  const auto threads = static_cast<unsigned>(threads_of(out_length));
  const bool plain = p.epilogue.none();
  const bool apart = apart_of(p, out_length, sector) > 1;
  const Conv1dWeights weights = pack<Reduction>(p, args);
  if (!has_halves(args)) {
    return few_kernel(a, {kernel_of<Reduction, false, float, float>(plain, apart), blocks, threads, 0}, weights);
  }
  const DType x_type = args.inputs[0].dtype;
  const void* kernel = kernel_of_halves<Reduction>(is_half(x_type), is_half(y_type), plain, apart);
  return few_kernel(FewInputsOfHalves{a, x_type, y_type}, {kernel, blocks, threads, 0}, weights);
}

}  // namespace

int64_t conv1d_few_inputs_blocks(const Conv1dProblem& problem, int64_t out_length, DType y_type) {
  const int sector = sector_of(y_type);
  const int64_t rows = checked_mul(checked_mul(problem.batch, problem.groups), chunks_of(problem, out_length, sector));
  return checked_mul(rows, tiles_of(problem, out_length, sector));
}

std::unique_ptr<Kernel> conv1d_few_inputs_kernel(const Conv1dProblem& problem, const PrepareArgs& args) {
  if (problem.reduction() <= 4) return few_inputs<4>(problem, args);
  if (problem.reduction() <= 8) return few_inputs<8>(problem, args);
  return few_inputs<12>(problem, args);
}

}  // namespace strand::layers
