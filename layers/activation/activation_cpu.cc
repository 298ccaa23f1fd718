#include <Eigen/Core>

#include "layers/activation/activation.h"
#include "layers/implementation_list.h"
#include "layers/lanes.h"
#include "layers/packets_cpu.h"

namespace strand::layers {
namespace {

void prelu(const float* x, float* y, int64_t count, float slope) {
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] > 0 ? x[i] : x[i] * slope;
}

void snake(const float* x, float* y, int64_t count, float alpha, float share) {
  for (int64_t i = 0; i < count; i += Lanes::kCount) {
    const int64_t lanes = std::min<int64_t>(Lanes::kCount, count - i);
    Snake{alpha, share}(Lanes::load(x + i, lanes)).store(y + i, lanes);
  }
}

void gate(const HalvesOptions& options, const float* a, const float* b, float* y, int64_t count) {
  for (int64_t i = 0; i < count; i += Lanes::kCount) {
    const int64_t lanes = std::min<int64_t>(Lanes::kCount, count - i);
    const Lanes activation = half_function(options.activation, Lanes::load(a + i, lanes));
    (activation * half_function(options.gate, Lanes::load(b + i, lanes))).store(y + i, lanes);
  }
}

// In double the squares are exact, so that nothing over- or underflows.
void magnitude(const float* a, const float* b, float* y, int64_t count) {
  using Row = Eigen::Map<const Eigen::ArrayXf>;
  Eigen::Map<Eigen::ArrayXf>(y, count) =
      (Row(a, count).cast<double>().square() + Row(b, count).cast<double>().square()).sqrt().cast<float>();
}

}  // namespace

std::unique_ptr<Kernel> channel_cpu(const ChannelActivation& layer, const Weights& weights) {
  return function_kernel(
      [options = layer.options(), packed = layer.packed(weights)](const Context& context, const Bindings& bindings) {
        const ChannelSplit split = channel_split(bindings.inputs[0].shape(), options);
        const auto* x = bindings.inputs[0].ptr<const float>();
        auto* y = bindings.outputs[0].ptr<float>();
        const auto* values = reinterpret_cast<const float*>(packed->data());
        context.parallel_for(split.rows * split.inner, kGrain, [&](int64_t begin, int64_t end) {
          for_each_stretch(begin, end, split.inner, [&](int64_t row, int64_t column, int64_t count) {
            const float* own = values + row % split.channels;
            const int64_t offset = row * split.inner + column;
            if (options.kind == ChannelOptions::Kind::kPrelu) {
              prelu(x + offset, y + offset, count, *own);
            } else {
              snake(x + offset, y + offset, count, *own, own[split.channels]);
            }
          });
        });
      });
}

std::unique_ptr<Kernel> halves_cpu(const Halves& layer) {
  return function_kernel([layer](const Context& context, const Bindings& bindings) {
    const AxisSplit split = layer.split(bindings.inputs[0].shape());
    const int64_t half = split.size * split.inner;
    const auto* x = bindings.inputs[0].ptr<const float>();
    auto* y = bindings.outputs[0].ptr<float>();
    context.parallel_for(split.outer * half, kGrain, [&](int64_t begin, int64_t end) {
      for_each_stretch(begin, end, half, [&](int64_t outer, int64_t column, int64_t count) {
        const float* first = x + outer * 2 * half + column;
        float* to = y + outer * half + column;
        if (layer.options().magnitude) {
          magnitude(first, first + half, to, count);
        } else {
          gate(layer.options(), first, first + half, to, count);
        }
      });
    });
  });
}

std::unique_ptr<Kernel> film_cpu() {
  return function_kernel([](const Context& context, const Bindings& bindings) {
    const FilmProblem p = Film::problem(bindings.inputs[0].shape(), bindings.inputs[1].shape());
    const auto* input = bindings.inputs[0].ptr<const float>();
    auto* output = bindings.outputs[0].ptr<float>();
    context.parallel_for(p.batch * p.channels * p.length, kGrain, [&](int64_t begin, int64_t end) {
      for_each_stretch(begin, end, p.length, [&](int64_t row, int64_t column, int64_t count) {
        const float* x = input + row * p.length + column;
        float* y = output + row * p.length + column;
        const float* factor = bindings.inputs[1].ptr<const float>() + p.condition_row(row) + (p.constant ? 0 : column);
        const float* shift = factor + p.channels * p.condition_length();
        if (p.constant) {
          for (int64_t i = 0; i < count; ++i) y[i] = multiply_add(x[i], *factor, *shift);
        } else {
          for (int64_t i = 0; i < count; ++i) y[i] = multiply_add(x[i], factor[i], shift[i]);
        }
      });
    });
  });
}

}  // namespace strand::layers
