#pragma once
// Vector arithmetic of Eigen's that *_cpu.cc files share. Functions without state; not installed.

#include <Eigen/Core>

#include <cmath>
#include <type_traits>

namespace strand::layers {

// a * b + c, with one rounding wherever the processor can. Spelled out, for a compiler that is left to fuse products
// and sums (GCC's tuning decides it loop by loop) rounds a wide strip and a narrow one differently.
template <class Packet>
Packet multiply_add(const Packet& a, const Packet& b, const Packet& c) {
#ifdef FP_FAST_FMAF
  if constexpr (std::is_same_v<Packet, float>) return std::fma(a, b, c);
#endif
  return Eigen::internal::pmadd(a, b, c);
}

}  // namespace strand::layers
