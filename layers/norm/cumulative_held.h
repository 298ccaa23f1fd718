#pragma once
// CumulativeLayerNorm on CUDA where a block holds some times' channels. Plain functions; the caller owns all memory.

#include <cstddef>
#include <cstdint>

#include "engine/context.h"
#include "layers/norm/cumulative.h"

namespace strand::layers {

bool is_held_cumulative(const CumulativeProblem& problem);
int64_t held_cumulative_workspace(const CumulativeProblem& problem);  // bytes
// There are elements.
void held_cumulative(const Context& context, const CumulativeProblem& problem, const float* gamma, const float* beta,
                     const float* x, float* y, std::byte* workspace);

}  // namespace strand::layers
