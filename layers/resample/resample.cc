#include "layers/resample/resample.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

struct Reference {
  ResampleProblem whole;
  std::vector<double> filter;
  bool magnitudes = false;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const ResampleProblem p = stretch_of(whole, bindings);
    auto* y = bindings.outputs[0].ptr<T>();
    for (int64_t i = 0; i < p.rows * p.out_length; ++i) {
      const T* x = bindings.inputs[0].ptr<const T>() + i / p.out_length * p.length;
      const ResampleTaps taps = resample_taps(p, i % p.out_length);
      double sum = 0;
      int64_t at = taps.at;
      for (int64_t k = taps.first; k < p.taps; k += taps.step, at += taps.move) {
        const double term = filter[static_cast<size_t>(k)] * static_cast<double>(resample_sample(p, x, at));
        sum += magnitudes ? std::fabs(term) : term;
      }
      y[i] = static_cast<T>(p.up ? static_cast<double>(p.ratio) * sum : sum);
    }
  }
};

}  // namespace

Resample::Resample(bool up, int64_t ratio, int64_t kernel_size, bool sinc, bool zeros) : sinc_(sinc) {
  fixed_.up = up;
  fixed_.zeros = zeros;
  fixed_.ratio = ratio;
  fixed_.taps = kernel_size;
  checked_mul(ratio, kernel_size);
  if (kernel_size / 2 < ratio) {
    throw Error(ErrorCategory::kSchema, "kernel_size " + std::to_string(kernel_size) +
                                            " is less than twice the ratio " + std::to_string(ratio));
  }
  // The reference pads the input by kernel_size / ratio - 1 and crops more from the output; what is left is this.
  fixed_.pad = up ? (kernel_size - ratio) / 2 : kernel_size / 2 - (kernel_size % 2 == 0 ? 1 : 0);
}

// Where its window is above 0 a tap stands for a sinc whose zeros are `ratio` samples of the faster signal apart.
std::vector<double> Resample::filter(const Weights& weights) const {
  if (!sinc_) {
    const std::span<const float> values = weights.host("filter");
    return {values.begin(), values.end()};
  }
  std::vector<double> taps(static_cast<size_t>(fixed_.taps), 0.0);
  const auto ratio = static_cast<double>(fixed_.ratio);
  for (int64_t k = 0; k < std::min(fixed_.taps, 2 * fixed_.pad + 1); ++k) {
    const int64_t steps = k - fixed_.pad;
    const double angle = std::numbers::pi * static_cast<double>(steps) / ratio;
    const double sinc = steps == 0 ? 1 : steps % fixed_.ratio == 0 ? 0 : std::sin(angle) / angle;
    const double window =
        std::cos(std::numbers::pi / 2 * static_cast<double>(steps) / static_cast<double>(fixed_.pad + 1));
    taps[static_cast<size_t>(k)] = sinc * window * window / ratio;
  }
  return taps;
}

std::shared_ptr<const Buffer> Resample::packed(const Weights& weights) const {
  if (!sinc_) return weights.floats("filter");
  const std::vector<double> taps = filter(weights);
  return weights.pack("filter.sinc", static_cast<int64_t>(taps.size() * sizeof(float)), [&](std::byte* target) {
    std::ranges::transform(taps, reinterpret_cast<float*>(target), [](double tap) { return static_cast<float>(tap); });
  });
}

ResampleProblem stretch_of(ResampleProblem problem, const Bindings& bindings) {
  const TensorType& input = bindings.inputs[0].type;
  const int last = input.shape.rank() - 1;
  problem.rows = input.shape.elements(0, last);
  if (input.time_axis != last) return problem;
  problem.length = input.shape[last];
  problem.out_length = bindings.outputs[0].shape()[last];
  problem.in_start = bindings.window.input;
  problem.out_start = bindings.window.output;
  return problem;
}

ResampleProblem Resample::problem(const Shape& shape) const {
  ResampleProblem p = fixed_;
  const int last = shape.rank() - 1;
  p.rows = shape.elements(0, last);
  p.length = shape[last];
  if (p.length == 0) throw Error(ErrorCategory::kShape, "input " + to_string(shape) + " has nothing to resample");
  p.out_length = p.up ? checked_mul(p.length, p.ratio) : (p.length - 1) / p.ratio + 1;
  return p;
}

std::vector<TensorType> Resample::infer(std::span<const TensorType> inputs) const {
  TensorType output = inputs[0];
  output.shape.set(output.shape.rank() - 1, problem(output.shape).out_length);
  return {output};
}

std::vector<Parameter> Resample::parameters() const {
  if (sinc_) return {};
  return {{"filter", {1, 1, fixed_.taps}, Init::kUniform, fixed_.taps}};
}

TimeMap Resample::time_map(int, int, std::span<const TensorType> inputs) const {
  if (inputs[0].time_axis != inputs[0].shape.rank() - 1) return TimeMap::pointwise();
  TimeMap map;
  map.ends = fixed_.zeros ? Ends::kZeros : Ends::kReplicate;
  if (fixed_.up) {
    map.denominator = fixed_.ratio;
    map.first = fixed_.pad - (fixed_.taps - 1) + (fixed_.ratio - 1);
    map.last = fixed_.pad;
  } else {
    map.numerator = fixed_.ratio;
    map.first = -fixed_.pad;
    map.last = fixed_.taps - 1 - fixed_.pad;
    map.length = fixed_.ratio - 1;
  }
  return map;
}

int64_t Resample::multiply_adds(std::span<const TensorType>, std::span<const TensorType> outputs) const {
  return checked_mul(outputs[0].shape.elements(), fixed_.up ? ceil_div(fixed_.taps, fixed_.ratio) : fixed_.taps);
}

std::vector<Implementation> Resample::implementations(const PrepareArgs& args) const {
  const ResampleProblem p = problem(args.inputs[0].shape);
  std::vector<Implementation> list;
  resample_cuda(*this, args, list);
  list.push_back(
      float32_implementation(args, "cpu.native", [this, p, &args] { return resample_cpu(p, packed(args.weights)); }));
  list.push_back(reference_implementation(args, [this, p, &args] { return Reference{p, filter(args.weights)}; }));
  return list;
}

ErrorBound Resample::error_bound(const PrepareArgs& args) const {
  const Reference sums{problem(args.inputs[0].shape), filter(args.weights), true};
  return error_bound_of(sum_factor(fixed_.taps) + (sinc_ ? 2 : 1),
                        [sums](const Bindings& b) { sums.operator()<double>(b); });
}

namespace {

// Whether the field is `other` rather than `usual`.
bool is_other(const Attributes& attributes, const char* field, const char* usual, const char* other) {
  const std::string& value = attributes.string(field);
  if (value == usual || value == other) return value == other;
  throw Error(ErrorCategory::kSchema, std::string(field) + " is '" + value + "', expected " + usual + " or " + other);
}

}  // namespace

void register_resample(LayerRegistry& registry);
void register_resample(LayerRegistry& registry) {
  for (const bool up : {true, false}) {
    registry.add(
        {up ? "LowPassUpsample" : "LowPassDownsample",
         up ? "more samples by a low-pass filter, as BigVGAN's UpSample1d"
            : "fewer samples by a low-pass filter, as BigVGAN's DownSample1d",
         {{"ratio", kInteger, up ? "output samples an input sample" : "input samples an output sample", int64_t{2}},
          {"kernel_size", kInteger, "taps of the filter", int64_t{12}},
          {"filter", kString, "weight: a parameter; sinc: under a Hann window, as denoiser's", std::string("weight")},
          {"padding_mode", kString, "replicate or zeros, at the ends", std::string("replicate")}},
         [up](const Attributes& a) {
           return std::make_unique<Resample>(up, a.positive("ratio"), a.positive("kernel_size"),
                                             is_other(a, "filter", "weight", "sinc"),
                                             is_other(a, "padding_mode", "replicate", "zeros"));
         },
         up ? "[*, L] -> [*, L ratio]" : "[*, L] -> [*, ceil(L / ratio)]",
         up ? "(t + (kernel_size - ratio) / 2) / ratio, and as far before as taps reach"
            : "ratio t - (kernel_size - 1) / 2, + kernel_size - 1"});
  }
}

}  // namespace strand::layers
