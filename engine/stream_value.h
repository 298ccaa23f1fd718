#pragma once
// A value of a stream: the stretch that was just made, and what is kept of the past. Owns no memory; one
// StreamSession's.
//
// The past lies in a band a row, two rings long: what a push makes is written after what went before it, until the
// band's end is near, and then a ring's length further down. What lies above the ring is copied down in time, so every
// window is one piece.

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "engine/stream_times.h"

namespace strand {

inline bool timed(const TensorType& type) { return type.time_axis != TensorType::kNoTime; }

struct StreamValue {
  int64_t outer = 1;           // rows
  int64_t inner = 1;           // bytes a time
  int64_t kept = 0;            // times of the past; 0: none is kept, and all below is fresh
  int64_t ring = 0;            // times of the past and of one push
  bool in_band = false;        // made there, and nowhere else
  bool followed = false;       // through repeated pushes: someone asks for its stretch
  std::byte* fresh = nullptr;  // [outer, times of the stretch, inner], unless in_band
  std::byte* band = nullptr;   // [outer, band_row(), inner]
  Stretch stretch;             // what this push made
  int64_t at = 0;              // times before stretch.begin in the band, from `kept` to `kept + ring`
  std::byte* place = nullptr;  // of stretch.begin, where windows are read

  int64_t band_row() const { return 2 * ring + 16; }  // rows seldom lie a power of two apart

  // Where the stretch is made.
  std::byte* made() const { return in_band ? place : fresh; }
  // The first row of a window that begins with `time`, not after the stretch; its rows lie window_row() apart.
  std::byte* window(int64_t time) const { return place + (time - stretch.begin) * inner; }
  int64_t window_row() const { return kept == 0 ? stretch.size() : band_row(); }

  void begin_signal() {
    stretch = {};
    at = kept;
  }
  // What comes next is not made yet, or `repeats`: will be as long as the last.
  void begin_push(bool repeats) {
    at += stretch.size();
    if (at >= kept + ring) at -= ring;
    stretch = stretch.next(repeats ? stretch.size() : 0);
    place = kept == 0 ? fresh : band + at * inner;
  }
  // What was made can be read as a window.
  void show() const {
    if (kept > 0 && !in_band) copy(fresh, stretch.size(), at, stretch.size());
  }
  // What was made will be the past of the next push.
  void keep() const {
    const int64_t above = std::max(at, ring);
    if (kept > 0 && at + stretch.size() > ring)
      copy(band + above * inner, band_row(), above - ring, at + stretch.size() - above);
  }
  // A window, its rows one after the other.
  void gather(const Stretch& times, std::byte* target) const {
    const std::byte* source = window(times.begin);
    const int64_t bytes = times.size() * inner;
    for (int64_t o = 0; o < outer; ++o, target += bytes, source += window_row() * inner) {
      std::memcpy(target, source, static_cast<size_t>(bytes));
    }
  }

 private:
  void copy(const std::byte* source, int64_t source_row, int64_t to, int64_t times) const {
    for (int64_t o = 0; o < outer; ++o) {
      std::memcpy(band + (o * band_row() + to) * inner, source + o * source_row * inner,
                  static_cast<size_t>(times * inner));
    }
  }
};

}  // namespace strand
