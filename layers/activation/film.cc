#include <cmath>

#include "engine/error.h"
#include "layers/activation/activation.h"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

struct Reference {
  bool magnitudes = false;  // sums those of the terms, for the error bound

  template <class T>
  void operator()(const Bindings& bindings) const {
    const FilmProblem p = Film::problem(bindings.inputs[0].shape(), bindings.inputs[1].shape());
    const auto* x = bindings.inputs[0].ptr<const T>();
    auto* y = bindings.outputs[0].ptr<T>();
    for (int64_t i = 0; i < p.batch * p.channels * p.length; ++i) {
      const T* factor =
          bindings.inputs[1].ptr<const T>() + p.condition_row(i / p.length) + (p.constant ? 0 : i % p.length);
      const double product = static_cast<double>(x[i]) * static_cast<double>(factor[0]);
      const auto shift = static_cast<double>(factor[p.channels * p.condition_length()]);
      y[i] = static_cast<T>(magnitudes ? std::fabs(product) + std::fabs(shift) : product + shift);
    }
  }
};

}  // namespace

FilmProblem Film::problem(const Shape& input, const Shape& condition) {
  const bool ranks = input.rank() == 3 && (condition.rank() == 2 || condition.rank() == 3);
  const int64_t length = ranks && condition.rank() == 3 ? condition[2] : 1;
  if (!ranks || condition[1] != 2 * input[1] || (condition[0] != 1 && condition[0] != input[0]) ||
      (length != 1 && length != input[2])) {
    throw Error(ErrorCategory::kShape, "input is " + to_string(input) + " and condition " + to_string(condition) +
                                           ", expected [N, C, L] and [N, 2C, L] or [N, 2C, 1] or [N, 2C]");
  }
  return {input[0], input[1], input[2], condition[0] == 1 && input[0] != 1, length == 1};
}

std::vector<TensorType> Film::infer(std::span<const TensorType> inputs) const {
  problem(inputs[0].shape, inputs[1].shape);  // for its check
  return {inputs[0]};
}

TimeMap Film::time_map(int input, int, std::span<const TensorType> inputs) const {
  const FilmProblem p = problem(inputs[0].shape, inputs[1].shape);
  const bool timed = inputs[1].time_axis != TensorType::kNoTime;
  if (input == 0 && !timed && !p.constant)
    return TimeMap::all("a condition without time has an element for each of the times");
  if (input == 0) return TimeMap::pointwise();
  if (!timed || (p.constant && p.length != 1)) {
    return TimeMap::all("one condition is used at every time");
  }
  return inputs[0].time_axis == inputs[1].time_axis ? TimeMap::pointwise()
                                                    : TimeMap::all("the inputs' times lie on different axes");
}

int64_t Film::multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType>) const {
  return inputs[0].shape.elements();
}

std::vector<Implementation> Film::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  activation_cuda(*this, args, list);
  list.push_back(float32_implementation(args, "cpu.native", [] { return film_cpu(); }));
  list.push_back(reference_implementation(args, [] { return Reference{}; }));
  return list;
}

ErrorBound Film::error_bound(const PrepareArgs&) const {
  return error_bound_of(2, [](const Bindings& bindings) { Reference{true}.operator()<double>(bindings); });
}

}  // namespace strand::layers
