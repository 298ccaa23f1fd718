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

Lanes expm1(const Lanes& x) {
  Lanes y;
  array(y) = array(x).expm1();
  return y;
}

Lanes log(const Lanes& x) {
  // Eigen takes the smallest normal float for a smaller one.
  constexpr float kNormal = 0x1p-126F;
  constexpr float kLog24 = 16.6355324F;  // of 2^24
  const auto small = [&](int i) { return x[i] < kNormal; };
  Lanes y = each_lane([&](int i) { return small(i) ? x[i] * 0x1p24F : x[i]; });
  array(y) = array(y).log();
  return each_lane([&](int i) { return small(i) ? y[i] - kLog24 : y[i]; });
}

Lanes log1p(const Lanes& x) {
  Lanes y;
  array(y) = array(x).log1p();
  return y;
}

Lanes tanh(const Lanes& x) {
  Lanes y;
  array(y) = array(x).tanh();
  return y;
}

void tanh_row(const float* x, float* y, int64_t count) {
  using Packet = Eigen::internal::find_best_packet<float, Lanes::kCount>::type;
  constexpr int kStep = Eigen::internal::unpacket_traits<Packet>::size;
  for (int64_t i = 0; i < count; i += kStep) {
    Eigen::internal::pstoreu(y + i, Eigen::internal::ptanh(Eigen::internal::ploadu<Packet>(x + i)));
  }
}

Lanes erf(const Lanes& x) {
  Lanes y;
  array(y) = Eigen::erf(array(x));
  return y;
}

Lanes sin(const Lanes& x) {
  Lanes y;
  array(y) = array(x).sin();
  return y;
}

Lanes cos(const Lanes& x) {
  Lanes y;
  array(y) = array(x).cos();
  return y;
}

Lanes sqrt(const Lanes& x) {
  // Eigen's own for floats is an approximation.
  Lanes y;
  array(y) = array(x).cast<double>().sqrt().cast<float>();
  return y;
}

}  // namespace strand::layers
