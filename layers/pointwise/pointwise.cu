// Pointwise on CUDA: y[i] = f(x[i]) over the whole tensor as one flat array.
//
// Mapping: a thread takes four 16-byte vectors, a block's threads side by side (layers/cuda_launch.cuh); a second
// launch of at most three elements finishes a length that is no multiple of 4, and does all of an unaligned tensor.
// Limits: none on size. Bound by bytes: 8 an element.

#include <variant>

#include "layers/cuda_launch.cuh"
#include "layers/implementation_list.h"
#include "layers/pointwise/pointwise.h"

namespace strand::layers {

void pointwise_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const auto& pointwise = static_cast<const Pointwise&>(layer);
  list.push_back(float32_implementation(args, "cuda.native", [&pointwise] {
    return std::visit(
        [](const auto& function) {
          return function_kernel([function](const Context& context, const Bindings& bindings) {
            cuda::launch_unary(context, "pointwise", bindings.inputs[0].ptr<const float>(),
                               bindings.outputs[0].ptr<float>(), bindings.outputs[0].elements(), function);
          });
        },
        pointwise.activation());
  }));
}

}  // namespace strand::layers
