#pragma once
// One function applied to floats that lie side by side. For *_cpu.cc files only. Functions without state; an element's
// bits depend on neither its place nor how many there are.

#include <cstdint>
#include <type_traits>

#include "layers/functions.h"
#include "layers/lanes.h"

namespace strand::layers {

template <class Function>
void apply(const Function& given, const float* x, float* y, int64_t count) {
  const Function function = given;  // a copy that no store to y can change
  if constexpr (requires { Function::kArithmetic; }) {
    for (int64_t i = 0; i < count; ++i) y[i] = function(x[i]);
  } else {
    int64_t i = 0;
    if constexpr (std::is_same_v<Function, Tanh>) {
      i = count / Lanes::kCount * Lanes::kCount;
      tanh_row(x, y, i);
    }
    for (; i + Lanes::kCount <= count; i += Lanes::kCount) function(Lanes::load(x + i)).store(y + i);
    if (i < count) function(Lanes::load(x + i, count - i)).store(y + i, count - i);
  }
}

template <class Function>
void apply_in_place(const Function& given, float* y, int64_t count) {
  const Function function = given;
  if constexpr (requires { Function::kArithmetic; }) {
    for (int64_t i = 0; i < count; ++i) y[i] = function(y[i]);  // two equal pointers would not be vectorised
  } else {
    apply(function, y, y, count);
  }
}

}  // namespace strand::layers
