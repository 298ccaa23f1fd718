#pragma once
// One prepared computation for fixed shapes, of which the CPU's also computes a signal stretch by stretch. Immutable,
// so any number of Sessions may run it at once; what it needs of memory is given in Bindings. run() never allocates and
// never synchronises.

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/context.h"
#include "engine/tensor.h"

namespace strand {

// The stretch of time that is being computed: the signal's times of the first sample in the first input that has time
// and in the outputs. Any other input begins at the time that its TimeMap names for that output.
// A stretch holds all of the signal that its outputs need; where they need more, the signal itself ends, and the kernel
// pads as it does offline.
struct Window {
  int64_t input = 0;
  int64_t output = 0;
};

// Tensors begin at addresses that are multiples of 16 bytes.
struct Bindings {
  std::span<const TensorView> inputs;  // not present(): an optional input that is absent
  std::span<const TensorView> outputs;
  std::byte* workspace = nullptr;  // workspace_bytes() of them, aligned to Buffer::kAlignment
  std::byte* state = nullptr;      // state_bytes() of them, zeros where a signal begins; null: the whole signal at once
  Window window = {};
  // Times from the start of each row of times to the next one's, by input and then by output, for kernels that take
  // them apart; empty: rows follow each other.
  std::span<const int64_t> rows = {};
  const int64_t* clock = nullptr;  // of live streams: what live_clock.h shows
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  Kernel() = default;
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  virtual int64_t workspace_bytes() const { return 0; }
  // What is carried from one stretch of a signal to the next, by layers whose TimeMap is stateful; relocatable bytes.
  virtual int64_t state_bytes() const { return 0; }
  // Whether run() heeds Bindings::rows; then tensors may begin at any element.
  virtual bool takes_rows_apart() const { return false; }
  // On CUDA: enqueues on context.stream(). On the CPU: the length of time is that of the bound views, at most what the
  // kernel was prepared for; all other sizes are those it was prepared for. Outputs never overlap inputs.
  virtual void run(const Context& context, const Bindings& bindings) const = 0;
};

}  // namespace strand
