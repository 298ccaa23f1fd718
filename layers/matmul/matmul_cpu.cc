// MatMul on the CPU: a task is a strip of 16 columns for some rows; see layers/strip_product_cpu.h.

#include <algorithm>

#include "engine/checked.h"
#include "layers/function_kernel.h"
#include "layers/matmul/matmul.h"
#include "layers/strip_product_cpu.h"

namespace strand::layers {
namespace {

constexpr int64_t kTaskRows = 48;

}  // namespace

std::unique_ptr<Kernel> matmul_cpu() {
  return function_kernel([](const Context& context, const Bindings& bindings) {
    const MatMulProblem p = MatMul::problem(bindings.inputs[0].shape(), bindings.inputs[1].shape());
    const int64_t strips = ceil_div(p.columns, kStrip);
    const int64_t parts = ceil_div(p.rows, kTaskRows);
    // A thread should have some 100,000 multiply-adds to do.
    const int64_t grain = 100'000 / ((p.inner + 1) * kStrip * std::min(p.rows, kTaskRows) + 1) + 1;
    context.parallel_for(p.batches * strips * parts, grain, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t batch = task / parts / strips;
        const int64_t row = batch / p.batch.row_length();
        const auto matrix = [&](size_t input) {
          return p.batch.row_offset(input, row) + (p.batch.varies(input) ? batch % p.batch.row_length() : 0);
        };
        const StripProduct product{bindings.inputs[0].ptr<const float>() + matrix(0) * p.rows * p.inner,
                                   p.inner,
                                   bindings.inputs[1].ptr<const float>() + matrix(1) * p.inner * p.columns,
                                   p.columns,
                                   1,
                                   bindings.outputs[0].ptr<float>() + batch * p.rows * p.columns,
                                   p.columns,
                                   p.inner};
        const int64_t first = task % parts * kTaskRows;
        const int64_t column = task / parts % strips * kStrip;
        multiply_strip(product, first, std::min(p.rows, first + kTaskRows), column,
                       std::min<int64_t>(kStrip, p.columns - column));
      }
    });
  });
}

}  // namespace strand::layers
