#pragma once
// The activations' formulas, each written once for float, double, CPU lanes and CUDA threads. Adding one: a struct, its
// name in Activation below, and its entry in the table of pointwise.cc.

#include <cmath>
#include <variant>

#include "layers/host_device.h"
#include "layers/lanes.h"

namespace strand::layers {

// Formulas are generic in V; these two are what they need besides arithmetic and <cmath>.
template <class V>
STRAND_HD V constant(double value) {
  if constexpr (std::is_same_v<V, Lanes>) {
    return Lanes::all(static_cast<float>(value));
  } else {
    return static_cast<V>(value);
  }
}

// `positive` where x > 0, else `other` (NaN too).
template <class V>
STRAND_HD V where_positive(const V& x, const V& positive, const V& other) {
  if constexpr (std::is_same_v<V, Lanes>) {
    return each_lane([&](int i) { return x[i] > 0 ? positive[i] : other[i]; });
  } else {
    return x > 0 ? positive : other;
  }
}

struct Relu {
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    // Not max(x, 0): NaN goes through.
    return where_positive(-x, constant<V>(0), x);
  }
};

struct LeakyRelu {
  double negative_slope = 0.01;
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    return where_positive(x, x, x * constant<V>(negative_slope));
  }
};

struct Sigmoid {
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::exp;
    return constant<V>(1) / (constant<V>(1) + exp(-x));
  }
};

struct Tanh {
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::tanh;
    return tanh(x);
  }
};

struct Gelu {
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::erf;
    constexpr double kInvSqrt2 = 0.70710678118654752440;
    return constant<V>(0.5) * x * (constant<V>(1) + erf(x * constant<V>(kInvSqrt2)));
  }
};

// GELU with approximate: tanh.
struct GeluTanh {
  template <class V>
  STRAND_HD V operator()(const V& x) const {
    using std::tanh;
    constexpr double kSqrt2OverPi = 0.79788456080286535588;
    const V inner = constant<V>(kSqrt2OverPi) * (x + constant<V>(0.044715) * x * x * x);
    return constant<V>(0.5) * x * (constant<V>(1) + tanh(inner));
  }
};

using Activation = std::variant<Relu, LeakyRelu, Sigmoid, Tanh, Gelu, GeluTanh>;

}  // namespace strand::layers
