#pragma once
// An epilogue on the CPU, on rows of finished sums, with the bits that the layers themselves give, wherever a row is
// cut. Functions without state; any thread.

#include <cstdint>

#include "layers/epilogue.h"

namespace strand::layers {

// y = activation(a) * gate(b), [count] each.
void gate_row(const Epilogue& epilogue, const float* a, const float* b, float* y, int64_t count);

// All else, in place. `parameters`: the function's, of this row's channel; `residual`: [count], or null.
void finish_row(const Epilogue& epilogue, const double (&parameters)[3], const float* residual, float* y,
                int64_t count);

// Rows that lie `stride` floats apart.
template <class Float>
struct RowSpan {
  Float* data = nullptr;
  int64_t stride = 0;
  RowSpan from(int64_t row, int64_t at) const { return {data + row * stride + at, stride}; }
};
// The same for [rows, count] of consecutive channels. `coefficients`: the first of these channels', null unless
// by_channel(); their second number lies `channels` further. `residual` may be null.
void finish_rows(const Epilogue& epilogue, const float* coefficients, int64_t channels, RowSpan<const float> residual,
                 RowSpan<float> y, int64_t rows, int64_t count);

}  // namespace strand::layers
