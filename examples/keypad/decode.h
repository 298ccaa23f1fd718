#pragma once
// From a probability a key and frame to the digits pressed: the rule of README.md, the same as decode() in keypad.py.
// Functions without state.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace keypad {

inline constexpr std::string_view kKeys = "123A456B789C*0#D";  // the output's channels; the one after them is silence
inline constexpr int64_t kSilence = static_cast<int64_t>(kKeys.size());
inline constexpr int64_t kChannels = kSilence + 1;
inline constexpr int64_t kHop = 80;       // samples a frame
inline constexpr int64_t kFramesOn = 3;   // in a row before a key counts
inline constexpr int64_t kFramesOff = 2;  // of silence in a row before the same key counts again

struct Digit {
  char key = 0;
  int64_t begin = 0;       // frames: the first of the run that made it count,
  int64_t end = 0;         // and one past the last that showed it
  double probability = 0;  // mean over them
};

// Frame t's key above 0.5 (no two can be), else kSilence. probabilities: [kChannels, frames].
inline int64_t symbol(std::span<const float> probabilities, int64_t frames, int64_t t) {
  for (int64_t key = 0; key < kSilence; ++key) {
    if (probabilities[static_cast<size_t>(key * frames + t)] > 0.5F) return key;
  }
  return kSilence;
}

inline double mean_probability(std::span<const float> probabilities, int64_t frames, const Digit& digit) {
  const auto key = static_cast<int64_t>(kKeys.find(digit.key));
  double sum = 0;
  for (int64_t t = digit.begin; t < digit.end; ++t) {
    sum += static_cast<double>(probabilities[static_cast<size_t>(key * frames + t)]);
  }
  return sum / static_cast<double>(digit.end - digit.begin);
}

// probabilities: [kChannels, frames].
inline std::vector<Digit> decode(std::span<const float> probabilities) {
  const int64_t frames = static_cast<int64_t>(probabilities.size()) / kChannels;
  std::vector<Digit> digits;
  int64_t held = kSilence;
  int64_t last = kSilence;
  int64_t run = 0;
  for (int64_t t = 0; t < frames; ++t) {
    const int64_t now = symbol(probabilities, frames, t);
    run = now == last ? run + 1 : 1;
    last = now;
    if (now == kSilence) {
      if (run >= kFramesOff) held = kSilence;
    } else if (run >= kFramesOn && now != held) {
      held = now;
      digits.push_back({kKeys[static_cast<size_t>(now)], t + 1 - run, t + 1, 0});
    } else if (now == held) {
      digits.back().end = t + 1;
    }
  }
  for (Digit& digit : digits) digit.probability = mean_probability(probabilities, frames, digit);
  return digits;
}

inline std::string text(std::span<const Digit> digits) {
  std::string keys;
  for (const Digit& digit : digits) keys += digit.key;
  return keys;
}

}  // namespace keypad
