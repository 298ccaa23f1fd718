// Slices, Pad and reordered axes on CUDA.
//
// A slice with step 1 copies rows (layers/copy_rows.cuh); with a larger step, and Pad, a thread gathers four elements a
// block's width apart, neighbours in neighbouring threads. Where the last axis changes, matrices go through 32 x 32
// tiles in shared memory (a column of padding keeps its banks apart), so that reads and writes both coalesce; where it
// stays, a thread gathers elements along it.
// Limits: 64-bit sizes; the grid rides on x. Bound by bytes: 4 an element read and 4 written.

#include "layers/copy_rows.cuh"
#include "layers/implementation_list.h"
#include "layers/shape/pad_index.h"
#include "layers/shape/permute.h"

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

struct CopyMatrices {
  PermuteProblem problem;  // of whole rows
  const float* x;
  float* y;
  template <class Index>
  __device__ float load(Index i) const {
    const Index outer = i / static_cast<Index>(problem.columns);
    return x[start_of(problem, static_cast<int64_t>(outer)).x + (i - outer * static_cast<Index>(problem.columns))];
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
    transpose_tiles(PermuteProblem problem, Tiles tiles, const float* __restrict__ x, float* __restrict__ y) {
  __shared__ float tile[kTile][kTile + 1];  // (row, column)
  constexpr int kStep = cuda::kThreads / kTile;
  const int along = threadIdx.x % kTile;
  const int across = threadIdx.x / kTile;
  const int64_t column = blockIdx.x % tiles.columns * kTile;
  const int64_t row = blockIdx.x / tiles.columns % tiles.rows * kTile;
  const PermuteStart start = start_of(problem, blockIdx.x / tiles.columns / tiles.rows);

  for (int i = across; i < kTile; i += kStep) {
    const int64_t source = start.x + (row + i) * problem.row_pitch + column;
    if (row + i < problem.rows && column + along < problem.columns) tile[i][along] = x[source + along];
  }
  __syncthreads();
  for (int i = across; i < kTile; i += kStep) {
    const int64_t target = start.y + (column + i) * problem.column_pitch + row;
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

void run_permute(const Context& context, const PermuteProblem& problem, const float* x, float* y) {
  if (problem.elements() == 0) return;
  if (problem.rows == 1) {
    return cuda::launch_flat(context, "Permute", problem.elements(), CopyMatrices{problem, x, y});
  }
  const Tiles tiles{ceil_div(problem.rows, kTile), ceil_div(problem.columns, kTile)};
  const int64_t blocks = checked_mul(problem.outer, tiles.rows * tiles.columns);
  transpose_tiles<<<cuda::grid_size(blocks, "Permute"), cuda::kThreads, 0, cuda::stream(context)>>>(problem, tiles, x,
                                                                                                    y);
  cuda::check_launch("Permute");
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

// A slice of the input an output.
Implementation slices(const PrepareArgs& args, const std::vector<SliceProblem>& parts) {
  return float32_implementation(args, "cuda.native", [parts] {
    return function_kernel([parts](const Context& context, const Bindings& bindings) {
      for (size_t i = 0; i < parts.size(); ++i) {
        run_slice(context, parts[i], bindings.inputs[0].ptr<const float>(), bindings.outputs[i].ptr<float>());
      }
    });
  });
}

}  // namespace

void shape_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const Shape& shape = args.inputs[0].shape;
  if (const auto* slice = dynamic_cast<const Slice*>(&layer)) {
    list.push_back(slices(args, {slice->problem(shape)}));
  } else if (const auto* split = dynamic_cast<const Split*>(&layer)) {
    list.push_back(slices(args, split->parts(shape)));
  } else if (const auto* pad = dynamic_cast<const Pad*>(&layer)) {
    list.push_back(native(args, pad->problem(shape), run_pad));
  } else if (const auto* permute = dynamic_cast<const Permute*>(&layer)) {
    list.push_back(native(args, permute_problem(shape, permute->order(shape)), run_permute));
  } else if (const auto* shuffle = dynamic_cast<const PixelShuffle1d*>(&layer)) {
    list.push_back(native(args, shuffle->problem(shape), run_permute));
  }
}

}  // namespace strand::layers
