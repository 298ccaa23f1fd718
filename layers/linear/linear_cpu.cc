#include "layers/function_kernel.h"
#include "layers/linear/linear.h"
#include "layers/linear_rows.h"

namespace strand::layers {

std::unique_ptr<Kernel> linear_cpu(const LinearProblem& problem, const Weights& weights) {
  const LinearRows product(weights, "weight", problem.in_features, problem.out_features, 0, problem.bias ? "bias" : "",
                           0);
  return function_kernel([product, out = problem.out_features](const Context& context, const Bindings& bindings) {
    product.run(context, bindings.inputs[0].ptr<const float>(), bindings.outputs[0].elements() / out,
                bindings.outputs[0].ptr<float>());
  });
}

}  // namespace strand::layers
