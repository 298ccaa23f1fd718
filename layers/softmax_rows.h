#pragma once
// Softmax, or its logarithm, of a few rows on the CPU: three passes (maximum, sum, values) over a row, which stays in
// the cache. Sums are in double, and a row's result does not depend on where it stands. A NaN anywhere, or nothing but
// -Inf, makes all of it NaN.

#include <cstdint>

namespace strand::layers {

// One row that lies side by side; y may be x, but for the logarithm.
void softmax_row(bool log, const float* x, float* y, int64_t size);
// `count` rows side by side, at most Lanes::kCount of them; a row's elements lie `stride` apart.
void softmax_columns(bool log, const float* x, float* y, int64_t size, int64_t stride, int64_t count);

}  // namespace strand::layers
