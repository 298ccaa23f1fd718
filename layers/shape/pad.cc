#include <string>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/implementation_list.h"
#include "layers/shape/pad_index.h"

namespace strand::layers {
namespace {

struct Reference {
  PadProblem whole;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const PadProblem problem = stretch_of(whole, bindings);
    const auto* x = bindings.inputs[0].ptr<const T>();
    auto* y = bindings.outputs[0].ptr<T>();
    const int64_t length = problem.output_length();
    for (int64_t i = 0; i < problem.rows * length; ++i) {
      const int64_t index = pad_index(problem, i % length - problem.left);
      y[i] = index < 0 ? static_cast<T>(problem.value) : x[i / length * problem.length + index];
    }
  }
};

// The shortest input that the mode can pad.
int64_t least_length(PadMode mode, int64_t padding) {
  switch (mode) {
    case PadMode::kConstant:
      return 0;
    case PadMode::kReflect:
      return checked_add(padding, 1);
    case PadMode::kReplicate:
      return 1;
    case PadMode::kCircular:
      return std::max<int64_t>(padding, 1);
  }
  return 0;
}

}  // namespace

PadProblem stretch_of(PadProblem problem, const Bindings& bindings) {
  const TensorType& input = bindings.inputs[0].type;
  const int last = input.shape.rank() - 1;
  problem.rows = input.shape.elements(0, last);
  if (input.time_axis != last) return problem;
  problem.length = input.shape[last];
  problem.left += bindings.window.input - bindings.window.output;
  problem.right = bindings.outputs[0].shape()[last] - problem.length - problem.left;
  return problem;
}

PadProblem Pad::problem(const Shape& shape) const {
  const int last = shape.rank() - 1;
  const int64_t least = least_length(mode_, std::max(left_, right_));
  if (shape[last] < least) {
    throw Error(ErrorCategory::kShape, "padding [" + std::to_string(left_) + ", " + std::to_string(right_) +
                                           "] in this mode needs a last axis of at least " + std::to_string(least) +
                                           ", input is " + to_string(shape));
  }
  checked_add(checked_add(left_, shape[last]), right_);
  return {shape.elements(0, last), shape[last], left_, right_, mode_, value_};
}

std::vector<TensorType> Pad::infer(std::span<const TensorType> inputs) const {
  TensorType output = inputs[0];
  output.shape.set(output.shape.rank() - 1, problem(output.shape).output_length());
  return {output};
}

TimeMap Pad::time_map(int, int, std::span<const TensorType> inputs) const {
  TimeMap map;
  if (inputs[0].time_axis != inputs[0].shape.rank() - 1) return map;
  map.first = map.last = -left_;
  map.length = checked_add(left_, right_);
  switch (mode_) {
    case PadMode::kConstant:
      map.ends = value_ == 0 ? Ends::kZeros : Ends::kNone;  // the kernel knows the value
      break;
    case PadMode::kReflect:
      map.ends = Ends::kReflect;
      break;
    case PadMode::kReplicate:
      map.ends = Ends::kReplicate;
      break;
    case PadMode::kCircular:
      map.ends = Ends::kCircular;
      break;
  }
  return map;
}

std::shared_ptr<const Layer> Pad::in_window(const Window&, int64_t, int64_t) const {
  return std::make_shared<Pad>(0, 0, PadMode::kConstant, 0);
}

std::vector<Implementation> Pad::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  shape_cuda(*this, args, list);
  const PadProblem problem = this->problem(args.inputs[0].shape);
  list.push_back(float32_implementation(args, "cpu.native", [problem] { return pad_cpu(problem); }));
  list.push_back(reference_implementation(args, [problem] { return Reference{problem}; }));
  return list;
}

ErrorBound Pad::error_bound(const PrepareArgs&) const { return {1, nullptr}; }  // the constant is rounded

}  // namespace strand::layers
