#include "layers/reduce/reduce.h"

#include <cmath>
#include <limits>
#include <utility>

#include "engine/error.h"
#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

struct Reference {
  ReduceKind kind;
  int axis;
  int64_t correction;
  bool magnitudes = false;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const AxisSplit split = split_at(bindings.inputs[0].shape(), axis);
    auto* y = bindings.outputs[0].ptr<T>();
    for (int64_t i = 0; i < split.outer * split.inner; ++i) {
      const T* x = bindings.inputs[0].ptr<const T>() + i / split.inner * split.size * split.inner + i % split.inner;
      double max = -std::numeric_limits<double>::infinity();
      double sum = 0;
      for (int64_t j = 0; j < split.size; ++j) {
        const auto value = static_cast<double>(x[j * split.inner]);
        sum += magnitudes ? std::fabs(value) : value;
        if (value > max || std::isnan(value)) max = value;
      }
      if (kind == ReduceKind::kStd) {
        const double deviation = deviation_of(x, split);
        // Rounding the mean, in double, moves all deviations.
        y[i] = static_cast<T>(magnitudes ? deviation + sum * 0x1p-29 : deviation);
        continue;
      }
      sum /= reduce_divisor(kind, split.size, correction);
      y[i] = static_cast<T>(kind == ReduceKind::kMax ? max : sum);
    }
  }

  template <class T>
  double deviation_of(const T* x, const AxisSplit& split) const {
    double mean = 0;
    for (int64_t j = 0; j < split.size; ++j) mean += static_cast<double>(x[j * split.inner]);
    mean /= static_cast<double>(split.size);
    double squares = 0;
    for (int64_t j = 0; j < split.size; ++j) {
      const double deviation = static_cast<double>(x[j * split.inner]) - mean;
      squares += deviation * deviation;
    }
    return std::sqrt(squares / reduce_divisor(kind, split.size, correction));
  }
};

}  // namespace

std::vector<TensorType> Reduce::infer(std::span<const TensorType> inputs) const {
  const TensorType& input = inputs[0];
  const int axis = checked_axis(input.shape, dim_);
  if (kind_ == ReduceKind::kMax && input.shape[axis] == 0) {
    throw Error(ErrorCategory::kShape,
                "input " + to_string(input.shape) + " has no maximum along axis " + std::to_string(axis));
  }
  TensorType output{input.dtype, {}, input.time_axis};
  for (int i = 0; i < input.shape.rank(); ++i) {
    if (i != axis) {
      output.shape.append(input.shape[i]);
    } else if (keepdim_ || input.shape.rank() == 1) {  // an edge has an axis
      output.shape.append(1);
    }
  }
  if (input.time_axis == axis) output.time_axis = TensorType::kNoTime;
  if (input.time_axis > axis) output.time_axis -= input.shape.rank() - output.shape.rank();
  return {output};
}

TimeMap Reduce::time_map(int, int, std::span<const TensorType> inputs) const {
  const bool over_time = checked_axis(inputs[0].shape, dim_) == inputs[0].time_axis;
  return over_time ? TimeMap::all("all times are reduced to one value") : TimeMap::pointwise();
}

std::vector<Implementation> Reduce::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  reduce_cuda(*this, args, list);
  const ReduceKind kind = kind_;
  const int axis = checked_axis(args.inputs[0].shape, dim_);
  const int64_t correction = correction_;
  list.push_back(float32_implementation(args, "cpu.native",
                                        [kind, axis, correction] { return reduce_cpu(kind, axis, correction); }));
  list.push_back(reference_implementation(args, [kind, axis, correction] {
    return Reference{kind, axis, correction};
  }));
  return list;
}

ErrorBound Reduce::error_bound(const PrepareArgs& args) const {
  if (kind_ == ReduceKind::kMax) return exact();
  // A deviation is rounded once. On CUDA other sums in double of each thread are rounded, and added in a tree of eight
  // steps.
  const Reference scale{kind_, checked_axis(args.inputs[0].shape, dim_), correction_, true};
  return error_bound_of(12, [scale](const Bindings& bindings) { scale.operator()<double>(bindings); });
}

void register_reduce(LayerRegistry& registry);
void register_reduce(LayerRegistry& registry) {
  const auto add = [&](const char* name, const char* summary, ReduceKind kind) {
    std::vector<Field> fields = {{"dim", kInteger, "the axis; a negative one counts from the end"},
                                 {"keepdim", kBoolean, "whether the axis stays, with one element", false}};
    const bool corrected = kind == ReduceKind::kStd;
    if (corrected) fields.emplace_back("correction", kInteger, "subtracted from the count", int64_t{1});
    registry.add({name, summary, std::move(fields),
                  [kind, corrected](const Attributes& a) {
                    return std::make_unique<Reduce>(kind, a.integer("dim"), a.boolean("keepdim"),
                                                    corrected ? a.integer("correction") : 0);
                  },
                  "any; without dim, or with one element of it", "pointwise; whole if dim is time"});
  };
  add("Mean", "the mean over one axis", ReduceKind::kMean);
  add("Sum", "the sum over one axis", ReduceKind::kSum);
  add("Max", "the largest along one axis", ReduceKind::kMax);
  add("Std", "the standard deviation over one axis", ReduceKind::kStd);
}

}  // namespace strand::layers
