#pragma once
// Which input times an output time needs, and how many outputs there are: the exact rational map from which receptive
// field, latency, halo and the steps of a stream follow. Plain values.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

#include "engine/checked.h"

namespace strand {

// What a layer does with input times before 0 and from the length on; kNone: there are none, or it leaves them out.
enum class Ends : uint8_t { kNone, kZeros, kReflect, kReplicate, kCircular };

struct TimeMap {
  // Output t needs inputs floor((numerator * t + first) / denominator) to floor((numerator * t + last) / denominator),
  // both included.
  int64_t numerator = 1;
  int64_t denominator = 1;
  int64_t first = 0;
  int64_t last = 0;
  // L inputs give floor((denominator * L + length) / numerator) outputs, from none to `most`.
  int64_t length = 0;
  int64_t most = std::numeric_limits<int64_t>::max();
  // The map holds for inputs whose length leaves `remainder` over a multiple of `period`: padding may depend on it.
  int64_t period = 1;
  int64_t remainder = 0;
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
  int64_t first_needed(int64_t t) const {
    return floor_div(checked_add(checked_mul(numerator, t), first), denominator);
  }
  int64_t last_needed(int64_t t) const { return floor_div(checked_add(checked_mul(numerator, t), last), denominator); }
  int64_t output_length(int64_t input_length) const {
    const int64_t outputs = floor_div(checked_add(checked_mul(denominator, input_length), length), numerator);
    return std::clamp<int64_t>(outputs, 0, most);
  }

  friend bool operator==(const TimeMap&, const TimeMap&) = default;
};

}  // namespace strand
