// Slices, Pad and reordered axes on the CPU: whole stretches are copied where they lie together, and a matrix goes by
// squares, whose both sides stay in the cache.

#include <algorithm>
#include <cstring>

#include "layers/implementation_list.h"
#include "layers/shape/pad_index.h"
#include "layers/shape/permute.h"

namespace strand::layers {
namespace {

void copy(const float* source, float* target, int64_t count) {
  if (count > 0) std::memcpy(target, source, static_cast<size_t>(count) * sizeof(float));
}

// At most a square of kSide x kSide elements.
constexpr int64_t kSide = 16;

void transpose_square(const float* __restrict__ x, int64_t x_stride, float* __restrict__ y, int64_t y_stride,
                      int64_t rows, int64_t columns) {
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = 0; r < rows; ++r) y[c * y_stride + r] = x[r * x_stride + c];
  }
}

// y [outer, count] from every step-th element of a last axis.
void slice_steps(const Context& context, const SliceProblem& p, const float* x, float* y) {
  context.parallel_for(p.split.outer * p.count, kGrain, [&](int64_t begin, int64_t end) {
    for_each_stretch(begin, end, p.count, [&](int64_t outer, int64_t t, int64_t stretch) {
      const float* source = x + outer * p.split.size + p.start + t * p.step;
      float* target = y + outer * p.count + t;
      for (int64_t i = 0; i < stretch; ++i) target[i] = source[i * p.step];
    });
  });
}

// Rows of elements that lie together: all that is taken of an outer index, or with a step one element of the axis.
void slice_rows(const Context& context, const SliceProblem& p, const float* x, float* y) {
  const int64_t steps = p.step == 1 ? 1 : p.count;
  const int64_t taken = p.step == 1 ? p.count * p.split.inner : p.split.inner;
  context.parallel_for(p.split.outer * steps, kGrain / (taken + 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t first = row / steps * p.split.size + p.start + row % steps * p.step;
      copy(x + first * p.split.inner, y + row * taken, taken);
    }
  });
}

// kSide columns of one matrix, from `column` on.
void transpose_strip(const PermuteProblem& p, const float* x, float* y, int64_t column) {
  const int64_t width = std::min(kSide, p.columns - column);
  for (int64_t r = 0; r < p.rows; r += kSide) {
    transpose_square(x + r * p.row_pitch + column, p.row_pitch, y + column * p.column_pitch + r, p.column_pitch,
                     std::min(kSide, p.rows - r), width);
  }
}

}  // namespace

std::unique_ptr<Kernel> slices_cpu(const std::vector<SliceProblem>& parts) {
  return function_kernel([parts](const Context& context, const Bindings& bindings) {
    for (size_t i = 0; i < parts.size(); ++i) {
      const SliceProblem part = stretch_of(parts[i], bindings, i);
      const bool gathers = part.step > 1 && part.split.inner == 1;
      (gathers ? slice_steps : slice_rows)(context, part, bindings.inputs[0].ptr<const float>(),
                                           bindings.outputs[i].ptr<float>());
    }
  });
}

std::unique_ptr<Kernel> pad_cpu(const PadProblem& whole) {
  return function_kernel([whole](const Context& context, const Bindings& bindings) {
    const PadProblem problem = stretch_of(whole, bindings);
    const int64_t length = problem.output_length();
    const int64_t first = std::clamp<int64_t>(0, -problem.left, problem.length + problem.right);
    const int64_t last = std::clamp(problem.length, first, problem.length + problem.right);
    context.parallel_for(problem.rows, kGrain / (length + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const float* x = bindings.inputs[0].ptr<const float>() + row * problem.length;
        float* y = bindings.outputs[0].ptr<float>() + row * length + problem.left;
        const auto fill = [&](int64_t begin_at, int64_t end_at) {
          for (int64_t at = begin_at; at < end_at; ++at) {
            const int64_t index = pad_index(problem, at);
            y[at] = index < 0 ? static_cast<float>(problem.value) : x[index];
          }
        };
        fill(-problem.left, first);
        copy(x + first, y + first, last - first);
        fill(last, problem.length + problem.right);
      }
    });
  });
}

std::unique_ptr<Kernel> permute_cpu(const AxisOrder& order) {
  return function_kernel([order](const Context& context, const Bindings& bindings) {
    const auto* x = bindings.inputs[0].ptr<const float>();
    auto* y = bindings.outputs[0].ptr<float>();
    const PermuteProblem p = permute_problem(bindings.inputs[0].shape(), order);
    if (p.elements() == 0) return;
    // An item is a row, or a strip of kSide columns of one matrix.
    const int64_t strips = p.rows == 1 ? 1 : (p.columns + kSide - 1) / kSide;
    const int64_t grain = kGrain / (p.rows == 1 ? p.columns : p.rows * kSide) + 1;
    context.parallel_for(p.outer * strips, grain, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const PermuteStart start = start_of(p, item / strips);
        if (p.rows == 1) {
          copy(x + start.x, y + start.y, p.columns);
        } else {
          transpose_strip(p, x + start.x, y + start.y, item % strips * kSide);
        }
      }
    });
  });
}

}  // namespace strand::layers
