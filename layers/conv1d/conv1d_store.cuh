#pragma once
// The way from a finished sum to memory: whatever is fused into a convolution is applied here, by all implementations.
// Plain pointers and numbers, which kernels take by value.

#include <cstdint>

#include "layers/conv1d/conv1d_halves.cuh"
#include "layers/epilogue.h"

namespace strand::layers {

struct Conv1dStore {
  const float* bias = nullptr;          // [C_out]
  const void* residual = nullptr;       // [N, channels, length], as y
  const float* coefficients = nullptr;  // [2, channels]: what the function has of each channel
  int64_t channels = 0;                 // of y: C_out, or half of it if gated
  int64_t length = 0;                   // of y's rows
  float parameters[3] = {};
  float scale = 1;
  Epilogue::Function function = Epilogue::Function::kIdentity;
  Epilogue::Residual residual_place = Epilogue::Residual::kNone;
  HalfFunction activation = HalfFunction::kIdentity;
  HalfFunction gate = HalfFunction::kIdentity;
  bool gated = false;
  // The bias is all. Kernels are compiled for this case apart: in the other one this code is long, and costs registers.
  bool plain = true;
  DType residual_type = DType::kFloat32;  // else halves: read by kernels that ask for rows with `Halves`

  // One row of y. Where `plain` it is no more than its bias; else the branches are the same for all threads.
  template <bool Halves>
  struct Row {
    float bias;
    float gate_bias;  // of the row's second half
    float parameters[3];
    float scale;
    const void* residual;  // the row's
    Epilogue::Function function;
    Epilogue::Residual residual_place;
    HalfFunction activation;
    HalfFunction gate;
    bool plain;
    DType residual_type;

    // y[position] from its sum; reads the residual there.
    __device__ float operator()(float sum, int64_t position) const {
      float value[1] = {sum};
      (*this)(value, position, 1, position + 1);
      return value[0];
    }
    // The same if gated, from the sums of both halves: channels o and o + C_out / 2.
    __device__ float operator()(float a, float b, int64_t position) const {
      float value[1] = {a};
      (*this)(value, {b}, position, 1, position + 1);
      return value[0];
    }
    // Many sums at a time, in place, the branches outside the loops. Their positions are `step` apart; those before 0
    // and from `end` on get no residual, and are not to be stored.
    template <int Count>
    __device__ void operator()(float (&sums)[Count], int64_t position, int64_t step, int64_t end) const {
#pragma unroll
      for (float& sum : sums) sum += bias;
      if (!plain) finish(sums, position, step, end);
    }
    template <int Count>
    __device__ void operator()(float (&sums)[Count], const float (&gates)[Count], int64_t position, int64_t step,
                               int64_t end) const {
#pragma unroll
      for (int i = 0; i < Count; ++i) {
        sums[i] = half_function(activation, sums[i] + bias) * half_function(gate, gates[i] + gate_bias);
      }
      finish(sums, position, step, end);
    }
    template <int Count>
    __device__ void finish(float (&values)[Count], int64_t position, int64_t step, int64_t end) const {
      if (residual_place == Epilogue::Residual::kBefore) add_residual(values, position, step, end);
      with_function(function, parameters, [&](const auto& f) {
#pragma unroll
        for (float& value : values) value = f(value);
      });
      if (residual_place == Epilogue::Residual::kAfter) add_residual(values, position, step, end);
#pragma unroll
      for (float& value : values) value *= scale;
    }
    template <int Count>
    __device__ void add_residual(float (&values)[Count], int64_t position, int64_t step, int64_t end) const {
      if (Halves && residual_type == DType::kFloat16) {
        add_stored<__half>(values, position, step, end);
      } else if (Halves && residual_type == DType::kBFloat16) {
        add_stored<__nv_bfloat16>(values, position, step, end);
      } else {
        add_stored<float>(values, position, step, end);
      }
    }
    template <class T, int Count>
    __device__ void add_stored(float (&values)[Count], int64_t position, int64_t step, int64_t end) const {
      const T* row = static_cast<const T*>(residual);
#pragma unroll
      for (int i = 0; i < Count; ++i) {
        const int64_t at = position + i * step;
        if (static_cast<uint64_t>(at) < static_cast<uint64_t>(end)) values[i] += stored_value(row[at]);
      }
    }
  };
  using Channel = Row<false>;

  // Positions count from the row's beginning. `channel`: of y's, so that if gated it is the first of the two.
  template <bool Halves = false>
  __device__ Row<Halves> at(int64_t batch, int64_t channel) const {
    Row<Halves> row = at<Halves>(channel);
    if (!plain && residual != nullptr) {
      const int64_t bytes = Halves ? bytes_stored(residual_type) : 4;
      row.residual = static_cast<const char*>(residual) + (batch * channels + channel) * length * bytes;
    }
    return row;
  }
  // Positions count from the beginning of y.
  template <bool Halves = false>
  __device__ Row<Halves> at(int64_t channel) const {
    Row<Halves> row{bias == nullptr ? 0.0F : bias[channel],
                    0,
                    {parameters[0], parameters[1], parameters[2]},
                    scale,
                    residual,
                    function,
                    residual_place,
                    activation,
                    gate,
                    plain,
                    residual_type};
    if (plain) return row;
    if (gated && bias != nullptr) row.gate_bias = bias[channels + channel];
    if (coefficients != nullptr) {
      row.parameters[0] = coefficients[channel];
      row.parameters[1] = coefficients[channels + channel];
    }
    return row;
  }
};

}  // namespace strand::layers
