#include <algorithm>
#include <string>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/implementation_list.h"
#include "layers/shape/shape_layers.h"

namespace strand::layers {
namespace {

struct Reference {
  SliceProblem whole;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const auto& [split, start, step, count, dim] = stretch_of(whole, bindings);
    const auto* x = bindings.inputs[0].ptr<const T>();
    auto* y = bindings.outputs[0].ptr<T>();
    for (int64_t i = 0; i < split.outer * count * split.inner; ++i) {
      const int64_t inner = i % split.inner;
      const int64_t t = i / split.inner % count;
      const int64_t outer = i / split.inner / count;
      y[i] = x[(outer * split.size + start + t * step) * split.inner + inner];
    }
  }
};

// A bound counted from the end where negative, and clamped to the axis.
int64_t clamp_bound(int64_t bound, int64_t size) {
  return std::clamp<int64_t>(bound < 0 ? bound + size : bound, 0, size);
}

}  // namespace

SliceProblem stretch_of(SliceProblem problem, const Bindings& bindings, size_t output) {
  const TensorType& input = bindings.inputs[0].type;
  problem.split = split_at(input.shape, problem.dim);
  problem.count = bindings.outputs[output].shape()[problem.dim];
  if (input.time_axis == problem.dim) problem.start += bindings.window.output * problem.step - bindings.window.input;
  return problem;
}

SliceProblem Slice::problem(const Shape& shape) const {
  SliceProblem problem;
  problem.split = split_at(shape, dim_);
  problem.dim = checked_axis(shape, dim_);
  problem.step = step_;
  const int64_t size = problem.split.size;
  problem.start = clamp_bound(start_, size);
  const int64_t end = clamp_bound(end_.value_or(size), size);
  problem.count = end > problem.start ? (end - problem.start - 1) / step_ + 1 : 0;
  if (problem.count == 0 && size > 0) {
    throw Error(ErrorCategory::kShape, "nothing is left of axis " + std::to_string(problem.dim) + " of " +
                                           to_string(shape) + ": elements " + std::to_string(problem.start) + " to " +
                                           std::to_string(end));
  }
  return problem;
}

std::vector<TensorType> Slice::infer(std::span<const TensorType> inputs) const {
  TensorType output = inputs[0];
  output.shape.set(checked_axis(output.shape, dim_), problem(output.shape).count);
  return {output};
}

TimeMap Slice::time_map(int, int, std::span<const TensorType> inputs) const {
  const Shape& shape = inputs[0].shape;
  TimeMap map;
  if (checked_axis(shape, dim_) != inputs[0].time_axis) return map;
  if (start_ < 0) return TimeMap::all("Slice's start counts from the end of time");
  map.numerator = step_;
  map.first = map.last = start_;
  map.length = step_ - 1 - start_;
  if (end_.value_or(0) < 0) map.length += *end_;
  if (end_.value_or(-1) >= 0) map.most = std::max<int64_t>(ceil_div(*end_ - start_, step_), 0);
  return map;
}

std::shared_ptr<const Layer> Slice::in_window(const Window&, int64_t, int64_t) const {
  return std::make_shared<Slice>(dim_, 0, std::nullopt, step_);
}

std::vector<Implementation> Slice::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  shape_cuda(*this, args, list);
  const SliceProblem problem = this->problem(args.inputs[0].shape);
  list.push_back(float32_implementation(args, "cpu.native", [problem] { return slices_cpu({problem}); }));
  list.push_back(reference_implementation(args, [problem] { return Reference{problem}; }));
  return list;
}

ErrorBound Slice::error_bound(const PrepareArgs&) const { return exact(); }

}  // namespace strand::layers
