#include "layers/conv1d/conv1d_depthwise.h"

#include <algorithm>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_expected.h"

namespace strand::layers {
namespace {

constexpr int64_t kMaxGrid = 0x7FFFFFFF;

}  // namespace

bool depthwise_windows(const Conv1dProblem& p, DepthwiseWindows& windows) {
  constexpr int64_t kLanes = 32;
  constexpr int64_t kSharedBytes = 48 * 1024;  // that a block has without asking
  constexpr int64_t kQuads = 8;                // of banks, what eight lanes read at once
  if (p.stride != 1 || p.dilation > kLanes || p.kernel_size > kSharedBytes / 4) return false;
  const int64_t groups = kLanes / p.dilation;
  const int64_t outputs = kWindowOutputs * groups * p.dilation;
  const int64_t positions = outputs + (p.kernel_size - 1) * p.dilation;
  // Lanes read four values past their last one. Eight neighbours, of different residues, read from different banks.
  int64_t quads = ceil_div(kWindowOutputs * groups + p.kernel_size + 3, int64_t{4});
  const int64_t apart = std::max<int64_t>(1, kQuads / p.dilation);
  while (p.dilation > 1 && quads % kQuads != apart % kQuads) ++quads;
  const int64_t input_floats = std::max({p.dilation * quads * 4, round_up(positions, kLanes), int64_t{kWindowTile}});
  const int64_t tap_floats = round_up(p.kernel_size, 4);
  if ((input_floats + tap_floats) * 4 * kWindowWarps > kSharedBytes) return false;
  windows = {static_cast<int>(groups),    static_cast<int>(outputs),      static_cast<int>(positions),
             static_cast<int>(quads * 4), static_cast<int>(input_floats), static_cast<int>(tap_floats)};
  return true;
}

DepthwiseWay depthwise_way(const Conv1dProblem& p, int64_t out_length, int processors) {
  constexpr int64_t kShortKernel = 7;  // compiled for its sizes by rows
  constexpr int64_t kLongRow = 1024;   // outputs a tap, from which on rows are the faster for these
  constexpr int64_t kFewOutputs = 32;  // a row, that leave most lanes nothing to do
  constexpr int kWarps = 16;           // a multiprocessor
  const int64_t rows = checked_mul(p.batch, p.out_channels);
  const int64_t outputs = checked_mul(rows, out_length);
  DepthwiseWindows windows;
  if (depthwise_windows(p, windows) && out_length >= kFewOutputs) {
    const bool shares = p.kernel_size > kShortKernel || (p.dilation == 1 && out_length < kLongRow * p.kernel_size);
    const int64_t warps = checked_mul(rows, ceil_div(out_length, int64_t{windows.outputs}));
    if (shares && warps <= kMaxGrid) return DepthwiseWay::kWindows;
  }
  const int64_t warps = checked_mul(rows, ceil_div(out_length, kDepthwiseTile));
  // More than an eighth of what rows' warps make would be past rows' ends, or they are too few for the device.
  const bool empty = outputs / 7 * 8 < checked_mul(warps, kDepthwiseTile) || warps < int64_t{kWarps} * processors;
  const bool elements = empty && outputs > 0 && outputs <= kMaxGrid - kDepthwiseThreads;
  return elements ? DepthwiseWay::kElements : DepthwiseWay::kRows;
}

double depthwise_seconds(const Conv1dProblem& p, int64_t out_length, int processors) {
  double memory = 0.7;  // of the time that bytes take at best
  const auto outputs = static_cast<double>(p.batch * p.out_channels) * static_cast<double>(out_length);
  const auto taps = static_cast<double>(p.kernel_size);
  const auto stride = static_cast<double>(p.stride);
  const bool apart = has_taps_apart(p);
  double seconds = 0;
  switch (depthwise_way(p, out_length, processors)) {
    case DepthwiseWay::kRows: {
      constexpr double kTaps = 34e9;  // a second and multiprocessor; of a stride each load has so many more lines
      constexpr double kSlower = 1.5;
      seconds = (apart ? kSlower : 1) * outputs * taps * std::max(1.0, 0.6 * stride) / (kTaps * processors);
      break;
    }
    case DepthwiseWay::kElements: {
      constexpr double kTaps = 9e9;
      constexpr double kBatchSeconds = 0.5e-6;  // the way of the loads that are under way at once
      constexpr int64_t kBatch = 8;
      constexpr double kSlower = 1.15;
      // Those that meet more than padded zeros.
      const bool zeros = p.padding_mode == PaddingMode::kZeros;
      const int64_t met = zeros ? std::min(p.kernel_size, ceil_div(p.length, p.dilation)) : p.kernel_size;
      const int64_t batch = met <= kBatch / 2 ? kBatch / 2 : kBatch;
      const double all = outputs * static_cast<double>(round_up(met, batch)) * std::max(1.0, stride / 8);
      seconds = (apart ? kSlower : 1) *
                std::max(all / (kTaps * processors), kBatchSeconds * static_cast<double>(ceil_div(met, kBatch)));
      break;
    }
    case DepthwiseWay::kWindows: {
      constexpr double kWarpSeconds = 35e-9;  // of a multiprocessor, and what a tap takes more
      constexpr double kTapSeconds = 1.03e-9;
      constexpr double kDilated = 1.45;
      DepthwiseWindows windows;
      depthwise_windows(p, windows);
      const auto warps = static_cast<double>(p.batch * p.out_channels * ceil_div(out_length, int64_t{windows.outputs}));
      memory = 0.87;
      seconds = (p.dilation > 1 ? kDilated : 1) * warps * (kWarpSeconds + kTapSeconds * taps) / processors;
      break;
    }
  }
  return kLaunchSeconds + std::max(seconds, memory * memory_seconds(p, out_length));
}

}  // namespace strand::layers
