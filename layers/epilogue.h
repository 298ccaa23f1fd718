#pragma once
// What becomes of a convolution's sums before they are stored: what the layers after it would have done, in this order:
//   y = scale * (f(g + r) or f(g) + r)      g: the sum and its bias, or activation(first half) * gate(second half)
// A plain value that kernels take by value. What varies by channel (the numbers of PReLU and Snake) lies beside it.

#include <optional>

#include "layers/half_function.h"

namespace strand::layers {

struct Epilogue {
  enum class Function : uint8_t {
    kIdentity,
    kRelu,
    kLeakyRelu,
    kClamp,
    kElu,
    kSigmoid,
    kSilu,
    kTanh,
    kGelu,
    kGeluTanh,
    kPrelu,  // parameters[0] is the channel's slope
    kSnake,  // parameters are the channel's factor and share
  };
  enum class Residual : uint8_t { kNone, kBefore, kAfter };  // the function; r is a second input, of y's shape

  bool gated = false;  // y has half the channels
  HalfFunction activation = HalfFunction::kIdentity;
  HalfFunction gate = HalfFunction::kIdentity;
  Function function = Function::kIdentity;
  double parameters[3] = {};  // the function's, in the order of its members in functions.h
  Residual residual = Residual::kNone;
  double scale = 1;

  constexpr bool by_channel() const { return function == Function::kPrelu || function == Function::kSnake; }
  constexpr bool none() const {
    return !gated && function == Function::kIdentity && residual == Residual::kNone && scale == 1;
  }
};

// `next` after `first`; nothing where the form above does not hold both, or not without one more rounding.
std::optional<Epilogue> then(const Epilogue& first, const Epilogue& next);

// A number in double, and how far a float32 run may be from it, in units of eps.
struct Estimate {
  double value = 0;
  double error = 0;
};
// y of one element: the definition, and the error that its sums' becomes (first order: times the largest slope of each
// function, plus what the function itself errs). `b`: the sum of the gate; `parameters`: the channel's.
Estimate finished(const Epilogue& epilogue, const double (&parameters)[3], Estimate a, Estimate b, double residual);

// Calls use(formula), which is one of functions.h, with these parameters; not for kIdentity. The switch stands around
// whatever `use` loops over.
template <class T, class Use>
STRAND_HD void with_function(Epilogue::Function function, const T (&parameters)[3], Use&& use) {
  using Function = Epilogue::Function;
  const T(&p)[3] = parameters;
  switch (function) {
    case Function::kIdentity:
      return;
    case Function::kRelu:
      return use(Relu{});
    case Function::kLeakyRelu:
    case Function::kPrelu:
      return use(LeakyRelu{p[0]});
    case Function::kClamp:
      return use(Clamp{p[0], p[1]});
    case Function::kElu:
      return use(Elu{p[0], p[1], p[2]});
    case Function::kSigmoid:
      return use(Sigmoid{});
    case Function::kSilu:
      return use(Silu{});
    case Function::kTanh:
      return use(Tanh{});
    case Function::kGelu:
      return use(Gelu{});
    case Function::kGeluTanh:
      return use(GeluTanh{});
    case Function::kSnake:
      return use(Snake{p[0], p[1]});
  }
}

}  // namespace strand::layers
