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

}  // namespace

std::unique_ptr<Kernel> slice_cpu(const SliceProblem& problem) {
  return function_kernel([problem](const Context& context, const Bindings& bindings) {
    const auto& [split, start, step, count] = problem;
    const auto* x = bindings.inputs[0].ptr<const float>();
    auto* y = bindings.outputs[0].ptr<float>();
    if (step > 1 && split.inner == 1) {
      context.parallel_for(split.outer * count, kGrain, [&, problem](int64_t begin, int64_t end) {
        for_each_stretch(begin, end, problem.count, [&](int64_t outer, int64_t t, int64_t stretch) {
          const float* source = x + outer * problem.split.size + problem.start + t * problem.step;
          float* target = y + outer * problem.count + t;
          for (int64_t i = 0; i < stretch; ++i) target[i] = source[i * problem.step];
        });
      });
      return;
    }
    // Rows of `taken` elements; with a step above 1 every element of the axis is a row.
    const int64_t taken = step == 1 ? count * split.inner : split.inner;
    const int64_t rows = step == 1 ? split.outer : split.outer * count;
    context.parallel_for(rows, kGrain / (taken + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t outer = step == 1 ? row : row / count;
        const int64_t t = step == 1 ? 0 : row % count * step;
        copy(x + (outer * split.size + start + t) * split.inner, y + row * taken, taken);
      }
    });
  });
}

std::unique_ptr<Kernel> pad_cpu(const PadProblem& problem) {
  return function_kernel([problem](const Context& context, const Bindings& bindings) {
    const int64_t length = problem.output_length();
    context.parallel_for(problem.rows, kGrain / (length + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const float* x = bindings.inputs[0].ptr<const float>() + row * problem.length;
        float* y = bindings.outputs[0].ptr<float>() + row * length + problem.left;
        const auto fill = [&](int64_t first, int64_t last) {
          for (int64_t at = first; at < last; ++at) {
            const int64_t index = pad_index(problem, at);
            y[at] = index < 0 ? static_cast<float>(problem.value) : x[index];
          }
        };
        fill(-problem.left, 0);
        copy(x, y, problem.length);
        fill(problem.length, problem.length + problem.right);
      }
    });
  });
}

std::unique_ptr<Kernel> transpose_cpu(const TransposeProblem& problem) {
  return function_kernel([problem](const Context& context, const Bindings& bindings) {
    const auto& [outer, rows, middle, columns, inner] = problem;
    const auto* x = bindings.inputs[0].ptr<const float>();
    auto* y = bindings.outputs[0].ptr<float>();
    if (problem.elements() == 0) return;
    // An item is a strip of kSide columns of one matrix, all its rows.
    const int64_t strips = (columns + kSide - 1) / kSide;
    const int64_t grain = kGrain / (rows * kSide * inner) + 1;
    context.parallel_for(outer * middle * strips, grain, [&, problem](int64_t begin, int64_t end) {
      const auto& p = problem;
      for (int64_t item = begin; item < end; ++item) {
        const int64_t first = item % strips * kSide;
        const int64_t m = item / strips % p.middle;
        const int64_t o = item / strips / p.middle;
        const int64_t width = std::min(kSide, p.columns - first);
        const float* source = x + ((o * p.rows * p.middle + m) * p.columns + first) * p.inner;
        float* target = y + ((o * p.columns + first) * p.middle + m) * p.rows * p.inner;
        const int64_t source_stride = p.middle * p.columns * p.inner;
        const int64_t target_stride = p.middle * p.rows * p.inner;
        for (int64_t r = 0; r < p.rows; r += kSide) {
          const int64_t height = std::min(kSide, p.rows - r);
          if (p.inner == 1) {
            transpose_square(source + r * source_stride, source_stride, target + r, target_stride, height, width);
            continue;
          }
          for (int64_t i = 0; i < height * width; ++i) {
            const int64_t row = r + i / width;
            const int64_t column = i % width;
            copy(source + row * source_stride + column * p.inner, target + column * target_stride + row * p.inner,
                 p.inner);
          }
        }
      }
    });
  });
}

}  // namespace strand::layers
