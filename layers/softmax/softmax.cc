#include "layers/softmax/softmax.h"

#include <cmath>
#include <limits>

#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

struct RowSums {
  double max = -std::numeric_limits<double>::infinity();
  double sum = 0;       // of exp(x - max)
  double distance = 0;  // of exp(x - max) * |x - max|
};

template <class T>
RowSums sums_of(const T* x, int64_t size, int64_t stride) {
  RowSums row;
  for (int64_t i = 0; i < size; ++i) row.max = std::fmax(row.max, static_cast<double>(x[i * stride]));
  for (int64_t i = 0; i < size; ++i) {
    const double distance = static_cast<double>(x[i * stride]) - row.max;
    const double e = std::exp(distance);
    row.sum += e;
    if (e != 0) row.distance -= e * distance;
  }
  return row;
}

// Calls body(x, y, size, stride) for each row.
template <class T, class Body>
void for_each_row(const AxisSplit& split, const Bindings& bindings, Body body) {
  for (int64_t outer = 0; outer < split.outer; ++outer) {
    for (int64_t inner = 0; inner < split.inner; ++inner) {
      const int64_t offset = outer * split.size * split.inner + inner;
      body(bindings.inputs[0].ptr<const T>() + offset, bindings.outputs[0].ptr<T>() + offset, split.size, split.inner);
    }
  }
}

struct Reference {
  Softmax layer;
  template <class T>
  void operator()(const Bindings& bindings) const {
    const AxisSplit split = layer.split(bindings.inputs[0].shape());
    for_each_row<T>(split, bindings, [this](const T* x, T* y, int64_t size, int64_t stride) {
      const RowSums row = sums_of(x, size, stride);
      for (int64_t i = 0; i < size * stride; i += stride) {
        const double distance = static_cast<double>(x[i]) - row.max;
        y[i] = static_cast<T>(layer.log() ? distance - std::log(row.sum) : std::exp(distance) / row.sum);
      }
    });
  }
};

// exp turns the rounding of x - max into a relative error of |x - max| * eps, in the sum with each term's weight; the
// rest is exp's own error, the sum's and the division's. The logarithm's error is the sum's relative one.
struct Scale {
  Softmax layer;
  void operator()(const Bindings& bindings) const {
    const AxisSplit split = layer.split(bindings.inputs[0].shape());
    for_each_row<double>(split, bindings, [this](const double* x, double* y, int64_t size, int64_t stride) {
      const RowSums row = sums_of(x, size, stride);
      const double common = 4 + row.distance / row.sum + std::log2(static_cast<double>(size));
      for (int64_t i = 0; i < size * stride; i += stride) {
        const double distance = row.max - x[i];
        if (layer.log()) {
          y[i] = common + distance;
          continue;
        }
        const double e = std::exp(-distance) / row.sum;
        y[i] = (e != 0 ? e * (common + distance) : 0) + kUnderflow;
      }
    });
  }
};

}  // namespace

std::vector<TensorType> Softmax::infer(std::span<const TensorType> inputs) const {
  split(inputs[0].shape);  // for its check of the axis
  return {inputs[0]};
}

TimeMap Softmax::time_map(int, int, std::span<const TensorType> inputs) const {
  const bool over_time = checked_axis(inputs[0].shape, dim_) == inputs[0].time_axis;
  return over_time ? TimeMap::all("Softmax over the time axis") : TimeMap::pointwise();
}

std::vector<Implementation> Softmax::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  softmax_cuda(*this, args, list);
  list.push_back(float32_implementation(args, "cpu.native", [this] { return softmax_cpu(*this); }));
  list.push_back(reference_implementation(args, [this] { return Reference{*this}; }));
  return list;
}

ErrorBound Softmax::error_bound(const PrepareArgs&) const { return error_bound_of(4, Scale{*this}); }

void register_softmax(LayerRegistry& registry) {
  const std::vector<Field> fields = {{"dim", kInteger, "the axis; a negative one counts from the end"}};
  registry.add({"Softmax", "exp(x) over its sum along one axis", fields,
                [](const Attributes& a) { return std::make_unique<Softmax>(a.integer("dim")); }, "any",
                "pointwise; whole if dim is time"});
  registry.add({"LogSoftmax", "the logarithm of Softmax", fields,
                [](const Attributes& a) { return std::make_unique<Softmax>(a.integer("dim"), true); }, "any",
                "pointwise; whole if dim is time"});
}

}  // namespace strand::layers
