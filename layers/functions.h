#pragma once
// The activations' formulas, each written once for float, double, CPU lanes and CUDA threads. Adding one: a struct, its
// name in Activation below, and its entry in the table of pointwise/pointwise.cc. PyTorch's formulas, so that
// thresholds, NaN and Inf are as there.
//
// A float32 result may be off by kFactor * eps * scale(x, y), y being the true value; without scale(), |y|. kArithmetic
// marks those without <cmath>, of which a compiler makes better vectors in a plain loop than of lanes.

#include <cmath>
#include <limits>
#include <variant>

#include "layers/formula.h"
#include "layers/implementation_list.h"

namespace strand::layers {

struct Relu {
  static constexpr double kFactor = 0;
  static constexpr bool kArithmetic = true;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    // Not max(x, 0): NaN goes through.
    return where_positive(-x, constant<V>(0), x);
  }
};

struct LeakyRelu {
  static constexpr double kFactor = 2;
  static constexpr bool kArithmetic = true;
  double negative_slope = 0.01;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    return where_positive(x, x, x * constant<V>(negative_slope));
  }
};

// Clamp, Hardtanh and ReLU6; without a bound it is infinite. Where max is below min it is max.
struct Clamp {
  static constexpr double kFactor = 1;  // of rounding a bound to float
  static constexpr bool kArithmetic = true;
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    const V low = constant<V>(min);
    const V high = constant<V>(max);
    const V raised = where_less(x, low, low, x);
    return where_less(high, raised, high, raised);
  }
};

struct Abs {
  static constexpr double kFactor = 0;
  static constexpr bool kArithmetic = true;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::fabs;
    return fabs(x);
  }
};

struct Square {
  static constexpr double kFactor = 2;
  static constexpr bool kArithmetic = true;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    return x * x;
  }
};

struct Softsign {
  static constexpr double kFactor = 3;
  static constexpr bool kArithmetic = true;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::fabs;
    return x / (constant<V>(1) + fabs(x));
  }
};

// ReLU6(x + 3) / 6.
struct Hardsigmoid {
  static constexpr double kFactor = 4;
  static constexpr bool kArithmetic = true;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    return Clamp{0, 6}(x + constant<V>(3)) / constant<V>(6);
  }
};

struct Hardswish {
  static constexpr double kFactor = 4;
  static constexpr bool kArithmetic = true;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    return x * Hardsigmoid()(x);
  }
};

struct Sigmoid {
  static constexpr double kFactor = 8;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::exp;
    return constant<V>(1) / (constant<V>(1) + exp(-x));
  }
  // exp(-x) overflows where the result is near the smallest floats.
  static double scale(double /*x*/, double y) { return std::fabs(y) + kUnderflow; }
};

struct LogSigmoid {
  static constexpr double kFactor = 8;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::exp, std::fabs, std::log1p;
    return where_positive(-x, x, constant<V>(0)) - log1p(exp(-fabs(x)));
  }
  static double scale(double /*x*/, double y) { return std::fabs(y) + kUnderflow; }
};

struct Silu {
  static constexpr double kFactor = 8;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::exp;
    return x / (constant<V>(1) + exp(-x));
  }
  static double scale(double x, double y) { return std::fabs(y) + std::fabs(x) * kUnderflow; }
};

// x * tanh(softplus(x)); with n = exp(x) * (exp(x) + 2) that tanh is n / (n + 2), and 1 to the last bit from 20 on.
struct Mish {
  static constexpr double kFactor = 12;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::exp;
    const V e = exp(x);
    const V n = e * (e + constant<V>(2));
    return where_less(constant<V>(20), x, x, x * (n / (n + constant<V>(2))));
  }
  static double scale(double x, double y) { return std::fabs(y) + std::fabs(x) * kUnderflow; }
};

struct Tanh {
  static constexpr double kFactor = 8;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::tanh;
    return tanh(x);
  }
};

struct Gelu {
  static constexpr double kFactor = 8;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::erf;
    constexpr double kInvSqrt2 = 0.70710678118654752440;
    return constant<V>(0.5) * x * (constant<V>(1) + erf(x * constant<V>(kInvSqrt2)));
  }
  // 1 + erf(x) cancels where x is far below 0.
  static double scale(double x, double /*y*/) { return std::fabs(x); }
};

// GELU with approximate: tanh.
struct GeluTanh {
  static constexpr double kFactor = 8;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::tanh;
    constexpr double kSqrt2OverPi = 0.79788456080286535588;
    const V inner = constant<V>(kSqrt2OverPi) * (x + constant<V>(0.044715) * x * x * x);
    return constant<V>(0.5) * x * (constant<V>(1) + tanh(inner));
  }
  static double scale(double x, double /*y*/) { return std::fabs(x); }
};

// ELU, SELU and CELU: positive * x where x > 0, else negative * (exp(rate * x) - 1).
struct Elu {
  static constexpr double kFactor = 10;
  double positive = 1;
  double negative = 1;
  double rate = 1;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::expm1;
    return where_positive(x, x * constant<V>(positive), constant<V>(negative) * expm1(x * constant<V>(rate)));
  }
  // expm1 may be subnormal.
  double scale(double /*x*/, double y) const { return std::fabs(y) + std::fabs(negative) * kUnderflow; }
};

// log(1 + exp(beta * x)) / beta, and x where beta * x is above the threshold.
struct Softplus {
  static constexpr double kFactor = 12;
  double beta = 1;  // above 0
  double threshold = 20;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::exp, std::log1p;
    const V scaled = x * constant<V>(beta);
    return where_less(constant<V>(threshold), scaled, x, log1p(exp(scaled)) / constant<V>(beta));
  }
  // Rounding beta * x is a relative error of |beta * x| * eps far below 0, and may lead across the threshold's step.
  double scale(double x, double y) const {
    const double scaled = x * beta;
    const bool may_cross = std::fabs(scaled - threshold) <= std::fabs(scaled) * 0x1p-21;
    const double step = may_cross ? std::fabs(std::log1p(std::exp(scaled)) / beta - x) * 0x1p24 : 0;
    return std::fabs(y) * (1 + std::fmax(-scaled, 0)) + kUnderflow / beta + step;
  }
};

struct Exp {
  static constexpr double kFactor = 4;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::exp;
    return exp(x);
  }
  static double scale(double /*x*/, double y) { return std::fabs(y) + kUnderflow; }
};

struct Log {
  static constexpr double kFactor = 4;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::log;
    return log(x);
  }
};

struct Sqrt {
  static constexpr double kFactor = 2;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::sqrt;
    return sqrt(x);
  }
};

struct Sin {
  static constexpr double kFactor = 4;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::sin;
    return sin(x);
  }
  // Where a sine crosses zero, what is left of x after its turns are taken off has their errors.
  static double scale(double x, double /*y*/) { return std::fmin(std::fabs(x), 1); }
};

struct Cos {
  static constexpr double kFactor = 4;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::cos;
    return cos(x);
  }
  static double scale(double /*x*/, double /*y*/) { return 1; }
};

// Snake with its channel's numbers: x + sin^2(factor * x) * share. Not an Activation: no numbers serve all channels.
struct Snake {
  static constexpr double kFactor = 8;
  double factor = 1;
  double share = 1;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::sin;
    const V sine = sin(constant<V>(factor) * x);
    return fused_multiply_add(constant<V>(share), sine * sine, x);
  }
  // That of sin's argument counts in full.
  double scale(double x, double /*y*/) const { return std::fabs(x) + std::fabs(share * factor * x); }
};

using Activation = std::variant<Relu, LeakyRelu, Clamp, Abs, Square, Softsign, Hardsigmoid, Hardswish, Sigmoid,
                                LogSigmoid, Silu, Mish, Tanh, Gelu, GeluTanh, Elu, Softplus, Exp, Log, Sqrt, Sin, Cos>;

// The scale of a function's float32 error at x, where it is y.
template <class Function>
double scale_of(const Function& function, double x, double y) {
  if constexpr (requires { function.scale(x, y); }) {
    return function.scale(x, y);
  } else {
    return std::fabs(y);
  }
}

}  // namespace strand::layers
