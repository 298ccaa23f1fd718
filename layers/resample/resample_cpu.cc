// LowPassUpsample and LowPassDownsample on the CPU: a chunk of outputs that share their taps goes tap by tap, along
// memory; near the ends with what goes past them, in the same order. A value does not depend on its chunk.

#include <algorithm>
#include <array>
#include <utility>

#include "engine/checked.h"
#include "layers/implementation_list.h"
#include "layers/packets_cpu.h"
#include "layers/resample/resample.h"

namespace strand::layers {
namespace {

constexpr int64_t kChunk = 256;

// Outputs first, first + step, ..., `count` of them, of one row; they share their taps.
void resample_phase(const ResampleProblem& p, const float* filter, const float* x, float* y, int64_t first,
                    int64_t step, int64_t count) {
  const ResampleTaps taps = resample_taps(p, first);
  const int64_t pitch = p.up ? 1 : p.ratio;  // in x, from output to output
  const int64_t reach = ((p.taps - 1 - taps.first) / taps.step) * taps.move;
  const bool inside = taps.at + std::min<int64_t>(reach, 0) >= 0 &&
                      taps.at + std::max<int64_t>(reach, 0) + (count - 1) * pitch < p.length;
  std::array<float, kChunk> sums;
  float* const sum = sums.data();
  std::fill_n(sum, count, 0.0F);
  int64_t at = taps.at;
  for (int64_t k = taps.first; k < p.taps; k += taps.step, at += taps.move) {
    const float weight = filter[k];
    if (!inside) {
      for (int64_t i = 0; i < count; ++i) {
        sum[i] = multiply_add(weight, resample_sample(p, x, at + i * pitch), sum[i]);
      }
    } else if (pitch == 1) {
      for (int64_t i = 0; i < count; ++i) sum[i] = multiply_add(weight, x[at + i], sum[i]);
    } else {
      for (int64_t i = 0; i < count; ++i) sum[i] = multiply_add(weight, x[at + i * pitch], sum[i]);
    }
  }
  const float gain = p.up ? static_cast<float>(p.ratio) : 1.0F;
  for (int64_t i = 0; i < count; ++i) y[first + i * step] = gain * sum[i];
}

}  // namespace

std::unique_ptr<Kernel> resample_cpu(const ResampleProblem& whole, std::shared_ptr<const Buffer> filter) {
  return function_kernel([whole, filter = std::move(filter)](const Context& context, const Bindings& bindings) {
    const ResampleProblem p = stretch_of(whole, bindings);
    const auto* weight = reinterpret_cast<const float*>(filter->data());
    const int64_t step = p.up ? p.ratio : 1;
    context.parallel_for(p.rows, kGrain / (p.out_length * 4 + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const float* x = bindings.inputs[0].ptr<const float>() + row * p.length;
        float* y = bindings.outputs[0].ptr<float>() + row * p.out_length;
        for (int64_t chunk = 0; chunk < p.out_length; chunk += kChunk * step) {
          const int64_t count = std::min(kChunk * step, p.out_length - chunk);
          for (int64_t phase = 0; phase < std::min(step, count); ++phase) {
            resample_phase(p, weight, x, y, chunk + phase, step, ceil_div(count - phase, step));
          }
        }
      }
    });
  });
}

}  // namespace strand::layers
