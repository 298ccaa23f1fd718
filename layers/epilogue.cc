#include "layers/epilogue.h"

#include <cmath>

namespace strand::layers {
namespace {

// The largest slope of each function.
double slope(const Relu&) { return 1; }
double slope(const LeakyRelu& f) { return std::fmax(1, std::fabs(f.negative_slope)); }
double slope(const Clamp&) { return 1; }
double slope(const Elu& f) { return std::fmax(std::fabs(f.positive), std::fabs(f.negative * f.rate)); }
double slope(const Sigmoid&) { return 0.25; }
double slope(const Silu&) { return 1.1; }
double slope(const Tanh&) { return 1; }
double slope(const Gelu&) { return 1.13; }
double slope(const GeluTanh&) { return 1.13; }
double slope(const Snake& f) { return 1 + std::fabs(f.factor * f.share); }

double slope(HalfFunction function) {
  switch (function) {
    case HalfFunction::kSigmoid:
      return 0.25;
    case HalfFunction::kSiLU:
      return 1.1;
    case HalfFunction::kGELU:
      return 1.13;
    case HalfFunction::kIdentity:
    case HalfFunction::kReLU:
    case HalfFunction::kTanh:
    case HalfFunction::kSoftsign:
    case HalfFunction::kHardtanh:
      break;
  }
  return 1;
}

Estimate half(HalfFunction function, Estimate x) {
  const double y = half_function(function, x.value);
  return {y, slope(function) * x.error + half_function_error(function, x.value, y)};
}

}  // namespace

std::optional<Epilogue> then(const Epilogue& first, const Epilogue& next) {
  using Function = Epilogue::Function;
  using Residual = Epilogue::Residual;
  if (next.none()) return first;
  if (first.scale != 1) return {};
  if (next.gated) return first.none() ? std::optional(next) : std::nullopt;
  Epilogue both = first;
  // next is a function around its residual, a residual after its function, or less than either.
  if (next.residual == Residual::kBefore) {
    if (both.residual != Residual::kNone) return {};
    both.residual = both.function == Function::kIdentity ? Residual::kBefore : Residual::kAfter;
  }
  if (next.function != Function::kIdentity) {
    if (both.function != Function::kIdentity || both.residual == Residual::kAfter) return {};
    both.function = next.function;
    for (int i = 0; i < 3; ++i) both.parameters[i] = next.parameters[i];
  }
  if (next.residual == Residual::kAfter) {
    if (both.residual != Residual::kNone) return {};
    both.residual = both.function == Function::kIdentity ? Residual::kBefore : Residual::kAfter;
  }
  both.scale = next.scale;
  return both;
}

Estimate finished(const Epilogue& epilogue, const double (&parameters)[3], Estimate a, Estimate b, double residual) {
  constexpr double kEps = 0x1p-24;
  Estimate y = a;
  if (epilogue.gated) {
    const Estimate left = half(epilogue.activation, a);
    const Estimate right = half(epilogue.gate, b);
    y.value = left.value * right.value;
    y.error = left.error * std::fabs(right.value) + right.error * std::fabs(left.value) +
              left.error * right.error * kEps + 2 * std::fabs(y.value) + kUnderflow;
  }
  const auto add_residual = [&] {
    y.value += residual;
    y.error += std::fabs(y.value);
  };
  if (epilogue.residual == Epilogue::Residual::kBefore) add_residual();
  with_function(epilogue.function, parameters, [&](const auto& f) {
    const double x = y.value;
    y.value = f(x);
    y.error = slope(f) * y.error + f.kFactor * scale_of(f, x, y.value) + kUnderflow;
  });
  if (epilogue.residual == Epilogue::Residual::kAfter) add_residual();
  if (epilogue.scale != 1) {
    y.value *= epilogue.scale;
    y.error = std::fabs(epilogue.scale) * y.error + 2 * std::fabs(y.value) + kUnderflow;
  }
  return y;
}

}  // namespace strand::layers
