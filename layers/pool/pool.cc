#include "layers/pool/pool.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

// PyTorch's pooling_output_shape.
int64_t output_length(const PoolOptions& options, int64_t length) {
  if (options.kind == PoolKind::kAdaptiveAverage) return length > 0 ? options.output_size : 0;
  const int64_t padded = checked_add(length, checked_mul(2, options.padding));
  const int64_t extent = checked_add(checked_mul(options.dilation, options.kernel_size - 1), 1);
  const int64_t room = checked_sub(padded, extent);
  if (length == 0 || (room < 0 && !options.ceil_mode)) return 0;
  const int64_t size = (options.ceil_mode ? ceil_div(room, options.stride) : room / options.stride) + 1;
  // A last window must begin inside the input or the left padding.
  const bool past = options.ceil_mode && checked_mul(size - 1, options.stride) >= length + options.padding;
  return past ? size - 1 : size;
}

struct Reference {
  PoolProblem whole;
  bool magnitudes = false;  // averages |x|, for the error bound

  template <class T>
  void operator()(const Bindings& bindings) const {
    const PoolProblem problem = stretch_of(whole, bindings);
    const auto* x = bindings.inputs[0].ptr<const T>();
    auto* y = bindings.outputs[0].ptr<T>();
    for (int64_t row = 0; row < problem.rows; ++row) {
      for (int64_t t = 0; t < problem.output_length; ++t) {
        y[row * problem.output_length + t] = static_cast<T>(value(problem, x + row * problem.length, t));
      }
    }
  }

  template <class T>
  double value(const PoolProblem& problem, const T* x, int64_t t) const {
    const PoolWindow window = pool_window(problem, t);
    double max = -std::numeric_limits<double>::infinity();
    double sum = 0;
    for (int64_t k = 0; k < window.count; ++k) {
      const auto v = static_cast<double>(x[window.first + k * problem.options.dilation]);
      if (v > max || std::isnan(v)) max = v;
      sum += magnitudes ? std::fabs(v) : v;
    }
    if (problem.options.kind == PoolKind::kMax) return max;
    return window.count > 0 ? sum / static_cast<double>(window.divisor) : 0;
  }
};

bool over_time(const TensorType& input) { return input.time_axis == input.shape.rank() - 1; }

}  // namespace

PoolProblem stretch_of(PoolProblem problem, const Bindings& bindings) {
  const TensorType& input = bindings.inputs[0].type;
  const int last = input.shape.rank() - 1;
  problem.rows = input.shape.elements(0, last);
  if (!over_time(input)) return problem;
  problem.length = input.shape[last];
  problem.output_length = bindings.outputs[0].shape()[last];
  problem.first += bindings.window.output * problem.options.stride - bindings.window.input;
  return problem;
}

PoolProblem Pool::problem(const Shape& shape) const {
  const int last = shape.rank() - 1;
  PoolProblem problem{options_, shape.elements(0, last), shape[last], output_length(options_, shape[last])};
  if (problem.output_length < 1 && options_.kind == PoolKind::kAdaptiveAverage) {
    throw Error(ErrorCategory::kShape, "length " + std::to_string(problem.length) + " has nothing to average");
  }
  if (problem.output_length < 1) {
    throw Error(ErrorCategory::kShape, "no window fits: length " + std::to_string(problem.length) + ", kernel_size " +
                                           std::to_string(options_.kernel_size) + ", stride " +
                                           std::to_string(options_.stride) + ", padding " +
                                           std::to_string(options_.padding) + ", dilation " +
                                           std::to_string(options_.dilation));
  }
  return problem;
}

std::vector<TensorType> Pool::infer(std::span<const TensorType> inputs) const {
  TensorType output = inputs[0];
  const int rank = output.shape.rank();
  if (rank != 2 && rank != 3) {
    throw Error(ErrorCategory::kShape, "input is " + to_string(output.shape) + ", expected [N, C, L] or [C, L]");
  }
  output.shape.set(rank - 1, problem(output.shape).output_length);
  return {output};
}

TimeMap Pool::time_map(int, int, std::span<const TensorType> inputs) const {
  if (!over_time(inputs[0])) return TimeMap::pointwise();
  if (options_.kind == PoolKind::kAdaptiveAverage) {
    return TimeMap::all("AdaptiveAvgPool1d's windows depend on the length");
  }
  TimeMap map;
  map.numerator = options_.stride;
  map.first = -options_.padding;
  map.last = -options_.padding + options_.dilation * (options_.kernel_size - 1);
  map.length = 2 * options_.padding - (map.last - map.first) - 1 + options_.stride;
  if (options_.ceil_mode) {
    map.length = std::min(map.length, options_.padding) + options_.stride - 1;
  }
  // Only an average that counts its padding takes it for values; other windows are cut short at the ends.
  const bool counts = options_.kind == PoolKind::kAverage && options_.count_include_pad && options_.padding > 0;
  map.ends = counts ? Ends::kZeros : Ends::kNone;
  return map;
}

std::shared_ptr<const Layer> Pool::in_window(const Window&, int64_t, int64_t) const {
  PoolOptions options = options_;
  options.padding = 0;
  if (options.ceil_mode) return nullptr;  // an incomplete window divides by less
  return std::make_shared<Pool>(options);
}

std::vector<Implementation> Pool::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  pool_cuda(*this, args, list);
  const PoolProblem problem = this->problem(args.inputs[0].shape);
  list.push_back(float32_implementation(args, "cpu.native", [problem] { return pool_cpu(problem); }));
  list.push_back(reference_implementation(args, [problem] { return Reference{problem}; }));
  return list;
}

ErrorBound Pool::error_bound(const PrepareArgs& args) const {
  if (options_.kind == PoolKind::kMax) return exact();
  // On CUDA eight terms are added as they come, and sums of eight with a compensation.
  return error_bound_of(8, [reference = Reference{problem(args.inputs[0].shape), true}](const Bindings& bindings) {
    reference.operator()<double>(bindings);
  });
}

namespace {

std::unique_ptr<Layer> make_pool(PoolKind kind, const Attributes& attributes) {
  PoolOptions options;
  options.kind = kind;
  options.kernel_size = attributes.positive("kernel_size");
  options.stride = attributes.is_null("stride") ? options.kernel_size : attributes.positive("stride");
  options.padding = attributes.non_negative("padding");
  options.ceil_mode = attributes.boolean("ceil_mode");
  if (kind == PoolKind::kMax) options.dilation = attributes.positive("dilation");
  if (kind == PoolKind::kAverage) options.count_include_pad = attributes.boolean("count_include_pad");
  if (options.padding > options.kernel_size / 2) {
    throw Error(ErrorCategory::kSchema, "padding " + std::to_string(options.padding) +
                                            " is more than half of kernel_size " + std::to_string(options.kernel_size));
  }
  checked_mul(options.dilation, options.kernel_size);
  return std::make_unique<Pool>(options);
}

std::unique_ptr<Layer> make_adaptive(const Attributes& attributes) {
  PoolOptions options;
  options.kind = PoolKind::kAdaptiveAverage;
  options.output_size = attributes.positive("output_size");
  return std::make_unique<Pool>(options);
}

}  // namespace

void register_pool(LayerRegistry& registry) {
  const Field kernel_size("kernel_size", kInteger, "elements a window takes");
  const Field stride("stride", kInteger | kNull, "from window to window; kernel_size unless given", Null{});
  const Field padding("padding", kInteger, "at either end, at most half of kernel_size", int64_t{0});
  const Field ceil_mode("ceil_mode", kBoolean, "whether a last window may be incomplete", false);
  registry.add({"MaxPool1d",
                "the largest of each window",
                {kernel_size,
                 stride,
                 padding,
                 {"dilation", kInteger, "from element to element of a window", int64_t{1}},
                 ceil_mode},
                [](const Attributes& a) { return make_pool(PoolKind::kMax, a); },
                "[N, C, L] or [C, L]; lengths as PyTorch",
                "stride t - padding, + dilation (kernel_size - 1)"});
  registry.add({"AvgPool1d",
                "the mean of each window",
                {kernel_size,
                 stride,
                 padding,
                 ceil_mode,
                 {"count_include_pad", kBoolean, "whether padding counts in the divisor", true}},
                [](const Attributes& a) { return make_pool(PoolKind::kAverage, a); },
                "[N, C, L] or [C, L]; lengths as PyTorch",
                "stride t - padding, + kernel_size - 1; zeros at the ends if they count"});
  registry.add({"AdaptiveAvgPool1d",
                "the means of output_size windows that cover the input",
                {{"output_size", kInteger, "length of the output"}},
                make_adaptive,
                "[N, C, L] or [C, L] -> [.., output_size]",
                "whole"});
}

}  // namespace strand::layers
