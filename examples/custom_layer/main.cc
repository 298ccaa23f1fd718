// A layer of the program's own, added to a copy of the registry and named in a description like any other.
#include <strand/strand.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <memory>
#include <span>
#include <vector>

#include "layers/implementation_list.h"

namespace {

using namespace strand::layers;  // NOLINT(google-build-using-namespace): this file is about them

// y = scale * tanh(x), of any shape.
class ScaledTanh final : public Layer {
 public:
  explicit ScaledTanh(double scale) : scale_(scale) {}

  std::vector<strand::TensorType> infer(std::span<const strand::TensorType> inputs) const override {
    return {inputs[0]};
  }

  // Fastest first. The reference computes in double; float64 runs and comparisons use it.
  std::vector<Implementation> implementations(const PrepareArgs& args) const override {
    std::vector<Implementation> list;
    list.push_back(float32_implementation(args, "cpu.native", [scale = static_cast<float>(scale_)] {
      return function_kernel([scale](const strand::Context& context, const strand::Bindings& bindings) {
        const auto* x = bindings.inputs[0].ptr<const float>();
        auto* y = bindings.outputs[0].ptr<float>();
        context.parallel_for(bindings.inputs[0].elements(), kGrain, [=](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) y[i] = scale * std::tanh(x[i]);
        });
      });
    }));
    list.push_back(reference_implementation(args, [scale = scale_] {
      return [scale]<class T>(const strand::Bindings& bindings) {
        const auto x = bindings.inputs[0].as<const T>();
        const auto y = bindings.outputs[0].as<T>();
        for (size_t i = 0; i < x.size(); ++i) y[i] = static_cast<T>(scale * std::tanh(static_cast<double>(x[i])));
      };
    }));
    return list;
  }

  ErrorBound error_bound(const PrepareArgs& /*args*/) const override { return {8, nullptr}; }

 private:
  double scale_;
};

constexpr const char* kDescription = R"(
strand: 1
name: custom
inputs:
  x: {shape: [1, 1, length], defaults: {length: 3}}
layers:
  - {name: squash, type: ScaledTanh, scale: 2.0}
outputs: [squash]
)";

void run() {
  LayerRegistry registry = default_registry();
  registry.add({"ScaledTanh",
                "scale * tanh(x)",
                {{"scale", kNumber, "largest magnitude of the output"}},
                [](const Attributes& attributes) { return std::make_unique<ScaledTanh>(attributes.number("scale")); }});

  strand::LoadOptions options;
  options.registry = &registry;
  const auto network = strand::Network::from_memory(kDescription, {}, options);
  strand::Session session(network.compile());
  const strand::Tensor x({1, 1, 3}, std::array{0.0F, 1.0F, -1.0F});
  const auto outputs = session.run(std::array{x.view()});

  std::printf("y =");
  for (const float y : outputs[0].as<const float>()) std::printf(" %.5g", static_cast<double>(y));
  std::printf("\n");
}

}  // namespace

int main() {
  try {
    run();
    return 0;
  } catch (const strand::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
