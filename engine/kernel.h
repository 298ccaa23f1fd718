#pragma once
// One prepared computation for fixed shapes. Immutable, so any number of Sessions may run it at once; what it needs of
// memory is given in Bindings. run() never allocates and never synchronises.

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/context.h"
#include "engine/tensor.h"

namespace strand {

// Tensors begin at addresses that are multiples of 16 bytes.
struct Bindings {
  std::span<const TensorView> inputs;  // not present(): an optional input that is absent
  std::span<const TensorView> outputs;
  std::byte* workspace = nullptr;  // workspace_bytes() of them, aligned to Buffer::kAlignment
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  Kernel() = default;
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  virtual int64_t workspace_bytes() const { return 0; }
  // On CUDA: enqueues on context.stream(). Outputs never overlap inputs.
  virtual void run(const Context& context, const Bindings& bindings) const = 0;
};

}  // namespace strand
