#pragma once
// Norms of contiguous rows that no block holds, on CUDA. Plain functions; the caller owns all memory.

#include <cstddef>
#include <cstdint>

#include "engine/context.h"
#include "layers/norm/normalise.h"

namespace strand::layers {

int64_t long_rows_workspace(const NormProblem& problem);  // bytes

// inner is 1 and there are elements. `parameters`: [weights, biases].
void normalise_long_rows(const Context& context, const NormProblem& problem, const float* parameters, const float* x,
                         float* y, std::byte* workspace);

}  // namespace strand::layers
