#pragma once
// A layer's truth: its cpu.reference in double, and the scale that its rounding errors are measured by. Made for one
// node and one set of shapes; owns its kernels and weights. A fused node's is what its layers give, one after the
// other, in the scale that its own layer tells. One thread.

#include <memory>
#include <span>
#include <vector>

#include "engine/kernel.h"
#include "graphs/network.h"

namespace strand::graphs {

// The same type in double, where it is a floating point one.
TensorType in_double(TensorType type);

class ReferenceLayer {
 public:
  // `inputs`: as infer() takes them, in double. Error(kUnsupported) where the layer has no reference for them.
  ReferenceLayer(const Network& network, const Node& node, std::span<const TensorType> inputs);

  // The outputs, on the host, of inputs on the host that have the types given.
  std::vector<Tensor> run(const Context& context, std::span<const TensorView> inputs) const;
  // For each of those `outputs`, the scale s of DESIGN's bound |y - truth| <= factor() * eps * s, element by element;
  // outputs that are no numbers have none (an empty tensor).
  std::vector<Tensor> scales(const Context& context, std::span<const TensorView> inputs,
                             std::span<const Tensor> outputs) const;
  double factor() const { return factor_; }
  ReferenceLayer(ReferenceLayer&&) noexcept;
  ~ReferenceLayer();

 private:
  // One layer of a fused node.
  struct Part;

  std::vector<Tensor> run_kernel(const Kernel& kernel, const Context& context,
                                 std::span<const TensorView> inputs) const;

  std::vector<TensorType> outputs_;
  std::vector<Part> parts_;         // of a fused node
  std::unique_ptr<Kernel> kernel_;  // null: a view, or a fused node
  std::unique_ptr<Kernel> scale_;   // null: |truth|
  double factor_ = 0;
};

}  // namespace strand::graphs
