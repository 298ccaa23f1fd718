#include <algorithm>
#include <string>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/implementation_list.h"
#include "layers/shape/shape_layers.h"

namespace strand::layers {
namespace {

struct Reference {
  std::vector<SliceProblem> parts;

  template <class T>
  void operator()(const Bindings& bindings) const {
    for (size_t i = 0; i < parts.size(); ++i) {
      const SliceProblem p = stretch_of(parts[i], bindings, i);
      const int64_t part = p.count * p.split.inner;
      const auto* x = bindings.inputs[0].ptr<const T>() + p.start * p.split.inner;
      auto* y = bindings.outputs[i].ptr<T>();
      for (int64_t j = 0; j < p.split.outer * part; ++j) {
        y[j] = x[j / part * p.split.size * p.split.inner + j % part];
      }
    }
  }
};

}  // namespace

Split::Split(int64_t dim, std::vector<int64_t> sizes) : dim_(dim), sizes_(std::move(sizes)), count_(sizes_.size()) {
  if (sizes_.empty() || std::ranges::min(sizes_) < 0) {
    throw Error(ErrorCategory::kSchema, "sizes must be one or more, none below 0");
  }
}

std::vector<std::string> Split::outputs() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < count_; ++i) names.push_back(std::to_string(i));
  return names;
}

std::vector<SliceProblem> Split::parts(const Shape& shape) const {
  const int axis = checked_axis(shape, dim_);
  const int64_t size = shape[axis];
  std::vector<int64_t> sizes = sizes_;
  int64_t total = 0;
  if (sizes.empty()) {
    const int64_t each = std::max<int64_t>(ceil_div(size, static_cast<int64_t>(count_)), 1);
    for (int64_t left = size; left > 0; left -= each) sizes.push_back(std::min(each, left));
  }
  for (const int64_t part : sizes) total = checked_add(total, part);
  if (total != size || sizes.size() != count_) {
    throw Error(ErrorCategory::kShape,
                (sizes_.empty() ? std::to_string(count_) + " chunks" : "sizes that sum to " + std::to_string(total)) +
                    " do not make up axis " + std::to_string(axis) + " of " + to_string(shape));
  }
  std::vector<SliceProblem> parts;
  int64_t start = 0;
  for (const int64_t part : sizes) {
    parts.push_back({split_at(shape, axis), start, 1, part, axis});
    start += part;
  }
  return parts;
}

std::vector<TensorType> Split::infer(std::span<const TensorType> inputs) const {
  std::vector<TensorType> outputs;
  for (const SliceProblem& part : parts(inputs[0].shape)) {
    outputs.push_back(inputs[0]);
    outputs.back().shape.set(part.dim, part.count);
  }
  return outputs;
}

TimeMap Split::time_map(int, int, std::span<const TensorType> inputs) const {
  const bool over_time = checked_axis(inputs[0].shape, dim_) == inputs[0].time_axis;
  return over_time ? TimeMap::all("time is cut into parts") : TimeMap::pointwise();
}

std::vector<Implementation> Split::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  shape_cuda(*this, args, list);
  const std::vector<SliceProblem> parts = this->parts(args.inputs[0].shape);
  list.push_back(float32_implementation(args, "cpu.native", [parts] { return slices_cpu(parts); }));
  list.push_back(reference_implementation(args, [parts] { return Reference{parts}; }));
  return list;
}

ErrorBound Split::error_bound(const PrepareArgs&) const { return exact(); }

}  // namespace strand::layers
