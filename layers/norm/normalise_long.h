#pragma once
// Norms of contiguous rows of which a block holds but a part, on CUDA. Plain functions; the caller owns all memory.
// inner is 1 and there are elements; `parameters` are [weights, biases].

#include <cstddef>
#include <cstdint>

#include "engine/context.h"
#include "layers/norm/normalise.h"

namespace strand::layers {

// Rows that several blocks hold together; whether it is one on the calling thread's device.
bool is_cluster_problem(const NormProblem& problem);
void normalise_cluster_rows(const Context& context, const NormProblem& problem, const float* parameters, const float* x,
                            float* y);

// Rows of any length.
int64_t long_rows_workspace(const NormProblem& problem);  // bytes
void normalise_long_rows(const Context& context, const NormProblem& problem, const float* parameters, const float* x,
                         float* y, std::byte* workspace);

}  // namespace strand::layers
