#pragma once
// How long something took, each of any number of times, in memory that does not grow: counts by length, 64 steps an
// octave from 1 ns on. Plain values; one thread.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace strand::tools {

class TimeHistogram {
 public:
  void add(int64_t nanoseconds) {
    const auto value = static_cast<uint64_t>(std::max<int64_t>(nanoseconds, 0));
    ++counts_[step_of(value)];
    ++count_;
    if (__builtin_add_overflow(total_, static_cast<int64_t>(value), &total_)) total_ = INT64_MAX;
    worst_ = std::max(worst_, static_cast<int64_t>(value));
  }

  int64_t count() const { return count_; }
  int64_t total() const { return total_; }  // ns
  int64_t worst() const { return worst_; }  // ns
  // The least time in ns that at least this share of all kept to; up to 1.6% above the truth, and never below.
  int64_t quantile(double share) const {
    const auto wanted = std::max(share * static_cast<double>(count_), 1.0);
    int64_t passed = 0;
    for (size_t step = 0; step < counts_.size(); ++step) {
      passed += counts_[step];
      if (static_cast<double>(passed) >= wanted) return std::min(last_of(step), worst_);
    }
    return worst_;
  }

 private:
  static constexpr int kBits = 6;  // of a step's place in its octave
  static constexpr uint64_t kSteps = uint64_t{1} << kBits;

  // Below 128 a step a nanosecond; above, the seven highest bits.
  static size_t step_of(uint64_t value) {
    if (value < 2 * kSteps) return value;
    const auto octave = static_cast<uint64_t>(std::bit_width(value) - 1 - kBits);
    return octave * kSteps + (value >> octave);
  }
  static int64_t last_of(size_t step) {
    if (step < 2 * kSteps) return static_cast<int64_t>(step);
    const uint64_t octave = step / kSteps - 1;
    return static_cast<int64_t>(((step % kSteps + kSteps + 1) << octave) - 1);
  }

  std::vector<int64_t> counts_ = std::vector<int64_t>((64 - kBits) * kSteps + kSteps);
  int64_t count_ = 0;
  int64_t total_ = 0;
  int64_t worst_ = 0;
};

}  // namespace strand::tools
