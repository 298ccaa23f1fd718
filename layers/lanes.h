#pragma once
// Floats computed side by side on the CPU, so that a formula written once for a scalar (std::exp found by `using`) is
// vectorised too. A lane's value does not depend on where it stands. Plain values.

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace strand::layers {

struct Lanes {
  static constexpr int kCount = 32;
  alignas(64) std::array<float, kCount> values;

  float& operator[](int lane) { return values[static_cast<size_t>(lane)]; }
  float operator[](int lane) const { return values[static_cast<size_t>(lane)]; }

  static Lanes all(float value) {
    Lanes result;
    result.values.fill(value);
    return result;
  }
  // The first `count` lanes from memory, and `fill` in the others.
  static Lanes load(const float* source, int64_t count, float fill = 0) {
    Lanes result = all(fill);
    std::memcpy(result.values.data(), source, static_cast<size_t>(count) * sizeof(float));
    return result;
  }
  static Lanes load(const float* source) {
    Lanes result;
    std::memcpy(result.values.data(), source, sizeof result.values);
    return result;
  }
  void store(float* target, int64_t count = kCount) const {
    std::memcpy(target, values.data(), static_cast<size_t>(count) * sizeof(float));
  }
};

template <class Function>
Lanes each_lane(Function function) {
  Lanes result;
  for (int lane = 0; lane < Lanes::kCount; ++lane) result[lane] = function(lane);
  return result;
}

inline Lanes operator+(const Lanes& a, const Lanes& b) {
  return each_lane([&](int i) { return a[i] + b[i]; });
}
inline Lanes operator-(const Lanes& a, const Lanes& b) {
  return each_lane([&](int i) { return a[i] - b[i]; });
}
inline Lanes operator*(const Lanes& a, const Lanes& b) {
  return each_lane([&](int i) { return a[i] * b[i]; });
}
inline Lanes operator/(const Lanes& a, const Lanes& b) {
  return each_lane([&](int i) { return a[i] / b[i]; });
}
inline Lanes operator-(const Lanes& a) {
  return each_lane([&](int i) { return -a[i]; });
}

inline Lanes fabs(const Lanes& x) {
  return each_lane([&](int i) { return std::fabs(x[i]); });
}

// Within so many times 2^-24 of the value, as measured over all exponents; NaN and Inf as in <cmath>.
Lanes exp(const Lanes& x);    // 2; 0 where it is subnormal
Lanes expm1(const Lanes& x);  // 4
Lanes log(const Lanes& x);    // 2
Lanes log1p(const Lanes& x);  // 4
Lanes tanh(const Lanes& x);   // 5
Lanes erf(const Lanes& x);    // 7
Lanes sin(const Lanes& x);    // 3
Lanes cos(const Lanes& x);    // 3
Lanes sqrt(const Lanes& x);   // rounded correctly

// tanh of whole lanes that lie side by side (`count` a multiple of Lanes::kCount), with the bits of the above.
void tanh_row(const float* x, float* y, int64_t count);

}  // namespace strand::layers
