// Scale on CUDA: y[i] = factor * x[i] + offset over the whole tensor as one flat array; layers/cuda_launch.cuh has the
// mapping.

#include "layers/cuda_launch.cuh"
#include "layers/implementation_list.h"
#include "layers/scale/scale.h"

namespace strand::layers {

void scale_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const ScaleFunction function = static_cast<const Scale&>(layer).function();
  list.push_back(float32_implementation(args, "cuda.native", [function] {
    return function_kernel([function](const Context& context, const Bindings& bindings) {
      cuda::launch_unary(context, "scale", bindings.inputs[0].ptr<const float>(), bindings.outputs[0].ptr<float>(),
                         bindings.outputs[0].elements(), function);
    });
  }));
}

}  // namespace strand::layers
