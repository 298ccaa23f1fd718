#include "layers/upsample/upsample.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

struct Reference {
  UpsampleProblem whole;
  bool magnitudes = false;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const UpsampleProblem p = stretch_of(whole, bindings);
    const auto* x = bindings.inputs[0].ptr<const T>();
    auto* y = bindings.outputs[0].ptr<T>();
    for (int64_t i = 0; i < p.rows * p.out_length; ++i) {
      const UpsamplePoint point = upsample_point(p, i % p.out_length);
      const T* row = x + i / p.out_length * p.length;
      const auto low = static_cast<double>(row[point.low]);
      const auto high = static_cast<double>(row[point.high]);
      if (magnitudes) {
        y[i] = static_cast<T>(std::fabs(low) + std::fabs(high));
      } else if (p.mode == UpsampleMode::kNearest) {
        y[i] = row[point.low];
      } else {
        y[i] = static_cast<T>((1 - point.weight) * low + point.weight * high);
      }
    }
  }
};

constexpr int64_t kLargestDenominator = 1 << 20;

// The simplest fraction (by continued fractions) that is the factor when it is rounded to a double.
UpsampleFactor fraction_of(double factor) {
  UpsampleFactor before{1, 0};
  UpsampleFactor now{static_cast<int64_t>(factor), 1};
  double rest = factor - std::floor(factor);
  while (static_cast<double>(now.numerator) / static_cast<double>(now.denominator) != factor) {
    const double inverse = 1 / rest;
    const double next = std::floor(inverse);
    if (!(next * static_cast<double>(now.denominator) < static_cast<double>(kLargestDenominator))) {
      throw Error(ErrorCategory::kSchema, "scale_factor is " + std::to_string(factor) +
                                              ", expected a fraction whose denominator is at most " +
                                              std::to_string(kLargestDenominator));
    }
    const auto step = static_cast<int64_t>(next);
    const UpsampleFactor further{step * now.numerator + before.numerator, step * now.denominator + before.denominator};
    before = now;
    now = further;
    rest = inverse - next;
  }
  return now;
}

}  // namespace

Upsample::Upsample(UpsampleMode mode, std::optional<int64_t> size, double factor, bool align_corners)
    : mode_(mode), size_(size), align_corners_(align_corners) {
  if (size_) return;
  if (!(factor > 0 && factor <= kLargestDenominator)) {
    throw Error(ErrorCategory::kSchema, "scale_factor is " + std::to_string(factor) + ", expected one above 0, up to " +
                                            std::to_string(kLargestDenominator));
  }
  factor_ = fraction_of(factor);
}

UpsampleProblem stretch_of(UpsampleProblem problem, const Bindings& bindings) {
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

UpsampleProblem Upsample::problem(const Shape& shape) const {
  const int last = shape.rank() - 1;
  UpsampleProblem p;
  p.mode = mode_;
  p.rows = shape.elements(0, last);
  p.length = shape[last];
  p.out_length = size_ ? *size_ : checked_mul(p.length, factor_.numerator) / factor_.denominator;
  if (p.length == 0 || p.out_length == 0) {
    throw Error(ErrorCategory::kShape, "length " + std::to_string(p.length) + " would become " +
                                           std::to_string(p.out_length) + ", expected at least 1 of either");
  }
  if (align_corners_) {
    p.numerator = p.out_length > 1 ? p.length - 1 : 0;
    p.denominator = std::max<int64_t>(p.out_length - 1, 1);
  } else {
    p.numerator = size_ ? p.length : factor_.denominator;
    p.denominator = size_ ? p.out_length : factor_.numerator;
    if (mode_ == UpsampleMode::kLinear) {
      p.first = p.numerator - p.denominator;
      p.numerator = checked_mul(p.numerator, 2);
      p.denominator = checked_mul(p.denominator, 2);
    }
  }
  checked_add(checked_mul(p.numerator, p.out_length), p.denominator);
  return p;
}

std::vector<TensorType> Upsample::infer(std::span<const TensorType> inputs) const {
  TensorType output = inputs[0];
  output.shape.set(output.shape.rank() - 1, problem(output.shape).out_length);
  return {output};
}

TimeMap Upsample::time_map(int, int, std::span<const TensorType> inputs) const {
  if (inputs[0].time_axis != inputs[0].shape.rank() - 1) return TimeMap::pointwise();
  if (size_) return TimeMap::all("Upsample to a size: its steps depend on the length");
  if (align_corners_) return TimeMap::all("Upsample with align_corners: its steps depend on the length");
  TimeMap map;
  map.numerator = factor_.denominator;
  map.denominator = factor_.numerator;
  if (mode_ == UpsampleMode::kNearest) return map;
  map.first = map.numerator - map.denominator;
  map.numerator *= 2;
  map.denominator *= 2;
  map.last = std::max(map.first, int64_t{0}) + map.denominator;  // the neighbour to the right, of time 0 too
  map.ends = Ends::kReplicate;
  return map;
}

std::shared_ptr<const Layer> Upsample::in_window(const Window&, int64_t, int64_t) const {
  if (mode_ != UpsampleMode::kNearest || factor_.numerator < factor_.denominator) return nullptr;
  return std::make_shared<Upsample>(*this);
}

std::vector<Implementation> Upsample::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  upsample_cuda(*this, args, list);
  const UpsampleProblem problem = this->problem(args.inputs[0].shape);
  list.push_back(float32_implementation(args, "cpu.native", [problem] { return upsample_cpu(problem); }));
  list.push_back(reference_implementation(args, [problem] { return Reference{problem}; }));
  return list;
}

ErrorBound Upsample::error_bound(const PrepareArgs& args) const {
  if (mode_ == UpsampleMode::kNearest) return exact();
  return error_bound_of(4, [scale = Reference{problem(args.inputs[0].shape), true}](const Bindings& bindings) {
    scale.operator()<double>(bindings);
  });
}

namespace {

std::unique_ptr<Layer> make_upsample(const Attributes& attributes) {
  const std::string& name = attributes.string("mode");
  if (name != "nearest" && name != "linear") {
    throw Error(ErrorCategory::kSchema, "mode is '" + name + "', expected nearest or linear");
  }
  if (attributes.is_null("size") == attributes.is_null("scale_factor")) {
    throw Error(ErrorCategory::kSchema, "takes one of size and scale_factor");
  }
  const bool align_corners = !attributes.is_null("align_corners") && attributes.boolean("align_corners");
  if (name == "nearest" && !attributes.is_null("align_corners")) {
    throw Error(ErrorCategory::kSchema, "align_corners goes with mode linear");
  }
  std::optional<int64_t> size;
  if (!attributes.is_null("size")) size = attributes.positive("size");
  return std::make_unique<Upsample>(name == "nearest" ? UpsampleMode::kNearest : UpsampleMode::kLinear, size,
                                    size ? 1.0 : attributes.number("scale_factor"), align_corners);
}

}  // namespace

void register_upsample(LayerRegistry& registry);
void register_upsample(LayerRegistry& registry) {
  registry.add({"Upsample",
                "more (or fewer) samples along the last axis",
                {{"size", kInteger | kNull, "length of the output", Null{}},
                 {"scale_factor", kNumber | kNull, "output samples an input sample, instead of size", Null{}},
                 {"mode", kString, "nearest or linear", std::string("nearest")},
                 {"align_corners", kBoolean | kNull, "whether the ends' samples map to each other (linear)", Null{}}},
                make_upsample,
                "[*, L] -> [*, floor(L scale_factor)] or [*, size]",
                "t / scale_factor (nearest) or both neighbours (linear); whole for a size or aligned corners"});
}

}  // namespace strand::layers
