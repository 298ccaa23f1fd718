// Combining on the CPU: the result is a flat range that threads share; rows along which every input either advances by
// one or stays go through Eigen, which vectorises them. Concat copies rows.

#include <Eigen/Core>

#include <cstring>
#include <utility>

#include "layers/combine/combine.h"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

using Row = Eigen::Map<Eigen::ArrayXf>;
using ConstRow = Eigen::Map<const Eigen::ArrayXf>;

void fold(Operation operation, const float* source, bool varies, Row result) {
  const ConstRow row(source, varies ? result.size() : 1);
  if (operation == Operation::kAdd) {
    varies ? result += row : result += *source;
  } else {
    varies ? result *= row : result *= *source;
  }
}

// count elements of one row, from `column` on.
void combine_row(Operation operation, const BroadcastWalk& walk, const Bindings& bindings, int64_t row, int64_t column,
                 int64_t count) {
  Row result(bindings.outputs[0].ptr<float>() + row * walk.row_length() + column, count);
  for (size_t i = 0; i < bindings.inputs.size(); ++i) {
    const float* source =
        bindings.inputs[i].ptr<const float>() + walk.row_offset(i, row) + (walk.varies(i) ? column : 0);
    if (i > 0) {
      fold(operation, source, walk.varies(i), result);
    } else if (walk.varies(i)) {
      result = ConstRow(source, count);
    } else {
      result = *source;
    }
  }
}

}  // namespace

std::unique_ptr<Kernel> elementwise_cpu(Operation operation, BroadcastWalk walk) {
  return function_kernel([operation, walk = std::move(walk)](const Context& context, const Bindings& bindings) {
    context.parallel_for(bindings.outputs[0].elements(), kGrain, [&](int64_t begin, int64_t end) {
      // Stretches of a long row stay in the cache from input to input.
      constexpr int64_t kStretch = 4096;
      for (int64_t from = begin; from < end; from += kStretch) {
        for_each_stretch(from, std::min(end, from + kStretch), walk.row_length(),
                         [&](int64_t row, int64_t column, int64_t count) {
                           combine_row(operation, walk, bindings, row, column, count);
                         });
      }
    });
  });
}

std::unique_ptr<Kernel> concat_cpu(int axis) {
  return function_kernel([axis](const Context& context, const Bindings& bindings) {
    const TensorView& output = bindings.outputs[0];
    const int64_t row = part_of(output, axis);
    context.parallel_for(output.shape().elements(0, axis), kGrain / (row + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t outer = begin; outer < end; ++outer) {
        float* target = output.ptr<float>() + outer * row;
        for (const TensorView& input : bindings.inputs) {
          const int64_t size = part_of(input, axis);
          if (size > 0)
            std::memcpy(target, input.ptr<const float>() + outer * size, static_cast<size_t>(size) * sizeof(float));
          target += size;
        }
      }
    });
  });
}

}  // namespace strand::layers
