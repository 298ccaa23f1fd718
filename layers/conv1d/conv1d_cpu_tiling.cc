#include "layers/conv1d/conv1d_cpu_tiling.h"

#include <algorithm>

#include "engine/checked.h"

namespace strand::layers {
namespace {

// One segment for each residue of k * dilation modulo the stride.
TapChunk phase_chunk(const Conv1dProblem& p, int64_t positions, std::vector<int64_t>& offsets) {
  TapChunk chunk{0, p.kernel_size, {}, 0};
  std::vector<int64_t> segment_of(static_cast<size_t>(p.kernel_size));
  for (int64_t k = 0; k < p.kernel_size; ++k) {
    const int64_t phase = k * p.dilation % p.stride;
    auto found = std::ranges::find(chunk.segments, phase, &Segment::start);
    if (found == chunk.segments.end()) found = chunk.segments.insert(found, {phase, 0, 0});
    found->count = positions + k * p.dilation / p.stride;
    segment_of[static_cast<size_t>(k)] = found - chunk.segments.begin();
  }
  for (Segment& segment : chunk.segments) {
    segment.base = chunk.width;
    chunk.width = checked_add(chunk.width, segment.count);
  }
  offsets.resize(segment_of.size());
  for (size_t k = 0; k < offsets.size(); ++k) {
    offsets[k] =
        chunk.segments[static_cast<size_t>(segment_of[k])].base + static_cast<int64_t>(k) * p.dilation / p.stride;
  }
  return chunk;
}

// One segment a tap, as many taps a chunk as the buffer holds.
std::vector<TapChunk> tap_chunks(const Conv1dProblem& p, int64_t positions, std::vector<int64_t>& offsets) {
  std::vector<TapChunk> chunks;
  const int64_t step = kBufferFloats / positions;
  offsets.clear();
  for (int64_t first = 0; first < p.kernel_size; first += step) {
    TapChunk chunk{first, std::min(step, p.kernel_size - first), {}, 0};
    for (int64_t k = 0; k < chunk.taps; ++k) {
      chunk.segments.push_back({(first + k) * p.dilation, positions, k * positions});
      offsets.push_back(k * positions);
    }
    chunk.width = chunk.taps * positions;
    chunks.push_back(std::move(chunk));
  }
  return chunks;
}

Tiling tile(const Conv1dProblem& p, int64_t positions) {
  Tiling tiling;
  tiling.positions = positions;
  for (int64_t k = 0; k < p.kernel_size; ++k) tiling.direct_offsets.push_back(k * p.dilation);
  // Finding the phases takes quadratic time, and so many make segments too short to be worth it.
  if (std::min(p.stride, p.kernel_size) <= 64) {
    TapChunk phases = phase_chunk(p, positions, tiling.offsets);
    if (phases.width <= std::min(kBufferFloats, p.kernel_size * positions)) tiling.chunks = {std::move(phases)};
  }
  if (tiling.chunks.empty()) tiling.chunks = tap_chunks(p, positions, tiling.offsets);
  return tiling;
}

// Floats copied into the buffer, and outputs read and written again, for each position and channel.
double traffic(const Conv1dProblem& p, const Tiling& tiling) {
  double floats = 0;
  for (const TapChunk& chunk : tiling.chunks) {
    floats += static_cast<double>(chunk.width) / static_cast<double>(tiling.positions);
    const int64_t channels = kBufferFloats / chunk.width;
    if (channels < p.group_in() || tiling.chunks.size() > 1) {
      floats += 2 * static_cast<double>(p.group_out()) / static_cast<double>(std::min(channels, p.group_in()));
    }
  }
  return floats;
}

}  // namespace

Tiling best_tiling(const Conv1dProblem& p) {
  Tiling best = tile(p, 256);
  for (const int64_t positions : {128, 64}) {
    Tiling other = tile(p, positions);
    if (traffic(p, other) < traffic(p, best)) best = std::move(other);
  }
  return best;
}

}  // namespace strand::layers
