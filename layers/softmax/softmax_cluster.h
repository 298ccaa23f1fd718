#pragma once
// Softmax of rows that several blocks hold together, on CUDA. Plain functions.

#include "engine/context.h"
#include "layers/axes.h"

namespace strand::layers {

bool is_cluster_softmax(const AxisSplit& split);  // on the calling thread's device
// There are elements.
void cluster_softmax(const Context& context, bool log, const AxisSplit& split, const float* x, float* y);

}  // namespace strand::layers
