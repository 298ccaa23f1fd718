// Slice, Pad and Transpose on CUDA.
//
// Slice with step 1 copies rows (layers/copy_rows.cuh); with a larger step, and Pad, a thread gathers four elements a
// block's width apart, neighbours in neighbouring threads. Transpose of the last axis goes through 32 x 32 tiles in
// shared memory (a column of padding keeps its banks apart), so that reads and writes both coalesce; where the axes
// leave an inner one alone, a thread gathers elements along that.
// Limits: 64-bit sizes; the grid rides on x. Bound by bytes: 4 an element read and 4 written.

#include "layers/copy_rows.cuh"
#include "layers/implementation_list.h"
#include "layers/shape/pad_index.h"

namespace strand::layers {
namespace {

struct GatherSlice {
  SliceProblem problem;
  const float* x;
  float* y;
  template <class Index>
  __device__ float load(Index i) const {
    const auto inner_size = static_cast<Index>(problem.split.inner);
    const auto count = static_cast<Index>(problem.count);
    const Index row = i / inner_size;
    const Index outer = row / count;
    const auto t = static_cast<int64_t>(row - outer * count) * problem.step + problem.start;
    return x[(static_cast<int64_t>(outer) * problem.split.size + t) * problem.split.inner + (i - row * inner_size)];
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

struct GatherPad {
  PadProblem problem;
  float constant;
  const float* x;
  float* y;
  template <class Index>
  __device__ float load(Index i) const {
    const auto length = static_cast<Index>(problem.output_length());
    const Index row = i / length;
    const int64_t index = pad_index(problem, static_cast<int64_t>(i - row * length) - problem.left);
    return index < 0 ? constant : x[static_cast<int64_t>(row) * problem.length + index];
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

struct GatherTranspose {
  TransposeProblem problem;
  const float* x;
  float* y;
  template <class Index>
  __device__ float load(Index i) const {
    const auto take = [&i](int64_t size) {
      const Index rest = i / static_cast<Index>(size);
      const Index index = i - rest * static_cast<Index>(size);
      i = rest;
      return static_cast<int64_t>(index);
    };
    const int64_t inner = take(problem.inner);
    const int64_t row = take(problem.rows);
    const int64_t middle = take(problem.middle);
    const int64_t column = take(problem.columns);
    const int64_t outer = (static_cast<int64_t>(i) * problem.rows + row) * problem.middle + middle;
    return x[(outer * problem.columns + column) * problem.inner + inner];
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

constexpr int kTile = 32;

struct Tiles {
  int64_t rows;     // tiles along the rows of a matrix
  int64_t columns;  // and along its columns
};

__global__ void __launch_bounds__(cuda::kThreads)
    transpose_tiles(TransposeProblem problem, Tiles tiles, const float* __restrict__ x, float* __restrict__ y) {
  __shared__ float tile[kTile][kTile + 1];  // (row, column)
  constexpr int kStep = cuda::kThreads / kTile;
  const int along = threadIdx.x % kTile;
  const int across = threadIdx.x / kTile;
  const int64_t column = blockIdx.x % tiles.columns * kTile;
  const int64_t row = blockIdx.x / tiles.columns % tiles.rows * kTile;
  const int64_t matrix = blockIdx.x / tiles.columns / tiles.rows;
  const int64_t outer = matrix / problem.middle;
  const int64_t middle = matrix % problem.middle;

  for (int i = across; i < kTile; i += kStep) {
    const int64_t source = ((outer * problem.rows + row + i) * problem.middle + middle) * problem.columns + column;
    if (row + i < problem.rows && column + along < problem.columns) tile[i][along] = x[source + along];
  }
  __syncthreads();
  for (int i = across; i < kTile; i += kStep) {
    const int64_t target = ((outer * problem.columns + column + i) * problem.middle + middle) * problem.rows + row;
    if (column + i < problem.columns && row + along < problem.rows) y[target + along] = tile[along][i];
  }
}

void run_slice(const Context& context, const SliceProblem& problem, const float* x, float* y) {
  const auto& [split, start, step, count, dim] = problem;
  if (step == 1) {
    cuda::launch_copy_rows(context, "Slice", x + start * split.inner, split.size * split.inner, y, count * split.inner,
                           count * split.inner, split.outer);
  } else {
    cuda::launch_flat(context, "Slice", split.outer * count * split.inner, GatherSlice{problem, x, y});
  }
}

void run_pad(const Context& context, const PadProblem& problem, const float* x, float* y) {
  cuda::launch_flat(context, "Pad", problem.rows * problem.output_length(),
                    GatherPad{problem, static_cast<float>(problem.value), x, y});
}

void run_transpose(const Context& context, const TransposeProblem& problem, const float* x, float* y) {
  if (problem.elements() == 0) return;
  if (problem.inner > 1) {
    return cuda::launch_flat(context, "Transpose", problem.elements(), GatherTranspose{problem, x, y});
  }
  const Tiles tiles{ceil_div(problem.rows, kTile), ceil_div(problem.columns, kTile)};
  const int64_t blocks = checked_mul(problem.outer * problem.middle, tiles.rows * tiles.columns);
  transpose_tiles<<<cuda::grid_size(blocks, "Transpose"), cuda::kThreads, 0, cuda::stream(context)>>>(problem, tiles, x,
                                                                                                      y);
  cuda::check_launch("Transpose");
}

template <class Problem>
Implementation native(const PrepareArgs& args, const Problem& problem,
                      void (*run)(const Context&, const Problem&, const float*, float*)) {
  return float32_implementation(args, "cuda.native", [problem, run] {
    return function_kernel([problem, run](const Context& context, const Bindings& bindings) {
      run(context, problem, bindings.inputs[0].ptr<const float>(), bindings.outputs[0].ptr<float>());
    });
  });
}

}  // namespace

void shape_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const Shape& shape = args.inputs[0].shape;
  if (const auto* slice = dynamic_cast<const Slice*>(&layer)) {
    list.push_back(native(args, slice->problem(shape), run_slice));
  } else if (const auto* pad = dynamic_cast<const Pad*>(&layer)) {
    list.push_back(native(args, pad->problem(shape), run_pad));
  } else if (const auto* transpose = dynamic_cast<const Transpose*>(&layer)) {
    list.push_back(native(args, transpose->problem(shape), run_transpose));
  }
}

}  // namespace strand::layers
