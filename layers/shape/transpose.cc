#include <algorithm>
#include <utility>

#include "layers/implementation_list.h"
#include "layers/shape/shape_layers.h"

namespace strand::layers {
namespace {

struct Reference {
  Transpose layer;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const auto [outer, rows, middle, columns, inner] = layer.problem(bindings.inputs[0].shape());
    const auto* x = bindings.inputs[0].ptr<const T>();
    auto* y = bindings.outputs[0].ptr<T>();
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t m = 0; m < middle; ++m) {
          for (int64_t c = 0; c < columns; ++c) {
            for (int64_t i = 0; i < inner; ++i) {
              y[(((o * columns + c) * middle + m) * rows + r) * inner + i] =
                  x[(((o * rows + r) * middle + m) * columns + c) * inner + i];
            }
          }
        }
      }
    }
  }
};

}  // namespace

TransposeProblem Transpose::problem(const Shape& shape) const {
  const auto [first, second] = std::minmax({checked_axis(shape, dim0_), checked_axis(shape, dim1_)});
  if (first == second) return {1, 1, 1, 1, shape.elements()};
  return {shape.elements(0, first), shape[first], shape.elements(first + 1, second), shape[second],
          shape.elements(second + 1, shape.rank())};
}

std::vector<TensorType> Transpose::infer(std::span<const TensorType> inputs) const {
  TensorType output = inputs[0];
  const int first = checked_axis(output.shape, dim0_);
  const int second = checked_axis(output.shape, dim1_);
  output.shape.set(first, inputs[0].shape[second]);
  output.shape.set(second, inputs[0].shape[first]);
  if (inputs[0].time_axis == first) output.time_axis = second;
  if (inputs[0].time_axis == second) output.time_axis = first;
  return {output};
}

std::vector<Implementation> Transpose::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  shape_cuda(*this, args, list);
  list.push_back(float32_implementation(args, "cpu.native", [this] { return transpose_cpu(*this); }));
  list.push_back(reference_implementation(args, [this] { return Reference{*this}; }));
  return list;
}

ErrorBound Transpose::error_bound(const PrepareArgs&) const { return exact(); }

}  // namespace strand::layers
