#include "layers/function_kernel.h"
#include "layers/function_row_cpu.h"
#include "layers/implementation_list.h"
#include "layers/pointwise/pointwise.h"

namespace strand::layers {
std::unique_ptr<Kernel> pointwise_cpu(const Activation& activation) {
  return std::visit(
      [](const auto& function) {
        return function_kernel([function](const Context& context, const Bindings& bindings) {
          const auto* x = bindings.inputs[0].ptr<const float>();
          auto* y = bindings.outputs[0].ptr<float>();
          context.parallel_for(bindings.outputs[0].elements(), kGrain,
                               [&](int64_t begin, int64_t end) { apply(function, x + begin, y + begin, end - begin); });
        });
      },
      activation);
}

}  // namespace strand::layers
