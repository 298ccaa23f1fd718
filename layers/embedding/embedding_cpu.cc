// On the CPU: threads take stretches of the output, of rows that lie side by side.

#include <algorithm>
#include <cmath>
#include <limits>

#include "layers/embedding/embedding.h"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

const float* floats(const std::shared_ptr<const Buffer>& buffer) {
  return reinterpret_cast<const float*>(buffer->data());
}

}  // namespace

std::unique_ptr<Kernel> embedding_cpu(const Embedding& layer, const Weights& weights) {
  return function_kernel([layer, table = weights.floats("weight")](const Context& context, const Bindings& bindings) {
    const auto* x = bindings.inputs[0].ptr<const float>();
    auto* y = bindings.outputs[0].ptr<float>();
    const int64_t features = layer.embedding_dim();
    context.parallel_for(bindings.inputs[0].elements(), kGrain / features + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const bool good = x[i] >= 0 && x[i] < static_cast<float>(layer.num_embeddings()) && x[i] == std::floor(x[i]);
        if (good) {
          std::copy_n(floats(table) + static_cast<int64_t>(x[i]) * features, features, y + i * features);
        } else {
          std::fill_n(y + i * features, features, std::numeric_limits<float>::quiet_NaN());
        }
      }
    });
  });
}

std::unique_ptr<Kernel> position_cpu(const PositionalEmbedding& layer, const PrepareArgs& args) {
  const bool features_last = layer.split(args.inputs[0].shape).features_last;
  const auto packed = layer.packed(args.weights, features_last);
  return function_kernel([layer, packed](const Context& context, const Bindings& bindings) {
    const PositionSplit split = layer.split(bindings.inputs[0].shape());
    const int64_t positions = layer.options().num_embeddings;
    const auto* x = bindings.inputs[0].ptr<const float>();
    auto* y = bindings.outputs[0].ptr<float>();
    const int64_t first = bindings.window.output;
    const int64_t row_length = split.features_last ? split.features : split.times;
    const auto add = [&](int64_t row, int64_t column, int64_t count) {
      const int64_t at = row * row_length + column;
      const int64_t t = split.features_last ? first + row % split.times : first + column;
      // Past the table, where a stream may come, there is no number to add.
      const int64_t known =
          split.features_last ? (t < positions ? count : 0) : std::clamp<int64_t>(positions - t, 0, count);
      const float* table =
          floats(packed) + (split.features_last ? t * split.features + column : row % split.features * positions + t);
      for (int64_t i = 0; i < known; ++i) y[at + i] = x[at + i] + table[i];
      std::fill(y + at + known, y + at + count, std::numeric_limits<float>::quiet_NaN());
    };
    context.parallel_for(split.elements(), kGrain,
                         [&](int64_t begin, int64_t end) { for_each_stretch(begin, end, row_length, add); });
  });
}

std::unique_ptr<Kernel> layer_scale_cpu(const LayerScale& layer, const Weights& weights) {
  return function_kernel(
      [layer, factors = weights.floats(layer.parameter())](const Context& context, const Bindings& bindings) {
        const AxisSplit split = layer.split(bindings.inputs[0].shape());
        const auto* x = bindings.inputs[0].ptr<const float>();
        auto* y = bindings.outputs[0].ptr<float>();
        // Side by side lie the channels, or times of one of them.
        const bool channels = split.inner == 1;
        const int64_t row_length = channels ? split.size : split.inner;
        context.parallel_for(split.elements(), kGrain, [&](int64_t begin, int64_t end) {
          for_each_stretch(begin, end, row_length, [&](int64_t row, int64_t column, int64_t count) {
            const int64_t at = row * row_length + column;
            const float* factor = floats(factors) + (channels ? column : row % split.size);
            for (int64_t i = 0; i < count; ++i) y[at + i] = x[at + i] * factor[channels ? i : 0];
          });
        });
      });
}

}  // namespace strand::layers
