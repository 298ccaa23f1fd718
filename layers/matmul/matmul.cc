#include "layers/matmul/matmul.h"

#include <cmath>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

struct Reference {
  bool magnitudes = false;  // sums those of the terms, for the error bound

  template <class T>
  void operator()(const Bindings& bindings) const {
    const MatMulProblem p = MatMul::problem(bindings.inputs[0].shape(), bindings.inputs[1].shape());
    auto* y = bindings.outputs[0].ptr<T>();
    for (int64_t i = 0; i < p.batches * p.rows * p.columns; ++i) {
      const int64_t row = i / p.columns % p.rows;
      const int64_t batch = i / p.columns / p.rows;
      const T* a = bindings.inputs[0].ptr<const T>() + (matrix(p, 0, batch) * p.rows + row) * p.inner;
      const T* b = bindings.inputs[1].ptr<const T>() + matrix(p, 1, batch) * p.inner * p.columns + i % p.columns;
      double sum = 0;
      for (int64_t k = 0; k < p.inner; ++k) {
        const double term = static_cast<double>(a[k]) * static_cast<double>(b[k * p.columns]);
        sum += magnitudes ? std::fabs(term) : term;
      }
      y[i] = static_cast<T>(sum);
    }
  }

  static int64_t matrix(const MatMulProblem& p, size_t input, int64_t batch) {
    const int64_t row = batch / p.batch.row_length();
    return p.batch.row_offset(input, row) + (p.batch.varies(input) ? batch % p.batch.row_length() : 0);
  }
};

// The axes before the matrices.
TensorType batch_of(const Shape& shape) {
  TensorType type;
  for (int axis = 0; axis + 2 < shape.rank(); ++axis) type.shape.append(shape[axis]);
  return type;
}

// The output's axis that holds the input's time; kNoTime where it has none or sums over it.
int kept_time(const TensorType& input, size_t port, int output_rank) {
  if (input.time_axis == TensorType::kNoTime) return TensorType::kNoTime;
  const int from_end = input.shape.rank() - input.time_axis;
  return from_end == (port == 0 ? 1 : 2) ? TensorType::kNoTime : output_rank - from_end;
}

}  // namespace

MatMulProblem MatMul::problem(const Shape& a, const Shape& b) {
  if (a.rank() < 2 || b.rank() < 2 || a[-1] != b[-2]) {
    throw Error(ErrorCategory::kShape, "inputs are " + to_string(a) + " and " + to_string(b) +
                                           ", expected [.., rows, inner] and [.., inner, columns]");
  }
  const std::array<TensorType, 2> batches = {batch_of(a), batch_of(b)};
  const Shape result = broadcast_shape(batches);
  const std::array<TensorView, 2> views = {TensorView{batches[0], nullptr, {}}, TensorView{batches[1], nullptr, {}}};
  return {a[-2], a[-1], b[-1], broadcast_walk(views, result), result.elements()};
}

std::vector<TensorType> MatMul::infer(std::span<const TensorType> inputs) const {
  const Shape& a = inputs[0].shape;
  const Shape& b = inputs[1].shape;
  problem(a, b);  // for its check
  TensorType output = inputs[0];
  output.shape = broadcast_shape(std::array<TensorType, 2>{batch_of(a), batch_of(b)});
  output.shape.append(a[-2]);
  output.shape.append(b[-1]);
  const int rank = output.shape.rank();
  const int first = kept_time(inputs[0], 0, rank);
  const int second = kept_time(inputs[1], 1, rank);
  const bool one = first == TensorType::kNoTime || second == TensorType::kNoTime || first == second;
  output.time_axis = !one ? TensorType::kNoTime : first != TensorType::kNoTime ? first : second;
  return {output};
}

TimeMap MatMul::time_map(int input, int, std::span<const TensorType> inputs) const {
  const TensorType output = infer(inputs)[0];
  const auto port = static_cast<size_t>(input);
  const TensorType& own = inputs[port];
  if (own.time_axis == TensorType::kNoTime) return TimeMap::all("an input without time is used at every time");
  const int kept = kept_time(own, port, output.shape.rank());
  if (kept == TensorType::kNoTime) return TimeMap::all("MatMul sums over the time axis");
  if (output.time_axis == TensorType::kNoTime) return TimeMap::all("the inputs' times lie on different axes");
  const int rank = output.shape.rank();
  if (kept < rank - 2 && untimed_along(inputs, rank, kept)) {
    return TimeMap::all("an input without time has a matrix for each of the times");
  }
  if (own.shape[own.time_axis] != output.shape[kept]) return TimeMap::all("an input's one time is used at every time");
  return TimeMap::pointwise();
}

int64_t MatMul::multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType> outputs) const {
  return checked_mul(outputs[0].shape.elements(), inputs[0].shape[-1]);
}

std::vector<Implementation> MatMul::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  matmul_cuda(*this, args, list);
  list.push_back(float32_implementation(args, "cpu.eigen", [] { return matmul_cpu(); }));
  list.push_back(reference_implementation(args, [] { return Reference{}; }));
  return list;
}

ErrorBound MatMul::error_bound(const PrepareArgs& args) const {
  return error_bound_of(sum_factor(args.inputs[0].shape[-1]),
                        [](const Bindings& bindings) { Reference{true}.operator()<double>(bindings); });
}

void register_matmul(LayerRegistry& registry) {
  registry.add({"MatMul",
                "the matrix product of two inputs' last two axes",
                {},
                [](const Attributes&) { return std::make_unique<MatMul>(); },
                "[*, rows, inner], [*, inner, columns] -> [*, rows, columns], broadcast as NumPy does",
                "pointwise; whole where time is summed over, or for an input that is the same at all times",
                {"cuda.cublas", "cpu.eigen", "cpu.reference"}});
}

}  // namespace strand::layers
