#pragma once
// Where a padded position takes its element from; for CPU and CUDA code.

#include "layers/host_device.h"
#include "layers/shape/shape_layers.h"

namespace strand::layers {

// The index in x of position `at` of y minus `left`, or -1 for the constant. With length > 0 (reflect: more than either
// padding, circular: at least either), which Pad::problem has checked.
STRAND_HD inline int64_t pad_index(const PadProblem& problem, int64_t at) {
  const int64_t last = problem.length - 1;
  if (at >= 0 && at <= last) return at;
  switch (problem.mode) {
    case PadMode::kConstant:
      return -1;
    case PadMode::kReflect:
      return at < 0 ? -at : 2 * last - at;
    case PadMode::kReplicate:
      return at < 0 ? 0 : last;
    case PadMode::kCircular:
      return at < 0 ? at + problem.length : at - problem.length;
  }
  return -1;
}

}  // namespace strand::layers
