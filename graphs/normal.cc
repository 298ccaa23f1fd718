#include "graphs/normal.h"

#include <cmath>
#include <numbers>

namespace strand::graphs {

// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
double Normal::uniform() {
  uint64_t z = (state_ += 0x9E3779B97F4A7C15);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  z ^= z >> 31;
  return (static_cast<double>(z >> 12) + 0.5) * 0x1p-52;
}

// Box and Muller (1958); std::normal_distribution is free to differ between libraries.
double Normal::next() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  const double radius = std::sqrt(-2 * std::log(uniform()));
  const double angle = 2 * std::numbers::pi * uniform();
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

void fill_normal(std::span<float> values, uint64_t seed) {
  Normal normal(seed);
  for (float& value : values) value = static_cast<float>(normal.next());
}

}  // namespace strand::graphs
