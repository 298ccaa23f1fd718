#include "layers/function_kernel.h"
#include "layers/implementation_list.h"
#include "layers/pointwise/pointwise.h"

namespace strand::layers {
namespace {

template <class Function>
void apply(const Function& given, const float* x, float* y, int64_t count) {
  const Function function = given;  // a copy that no store to y can change
  if constexpr (requires { Function::kArithmetic; }) {
    for (int64_t i = 0; i < count; ++i) y[i] = function(x[i]);
  } else {
    int64_t i = 0;
    for (; i + Lanes::kCount <= count; i += Lanes::kCount) function(Lanes::load(x + i)).store(y + i);
    if (i < count) function(Lanes::load(x + i, count - i)).store(y + i, count - i);
  }
}

}  // namespace

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
