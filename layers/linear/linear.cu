// Linear on CUDA: see layers/linear_rows.cuh.

#include "layers/implementation_list.h"
#include "layers/linear/linear.h"
#include "layers/linear_rows.cuh"

namespace strand::layers {

void linear_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const LinearProblem problem = static_cast<const Linear&>(layer).problem(args.inputs);
  list.push_back(float32_implementation(args, "cuda.cublas", [problem, &args] {
    const auto weight = args.weights.floats("weight");
    const auto bias = problem.bias ? args.weights.floats("bias") : nullptr;
    return function_kernel([problem, weight, bias](const Context& context, const Bindings& bindings) {
      cuda::linear_rows(context, reinterpret_cast<const float*>(weight->data()),
                        bias != nullptr ? reinterpret_cast<const float*>(bias->data()) : nullptr,
                        bindings.inputs[0].ptr<const float>(), problem.rows, problem.in_features, problem.out_features,
                        bindings.outputs[0].ptr<float>());
    });
  }));
}

}  // namespace strand::layers
