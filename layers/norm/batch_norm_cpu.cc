#include "layers/axes.h"
#include "layers/implementation_list.h"
#include "layers/norm/batch_norm.h"
#include "layers/packets_cpu.h"

namespace strand::layers {
namespace {

void scale_shift(const float* __restrict__ x, float* __restrict__ y, int64_t count, float scale, float shift) {
  for (int64_t i = 0; i < count; ++i) y[i] = multiply_add(x[i], scale, shift);
}

}  // namespace

std::unique_ptr<Kernel> batch_norm_cpu(std::shared_ptr<const Buffer> packed) {
  return function_kernel([packed = std::move(packed)](const Context& context, const Bindings& bindings) {
    const ChannelRows rows = channel_rows(bindings.inputs[0].shape());
    const auto* x = bindings.inputs[0].ptr<const float>();
    auto* y = bindings.outputs[0].ptr<float>();
    const auto* scale = reinterpret_cast<const float*>(packed->data());
    context.parallel_for(rows.rows * rows.length, kGrain, [&](int64_t begin, int64_t end) {
      for_each_stretch(begin, end, rows.length, [&](int64_t row, int64_t column, int64_t count) {
        const int64_t channel = row % rows.channels;
        const int64_t offset = row * rows.length + column;
        scale_shift(x + offset, y + offset, count, scale[channel], scale[channel + rows.channels]);
      });
    });
  });
}

}  // namespace strand::layers
