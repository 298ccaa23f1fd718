// Slice, Pad and Transpose on the CPU: whole stretches are copied where they lie together, and a transposition goes by
// squares, whose both sides stay in the cache.

#include <algorithm>
#include <cstring>

#include "layers/implementation_list.h"
#include "layers/shape/pad_index.h"

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

// All rows of the matrix [rows, width] whose element (0, 0) is at x, to y; strides in elements.
void transpose_strip(const TransposeProblem& p, const float* x, float* y, int64_t width) {
  const int64_t x_stride = p.middle * p.columns * p.inner;
  const int64_t y_stride = p.middle * p.rows * p.inner;
  for (int64_t r = 0; r < p.rows; r += kSide) {
    const int64_t height = std::min(kSide, p.rows - r);
    if (p.inner == 1) {
      transpose_square(x + r * x_stride, x_stride, y + r, y_stride, height, width);
      continue;
    }
    for (int64_t i = 0; i < height * width; ++i) {
      const int64_t row = r + i / width;
      const int64_t column = i % width;
      copy(x + row * x_stride + column * p.inner, y + column * y_stride + row * p.inner, p.inner);
    }
  }
}

}  // namespace

std::unique_ptr<Kernel> slice_cpu(const SliceProblem& whole) {
  return function_kernel([whole](const Context& context, const Bindings& bindings) {
    const SliceProblem problem = stretch_of(whole, bindings);
    const bool gathers = problem.step > 1 && problem.split.inner == 1;
    (gathers ? slice_steps : slice_rows)(context, problem, bindings.inputs[0].ptr<const float>(),
                                         bindings.outputs[0].ptr<float>());
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

std::unique_ptr<Kernel> transpose_cpu(const Transpose& layer) {
  return function_kernel([layer](const Context& context, const Bindings& bindings) {
    const auto* x = bindings.inputs[0].ptr<const float>();
    auto* y = bindings.outputs[0].ptr<float>();
    const TransposeProblem p = layer.problem(bindings.inputs[0].shape());
    if (p.elements() == 0) return;
    // An item is a strip of kSide columns of one matrix.
    const int64_t strips = (p.columns + kSide - 1) / kSide;
    const int64_t grain = kGrain / (p.rows * kSide * p.inner) + 1;
    context.parallel_for(p.outer * p.middle * strips, grain, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t column = item % strips * kSide;
        const int64_t middle = item / strips % p.middle;
        const int64_t outer = item / strips / p.middle;
        transpose_strip(p, x + ((outer * p.rows * p.middle + middle) * p.columns + column) * p.inner,
                        y + ((outer * p.columns + column) * p.middle + middle) * p.rows * p.inner,
                        std::min(kSide, p.columns - column));
      }
    });
  });
}

}  // namespace strand::layers
