#pragma once
// Which input times an output time needs: the exact rational map from which receptive field, latency and halo follow.
// Plain values.

#include <cstdint>
#include <string>

namespace strand {

// What a layer does with input times before 0 and from the length on.
enum class Ends : uint8_t { kNone, kZeros, kReflect, kReplicate, kCircular };

struct TimeMap {
  // Output t needs inputs floor((numerator * t + first) / denominator) to floor((numerator * t + last) / denominator),
  // both included.
  int64_t numerator = 1;
  int64_t denominator = 1;
  int64_t first = 0;
  int64_t last = 0;
  Ends ends = Ends::kNone;
  std::string whole;      // not empty: every output needs the whole input, and this says why
  bool stateful = false;  // and all times before, through a state that the kernel carries on

  static TimeMap pointwise() { return {}; }
  static TimeMap recurrent() {
    TimeMap map;
    map.stateful = true;
    return map;
  }
  static TimeMap all(std::string reason) {
    TimeMap map;
    map.whole = std::move(reason);
    return map;
  }
  bool is_whole() const { return !whole.empty(); }
};

}  // namespace strand
