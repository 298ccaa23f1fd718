// Softmax and LogSoftmax on the CPU. Where the axis is the last, a row is taken lane by lane; else neighbouring rows
// lie side by side and go a lane each.

#include "layers/implementation_list.h"
#include "layers/lanes.h"
#include "layers/softmax/softmax.h"
#include "layers/softmax_rows.h"

namespace strand::layers {

std::unique_ptr<Kernel> softmax_cpu(const Softmax& layer) {
  return function_kernel([layer](const Context& context, const Bindings& bindings) {
    const AxisSplit split = layer.split(bindings.inputs[0].shape());
    const bool log = layer.log();
    const auto* x = bindings.inputs[0].ptr<const float>();
    auto* y = bindings.outputs[0].ptr<float>();
    const int64_t grain = kGrain / std::max<int64_t>(split.size, 1) + 1;
    // Not wherever rows are contiguous: a piece of one sample is summed in the order of the whole signal.
    if (layer.over_last_axis(bindings.inputs[0].shape())) {
      context.parallel_for(split.outer, grain, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row)
          softmax_row(log, x + row * split.size, y + row * split.size, split.size);
      });
      return;
    }
    context.parallel_for(split.outer * split.inner, grain, [&](int64_t begin, int64_t end) {
      for_each_stretch(begin, end, split.inner, [&](int64_t outer, int64_t inner, int64_t count) {
        for (int64_t i = 0; i < count; i += Lanes::kCount) {
          const int64_t offset = outer * split.size * split.inner + inner + i;
          softmax_columns(log, x + offset, y + offset, split.size, split.inner,
                          std::min<int64_t>(Lanes::kCount, count - i));
        }
      });
    });
  });
}

}  // namespace strand::layers
