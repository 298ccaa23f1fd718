// The truth: the formula of conv1d.h as it stands, in double, one output after another.

#include <cmath>

#include "engine/error.h"
#include "layers/conv1d/conv1d.h"
#include "layers/function_kernel.h"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

struct Operands {
  Conv1dProblem problem;
  std::shared_ptr<const Buffer> weight;        // [C_out, C_in / groups, K]
  std::shared_ptr<const Buffer> bias;          // [C_out], or null
  std::shared_ptr<const Buffer> coefficients;  // [2, channels], or null
  std::shared_ptr<const Buffer> mix;           // [C_out] of a residual of one channel (conv1d_mixed.h), or null
  std::shared_ptr<const Buffer> mix_bias;      // [C_out], or null
};

Operands operands(const Conv1dProblem& problem, const PrepareArgs& args) {
  return {problem,
          args.weights.doubles("weight"),
          problem.has_bias ? args.weights.doubles("bias") : nullptr,
          problem.epilogue.by_channel() ? args.weights.doubles("epilogue") : nullptr,
          args.weights.has("mix.weight") ? args.weights.doubles("mix.weight") : nullptr,
          args.weights.has("mix.bias") ? args.weights.doubles("mix.bias") : nullptr};
}

// One sum, or with `magnitude` that of its terms' magnitudes.
template <class T>
double sum_at(const Operands& conv, const Conv1dProblem& p, const T* x, int64_t n, int64_t o, int64_t t,
              bool magnitude) {
  const int64_t first_channel = n * p.in_channels + o / p.group_out() * p.group_in();
  const double* weight = reinterpret_cast<const double*>(conv.weight->data()) + o * p.reduction();
  double sum = conv.bias == nullptr ? 0 : reinterpret_cast<const double*>(conv.bias->data())[o];
  if (magnitude) sum = std::fabs(sum);
  for (int64_t c = 0; c < p.group_in(); ++c) {
    const T* row = x + (first_channel + c) * p.length;
    for (int64_t k = 0; k < p.kernel_size; ++k) {
      const int64_t at = source_index(t * p.stride - p.pad_left + k * p.dilation, p.length, p.padding_mode);
      // A padded zero is a factor as any other: times Inf it is NaN.
      const double term = weight[c * p.kernel_size + k] * (at < 0 ? 0.0 : static_cast<double>(row[at]));
      sum += magnitude ? std::fabs(term) : term;
    }
  }
  return sum;
}

double at(const std::shared_ptr<const Buffer>& buffer, int64_t i) {
  return buffer == nullptr ? 0 : reinterpret_cast<const double*>(buffer->data())[i];
}

// y, or with `magnitude` the error of a float32 run of it, in units of eps times the factor of its sums.
template <class T>
void convolve(const Operands& conv, const Context& context, const Bindings& bindings, bool magnitude) {
  const T* x = bindings.inputs[0].ptr<const T>();  // [N, C_in, L]
  T* y = bindings.outputs[0].ptr<T>();             // [N, C_out or half of it, L_out]
  const Conv1dProblem p = stretch_of(conv.problem, bindings);
  const Epilogue& epilogue = p.epilogue;
  const T* residual = epilogue.residual == Epilogue::Residual::kNone ? nullptr : bindings.inputs[1].ptr<const T>();
  const int64_t channels = p.result_channels();
  const double factor = sum_factor(p.reduction());
  const int64_t length = bindings.outputs[0].shape()[2];
  context.parallel_for(p.batch * channels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t n = row / channels;
      const int64_t o = row % channels;
      double parameters[3] = {epilogue.parameters[0], epilogue.parameters[1], epilogue.parameters[2]};
      if (conv.coefficients != nullptr) {
        const auto* coefficients = reinterpret_cast<const double*>(conv.coefficients->data());
        parameters[0] = coefficients[o];
        parameters[1] = coefficients[channels + o];
      }
      const auto sum = [&](int64_t channel, int64_t t) -> Estimate {
        return {sum_at(conv, p, x, n, channel, t, false),
                magnitude ? factor * sum_at(conv, p, x, n, channel, t, true) : 0};
      };
      for (int64_t t = 0; t < length; ++t) {
        const int64_t i = row * length + t;
        const Estimate gate = epilogue.gated ? sum(channels + o, t) : Estimate{};
        Estimate own = sum(o, t);
        double added =
            residual == nullptr ? 0 : static_cast<double>(residual[conv.mix == nullptr ? i : n * length + t]);
        if (conv.mix != nullptr) {
          const double product = added * at(conv.mix, o);
          added = product + at(conv.mix_bias, o);
          if (magnitude) own.error += sum_factor(1) * (std::fabs(product) + std::fabs(at(conv.mix_bias, o)));
        }
        const Estimate result = finished(epilogue, parameters, own, gate, added);
        y[i] = static_cast<T>(magnitude ? result.error / factor : result.value);
      }
    }
  });
}

}  // namespace

Implementation conv1d_reference(const Conv1dProblem& problem, const PrepareArgs& args) {
  return {"cpu.reference", DeviceType::kCpu, unless_floating(args), [problem, &args]() -> std::unique_ptr<Kernel> {
            const bool in_double = args.inputs[0].dtype == DType::kFloat64;
            return function_kernel(
                [conv = operands(problem, args), in_double](const Context& context, const Bindings& bindings) {
                  in_double ? convolve<double>(conv, context, bindings, false)
                            : convolve<float>(conv, context, bindings, false);
                });
          }};
}

ErrorBound conv1d_error_bound(const Conv1dProblem& problem, const PrepareArgs& args) {
  return {sum_factor(problem.reduction()),
          function_kernel([conv = operands(problem, args)](const Context& context, const Bindings& bindings) {
            convolve<double>(conv, context, bindings, true);
          })};
}

}  // namespace strand::layers
