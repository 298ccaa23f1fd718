#pragma once
// What a half of a gated unit goes through, by number: the branch is the same for all elements of a run.

#include <cstdint>

#include "layers/functions.h"

namespace strand::layers {

enum class HalfFunction : uint8_t { kIdentity, kReLU, kTanh, kSigmoid, kSoftsign, kSiLU, kGELU, kHardtanh };

template <class V>
STRAND_HD V half_function(HalfFunction function, const V& x) {
  switch (function) {
    case HalfFunction::kReLU:
      return Relu()(x);
    case HalfFunction::kTanh:
      return Tanh()(x);
    case HalfFunction::kSigmoid:
      return Sigmoid()(x);
    case HalfFunction::kSoftsign:
      return Softsign()(x);
    case HalfFunction::kSiLU:
      return Silu()(x);
    case HalfFunction::kGELU:
      return Gelu()(x);
    case HalfFunction::kHardtanh:
      return Clamp{-1, 1}(x);
    case HalfFunction::kIdentity:
      break;
  }
  return x;
}

// A function's float32 error at x, where it is y, in units of eps.
inline double half_function_error(HalfFunction function, double x, double y) {
  const auto error = [&](const auto& f) { return f.kFactor * scale_of(f, x, y); };
  switch (function) {
    case HalfFunction::kTanh:
      return error(Tanh());
    case HalfFunction::kSigmoid:
      return error(Sigmoid());
    case HalfFunction::kSoftsign:
      return error(Softsign());
    case HalfFunction::kSiLU:
      return error(Silu());
    case HalfFunction::kGELU:
      return error(Gelu());
    case HalfFunction::kIdentity:
    case HalfFunction::kReLU:
    case HalfFunction::kHardtanh:
      break;
  }
  return 0;
}

}  // namespace strand::layers
