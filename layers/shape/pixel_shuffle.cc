#include <string>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/implementation_list.h"
#include "layers/shape/permute.h"
#include "layers/shape/shape_layers.h"

namespace strand::layers {
namespace {

// Both directions move a row of every r-th time: times t of the long signal with t % r == i are channel i of the short
// one. The long one begins at `phase` of the short one's first time.
struct Shuffle {
  int64_t factor;
  bool back;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const int64_t rows = (back ? bindings.outputs[0] : bindings.inputs[0]).shape().elements(0, 2);
    move_rows<T>(bindings, 0, rows);
  }

  template <class T>
  void move_rows(const Bindings& bindings, int64_t first_row, int64_t end_row) const {
    const TensorView& short_view = back ? bindings.outputs[0] : bindings.inputs[0];
    const TensorView& long_view = back ? bindings.inputs[0] : bindings.outputs[0];
    const bool over_time = bindings.inputs[0].type.time_axis == 2;
    const Window window = over_time ? bindings.window : Window{};
    const int64_t short_start = back ? window.output : window.input;
    const int64_t long_start = back ? window.input : window.output;
    const int64_t short_length = short_view.shape()[2];
    const int64_t long_length = long_view.shape()[2];
    auto* const moved = short_view.ptr<T>();
    auto* const apart = long_view.ptr<T>();
    for (int64_t row = first_row; row < end_row; ++row) {
      const int64_t shift = short_start * factor + row % factor - long_start;  // of the short row's first time
      T* near = moved + row * short_length;
      T* far = apart + row / factor * long_length + shift;
      const int64_t begin = shift < 0 ? ceil_div(-shift, factor) : 0;
      const int64_t end = std::min(short_length, ceil_div(long_length - shift, factor));
      for (int64_t t = begin; t < end; ++t) (back ? near[t] : far[t * factor]) = back ? far[t * factor] : near[t];
    }
  }
};

}  // namespace

std::vector<TensorType> PixelShuffle1d::infer(std::span<const TensorType> inputs) const {
  TensorType output = inputs[0];
  const Shape& shape = inputs[0].shape;
  if (shape.rank() != 3) {
    throw Error(ErrorCategory::kShape, "input is " + to_string(shape) + ", expected [N, C, L]");
  }
  const int cut = back_ ? 2 : 1;
  if (shape[cut] % factor_ != 0) {
    throw Error(ErrorCategory::kShape, "factor " + std::to_string(factor_) + " does not divide the " +
                                           (back_ ? "length" : "channels") + " of " + to_string(shape));
  }
  output.shape.set(cut, shape[cut] / factor_);
  output.shape.set(3 - cut, checked_mul(shape[3 - cut], factor_));
  return {output};
}

TimeMap PixelShuffle1d::time_map(int, int, std::span<const TensorType> inputs) const {
  TimeMap map;
  if (inputs[0].time_axis != 2) return TimeMap::all("the channels that become times, or the reverse, are time");
  if (back_) {
    map.numerator = map.period = factor_;
    map.last = factor_ - 1;
  } else {
    map.denominator = factor_;
  }
  return map;
}

std::shared_ptr<const Layer> PixelShuffle1d::in_window(const Window&, int64_t, int64_t) const {
  return std::make_shared<PixelShuffle1d>(*this);
}

PermuteProblem PixelShuffle1d::problem(const Shape& shape) const {
  const Shape input = back_ ? Shape{checked_mul(shape[0], shape[1]), shape[2] / factor_, factor_}
                            : Shape{checked_mul(shape[0], shape[1] / factor_), factor_, shape[2]};
  return permute_problem(input, {0, 2, 1});
}

std::vector<Implementation> PixelShuffle1d::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  shape_cuda(*this, args, list);
  const Shuffle shuffle{factor_, back_};
  list.push_back(float32_implementation(args, "cpu.native", [shuffle] {
    return function_kernel([shuffle](const Context& context, const Bindings& bindings) {
      const Shape& shape = (shuffle.back ? bindings.outputs[0] : bindings.inputs[0]).shape();
      context.parallel_for(shape.elements(0, 2), kGrain / (shape[2] + 1) + 1,
                           [&](int64_t begin, int64_t end) { shuffle.move_rows<float>(bindings, begin, end); });
    });
  }));
  list.push_back(reference_implementation(args, [shuffle] { return shuffle; }));
  return list;
}

ErrorBound PixelShuffle1d::error_bound(const PrepareArgs&) const { return exact(); }

}  // namespace strand::layers
