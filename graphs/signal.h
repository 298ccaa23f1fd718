#pragma once
// Stretches of signals on the host: cut out of a tensor along its time axis, and put into one. Functions without state.

#include "engine/tensor.h"

namespace strand::graphs {

// Times [begin, end), copied.
Tensor cut_times(const TensorView& signal, int64_t begin, int64_t end);

// The same into memory that is there: as many times as `part` has.
void cut_times(const TensorView& signal, int64_t begin, const TensorView& part);

// Writes all times of `stretch` over those of `signal` from `begin` on; equal types but for the time axis.
void put_times(const TensorView& stretch, const TensorView& signal, int64_t begin);

}  // namespace strand::graphs
