// Upsample on the CPU: where a chunk of outputs reads from is worked out once for all rows of a thread. A value does
// not depend on its chunk.

#include <array>

#include "layers/implementation_list.h"
#include "layers/packets_cpu.h"
#include "layers/upsample/upsample.h"

namespace strand::layers {
namespace {

constexpr int64_t kChunk = 256;

struct Point {
  int64_t low;
  int64_t high;
  float low_weight;
  float high_weight;
};

void upsample_rows(const UpsampleProblem& p, const float* x, float* y, int64_t rows, int64_t first, int64_t count) {
  std::array<Point, kChunk> points;
  for (int64_t i = 0; i < count; ++i) {
    const UpsamplePoint point = upsample_point(p, first + i);
    points[static_cast<size_t>(i)] = {point.low, point.high, static_cast<float>(1 - point.weight),
                                      static_cast<float>(point.weight)};
  }
  for (int64_t row = 0; row < rows; ++row) {
    const float* source = x + row * p.length;
    float* target = y + row * p.out_length + first;
    if (p.mode == UpsampleMode::kNearest) {
      for (int64_t i = 0; i < count; ++i) target[i] = source[points[static_cast<size_t>(i)].low];
      continue;
    }
    for (int64_t i = 0; i < count; ++i) {
      const Point& point = points[static_cast<size_t>(i)];
      target[i] = multiply_add(point.high_weight, source[point.high], point.low_weight * source[point.low]);
    }
  }
}

}  // namespace

std::unique_ptr<Kernel> upsample_cpu(const UpsampleProblem& whole) {
  return function_kernel([whole](const Context& context, const Bindings& bindings) {
    const UpsampleProblem p = stretch_of(whole, bindings);
    const auto* x = bindings.inputs[0].ptr<const float>();
    auto* y = bindings.outputs[0].ptr<float>();
    context.parallel_for(p.rows, kGrain / (p.out_length + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t first = 0; first < p.out_length; first += kChunk) {
        upsample_rows(p, x + begin * p.length, y + begin * p.out_length, end - begin, first,
                      std::min(kChunk, p.out_length - first));
      }
    });
  });
}

}  // namespace strand::layers
