#pragma once
// Registers, where a thread holds many values: after forget(value) the value is another one to the compiler, which must
// compute again what it had from it. Else it keeps the doubles of all values, or bits and addresses of each, from one
// use to the next, and runs out of registers. For .cu files.

namespace strand::cuda {

__device__ inline void forget(float& value) { asm("" : "+f"(value)); }
__device__ inline void forget(int& value) { asm("" : "+r"(value)); }
template <class T>
__device__ void forget(T*& value) {  // to global memory
  asm("" : "+l"(value));
  __builtin_assume(__isGlobal(value));
}

}  // namespace strand::cuda
