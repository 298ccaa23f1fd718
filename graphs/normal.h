#pragma once
// Random numbers from N(0, 1), the same on every machine for the same seed. One owner, one thread.

#include <cstdint>
#include <span>

namespace strand::graphs {

class Normal {
 public:
  explicit Normal(uint64_t seed) : state_(seed) {}
  double next();

 private:
  double uniform();  // in (0, 1)

  uint64_t state_;
  double spare_ = 0;
  bool has_spare_ = false;
};

void fill_normal(std::span<float> values, uint64_t seed);

}  // namespace strand::graphs
