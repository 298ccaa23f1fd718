#pragma once
// What the steps of live streams (live_streams.h) know of time: whole numbers in the device's memory, written between
// runs. [tick, listens, slots x (begin of each stream, end of each stream)], in a slot the times of one value.

#include <cstdint>
#include <limits>

namespace strand {

struct LiveClock {
  const int64_t* words = nullptr;

  static constexpr int64_t kHeader = 2;
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max() / 4;  // what has begun so far ends then

  static constexpr int64_t begin_at(int64_t slot, int64_t streams, int64_t stream) {
    return kHeader + 2 * slot * streams + stream;
  }
  static constexpr int64_t end_at(int64_t slot, int64_t streams, int64_t stream) {
    return begin_at(slot, streams, stream) + streams;
  }
  static constexpr int64_t size(int64_t slots, int64_t streams) { return kHeader + 2 * slots * streams; }

  // Chunks that came before this one, counted so that no time is below 0.
  constexpr int64_t tick() const { return words[0]; }
  // Whether this chunk is one of silence to be remembered.
  constexpr bool listens() const { return words[1] != 0; }
  constexpr int64_t begin(int64_t slot, int64_t streams, int64_t stream) const {
    return words[begin_at(slot, streams, stream)];
  }
  constexpr int64_t end(int64_t slot, int64_t streams, int64_t stream) const {
    return words[end_at(slot, streams, stream)];
  }
};

}  // namespace strand
