// cuda.im2col: the input unfolded in memory, then cuBLAS's float32 matrix product (no TF32, no atomics).
//
// Problem: y[n, g] (C_out / groups x L_out) = W[g] (C_out / groups x C_in / groups * K) * columns[n, g] + bias.
// Mapping: unfold gives a block one row (channel and tap) of one batch element, 1024 consecutive positions of it; the
//   bias is written to y before, and the product is added to it (beta = 1). Both in chunks of positions or, where a
//   whole signal fits, of batch elements; the columns of a chunk are to stay in the L2 cache between the two.
// Shared memory: none of ours.
// Limits: 32 columns must fit the workspace; C_out / groups, the reduction and a chunk below 2^31.
// It beats cuda.direct where cuBLAS's product gains more than the unfolding costs: without an unfolding
//   (kernel_size 1, stride 1, no padding), and for long reductions over few positions, which cuBLAS can split.

#include <algorithm>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_cuda.cuh"

namespace strand::layers {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 4;
constexpr int kTile = kThreads * kPerThread;        // positions a block
constexpr int64_t kCacheBytes = int64_t{32} << 20;  // of columns a chunk: they and their outputs fit the L2 cache
constexpr int64_t kMaxProducts = 65535;             // a call of cuBLAS
constexpr int64_t kFewest = 32;                     // positions a chunk

// How the work is cut: chunks of `elements` batch elements and `positions` positions; one of both is 1 or all.
struct Chunking {
  int64_t elements = 1;
  int64_t positions = 0;
  int64_t bytes = 0;  // of columns; none where the input serves as it is
};

// Not where the input is the operand as it lies. One output a row may have any stride, and so be less than its input.
bool needs_unfolding(const Conv1dProblem& p, int64_t out_length) {
  return p.kernel_size > 1 || p.stride > 1 || !p.unpadded() || p.length != out_length;
}

Chunking chunking(const Conv1dProblem& p, int64_t out_length, int64_t limit) {
  if (!needs_unfolding(p, out_length)) return {p.batch, out_length, 0};
  const int64_t column = checked_mul(checked_mul(p.in_channels, p.kernel_size), sizeof(float));
  const int64_t wanted = std::min(limit, std::max(kCacheBytes, checked_mul(column, kFewest)));
  const int64_t columns = wanted / column;
  if (columns >= out_length) {
    const int64_t elements = std::clamp<int64_t>(columns / out_length, 1, std::max<int64_t>(p.batch, 1));
    return {elements, out_length, checked_mul(elements * out_length, column)};
  }
  const int64_t positions = columns / kFewest * kFewest;
  return {1, positions, checked_mul(positions, column)};
}

// columns[n, c, k, t] = xp[n, c, (first + t) * stride + k * dilation] for `positions` positions t.
__global__ void __launch_bounds__(kThreads)
    unfold(Conv1dProblem p, const float* __restrict__ x, float* __restrict__ columns, int64_t first, int64_t positions,
           int64_t tiles) {
  const int64_t row = blockIdx.x / tiles;  // (n * C_in + c) * K + k
  const int64_t channel = row / p.kernel_size;
  const int64_t begin = (row - channel * p.kernel_size) * p.dilation - p.pad_left;
  const int64_t tile = (blockIdx.x - row * tiles) * kTile;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int64_t t = tile + i * kThreads + threadIdx.x;
    if (t >= positions) return;
    columns[row * positions + t] =
        padded_value(x + channel * p.length, (first + t) * p.stride + begin, p.length, p.padding_mode);
  }
}

// y[n, o, first + t] = bias[o].
__global__ void __launch_bounds__(kThreads)
    begin_outputs(Conv1dStore store, float* __restrict__ y, int64_t channels, int64_t out_length, int64_t first,
                  int64_t positions, int64_t tiles) {
  const int64_t row = blockIdx.x / tiles;  // n * C_out + o
  const float value = store.bias[row % channels];
  const int64_t tile = (blockIdx.x - row * tiles) * kTile;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int64_t t = tile + i * kThreads + threadIdx.x;
    if (t < positions) y[row * out_length + first + t] = value;
  }
}

// The sums of `positions` positions to outputs, in place; batch elements count from `element`.
__global__ void __launch_bounds__(kThreads)
    finish_outputs(Conv1dStore store, float* y, int64_t element, int64_t first, int64_t positions, int64_t tiles) {
  const int64_t row = blockIdx.x / tiles;  // n * C_out + o
  const int64_t n = row / store.channels;
  const Conv1dStore::Channel finish = store.at(element + n, row - n * store.channels);
  const int64_t tile = (blockIdx.x - row * tiles) * kTile;
  float* target = y + row * store.length;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int64_t t = tile + i * kThreads + threadIdx.x;
    if (t < positions) target[first + t] = finish(target[first + t], first + t);
  }
}

struct Im2col {
  Conv1dProblem problem;
  int64_t out_length = 0;
  Chunking chunking;
  Conv1dWeights weights;
};

// A bias alone is what the products are added to; with more to do, all of it comes after them.
bool begins_with_bias(const Conv1dProblem& p) { return p.has_bias && p.epilogue.none(); }

// y (C_out / groups x positions) += W * columns for `count` pairs that lie the strides apart.
void multiply(const Im2col& conv, cublasHandle_t handle, const float* columns, int64_t positions,
              int64_t columns_stride, const float* weight, int64_t weight_stride, float* y, int64_t count) {
  const Conv1dProblem& p = conv.problem;
  const float one = 1;
  const float beta = begins_with_bias(p) ? 1.0F : 0.0F;
  const int64_t y_stride = p.group_out() * conv.out_length;
  for (int64_t i = 0; i < count; i += kMaxProducts) {
    // cuBLAS is column-major, so it is told of the transposes.
    cuda::check(
        cublasSgemmStridedBatched_64(handle, CUBLAS_OP_N, CUBLAS_OP_N, positions, p.group_out(), p.reduction(), &one,
                                     columns + i * columns_stride, positions, columns_stride,
                                     weight + i * weight_stride, p.reduction(), weight_stride, &beta, y + i * y_stride,
                                     conv.out_length, y_stride, std::min(kMaxProducts, count - i)),
        "conv1d cuda.im2col: cublasSgemmStridedBatched");
  }
}

// One chunk's sums: `elements` batch elements from x and y on, `positions` positions from `first` on.
void run_chunk(const Im2col& conv, const Context& context, const Conv1dStore& store, const float* x, float* y,
               int64_t elements, int64_t first, int64_t positions, float* columns) {
  const Conv1dProblem& p = conv.problem;
  const int64_t tiles = ceil_div(positions, kTile);
  if (begins_with_bias(p)) {
    const auto blocks = static_cast<unsigned>(elements * p.out_channels * tiles);
    begin_outputs<<<blocks, kThreads, 0, cuda::stream(context)>>>(store, y, p.out_channels, conv.out_length, first,
                                                                  positions, tiles);
    cuda::check_launch("conv1d cuda.im2col, bias");
  }
  const bool unfolds = conv.chunking.bytes > 0;
  if (unfolds) {
    const auto blocks = static_cast<unsigned>(elements * p.in_channels * p.kernel_size * tiles);
    unfold<<<blocks, kThreads, 0, cuda::stream(context)>>>(p, x, columns, first, positions, tiles);
    cuda::check_launch("conv1d cuda.im2col, unfold");
  }
  const float* operand = unfolds ? columns : x;
  const int64_t stride = p.reduction() * positions;  // of a group
  const float* weight = conv.weights.data();
  const cublasHandle_t handle = cuda::cublas(context);
  if (p.groups == 1) {
    multiply(conv, handle, operand, positions, stride, weight, 0, y + first, elements);
    return;
  }
  for (int64_t n = 0; n < elements; ++n) {
    multiply(conv, handle, operand + n * p.groups * stride, positions, stride, weight, p.group_out() * p.reduction(),
             y + n * p.out_channels * conv.out_length + first, p.groups);
  }
}

void convolve(const Im2col& conv, const Context& context, const Bindings& bindings) {
  const Conv1dProblem& p = conv.problem;
  const auto* x = bindings.inputs[0].ptr<const float>();  // [N, C_in, L]
  auto* y = bindings.outputs[0].ptr<float>();             // [N, C_out, L_out]
  const Chunking& cut = conv.chunking;
  const Conv1dStore store = conv.weights.store(bindings);
  for (int64_t n = 0; n < p.batch; n += cut.elements) {
    const int64_t elements = std::min(cut.elements, p.batch - n);
    float* rows = y + n * p.out_channels * conv.out_length;
    for (int64_t t = 0; t < conv.out_length; t += cut.positions) {
      const int64_t positions = std::min(cut.positions, conv.out_length - t);
      run_chunk(conv, context, store, x + n * p.in_channels * p.length, rows, elements, t, positions,
                reinterpret_cast<float*>(bindings.workspace));
      if (store.plain) continue;
      const int64_t tiles = ceil_div(positions, kTile);
      const auto blocks = static_cast<unsigned>(elements * p.out_channels * tiles);
      finish_outputs<<<blocks, kThreads, 0, cuda::stream(context)>>>(store, rows, n, t, positions, tiles);
      cuda::check_launch("conv1d cuda.im2col, epilogue");
    }
  }
}

std::string declines(const Conv1dProblem& p, const PrepareArgs& args, const Chunking& cut) {
  std::string reason = conv1d_cuda_declines(p, args);
  if (!reason.empty()) return reason;
  if (cut.positions == 0) {
    return "even " + std::to_string(kFewest) + " columns of " + std::to_string(p.in_channels) + " x " +
           std::to_string(p.kernel_size) + " floats do not fit a workspace of " + std::to_string(args.workspace_limit) +
           " bytes";
  }
  const int64_t rows = checked_mul(cut.elements, std::max(p.out_channels, p.in_channels * p.kernel_size));
  return checked_mul(rows, ceil_div(cut.positions, kTile)) > kMaxBlocks ? "a chunk needs more blocks than grid.x takes"
                                                                        : "";
}

}  // namespace

Implementation conv1d_im2col(const Conv1dProblem& problem, const PrepareArgs& args) {
  const int64_t out_length = args.outputs[0].shape[2];
  const Chunking cut = chunking(problem, out_length, args.workspace_limit);
  return {"cuda.im2col", DeviceType::kCuda, declines(problem, args, cut),
          [problem, &args, out_length, cut]() -> std::unique_ptr<Kernel> {
            return function_kernel(
                [conv = Im2col{problem, out_length, cut, plain_weights(problem, args)}](
                    const Context& context, const Bindings& bindings) { convolve(conv, context, bindings); },
                cut.bytes);
          }};
}

}  // namespace strand::layers
