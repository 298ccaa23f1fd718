#include <Eigen/Core>
#include <unsupported/Eigen/SpecialFunctions>

#include "layers/lanes.h"

namespace strand::layers {
namespace {

using Array = Eigen::Array<float, Lanes::kCount, 1>;

Eigen::Map<const Array, Eigen::Aligned64> array(const Lanes& lanes) {
  return Eigen::Map<const Array, Eigen::Aligned64>(lanes.values.data());
}
Eigen::Map<Array, Eigen::Aligned64> array(Lanes& lanes) {
  return Eigen::Map<Array, Eigen::Aligned64>(lanes.values.data());
}

}  // namespace

Lanes exp(const Lanes& x) {
  // Eigen clamps the exponent, and so turns exp(-Inf) into the smallest subnormals.
  constexpr float kSmallestLog = -87.3365448F;
  Lanes y;
  array(y) = array(x).exp();
  return each_lane([&](int i) { return x[i] < kSmallestLog ? 0.0F : y[i]; });
}

Lanes tanh(const Lanes& x) {
  Lanes y;
  array(y) = array(x).tanh();
  return y;
}

Lanes erf(const Lanes& x) {
  Lanes y;
  array(y) = Eigen::erf(array(x));
  return y;
}

}  // namespace strand::layers
