#include "layers/scale/scale.h"

#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {

std::vector<Implementation> Scale::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  scale_cuda(*this, args, list);
  list.push_back(float32_implementation(args, "cpu.native", [function = function()] {
    return function_kernel([function](const Context& context, const Bindings& bindings) {
      const auto* x = bindings.inputs[0].ptr<const float>();
      auto* y = bindings.outputs[0].ptr<float>();
      context.parallel_for(bindings.outputs[0].elements(), kGrain, [=](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) y[i] = function(x[i]);
      });
    });
  }));
  list.push_back(reference_implementation(args, [factor = factor_, offset = offset_] {
    return [factor, offset]<class T>(const Bindings& bindings) {
      const auto x = bindings.inputs[0].as<const T>();
      const auto y = bindings.outputs[0].as<T>();
      for (size_t i = 0; i < x.size(); ++i) y[i] = static_cast<T>(factor * static_cast<double>(x[i]) + offset);
    };
  }));
  return list;
}

// Both numbers are rounded to float32, then the result.
ErrorBound Scale::error_bound(const PrepareArgs&) const {
  return error_bound_of(3, [factor = factor_, offset = offset_](const Bindings& bindings) {
    const auto x = bindings.inputs[0].as<const double>();
    const auto scale = bindings.outputs[0].as<double>();
    for (size_t i = 0; i < x.size(); ++i) scale[i] = std::fabs(factor * x[i]) + std::fabs(offset) + kUnderflow;
  });
}

void register_scale(LayerRegistry& registry);
void register_scale(LayerRegistry& registry) {
  registry.add({"Scale",
                "factor * x + offset, two numbers",
                {{"factor", kNumber, "what x is multiplied by", 1.0}, {"offset", kNumber, "what is added then", 0.0}},
                [](const Attributes& a) { return std::make_unique<Scale>(a.number("factor"), a.number("offset")); }});
}

}  // namespace strand::layers
