#pragma once
// A Kernel from a callable (const Context&, const Bindings&), for layers whose kernel needs no class of its own.

#include <memory>
#include <utility>

#include "engine/kernel.h"

namespace strand::layers {

template <class Function>
std::unique_ptr<Kernel> function_kernel(Function function, int64_t workspace_bytes = 0) {
  class FunctionKernel final : public Kernel {
   public:
    FunctionKernel(Function body, int64_t bytes) : body_(std::move(body)), workspace_bytes_(bytes) {}
    int64_t workspace_bytes() const override { return workspace_bytes_; }
    void run(const Context& context, const Bindings& bindings) const override { body_(context, bindings); }

   private:
    Function body_;
    int64_t workspace_bytes_;
  };
  return std::make_unique<FunctionKernel>(std::move(function), workspace_bytes);
}

}  // namespace strand::layers
