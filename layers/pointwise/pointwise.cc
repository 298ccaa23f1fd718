#include "layers/pointwise/pointwise.h"

#include <cmath>
#include <string>
#include <utility>

#include "engine/error.h"
#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

struct Entry {
  std::string name;
  std::string summary;
  std::vector<Field> fields;
  Activation (*make)(const Attributes& attributes);
  PointwiseError error;
};

Activation make_gelu(const Attributes& attributes) {
  const std::string& approximate = attributes.string("approximate");
  if (approximate == "none") return Gelu{};
  if (approximate == "tanh") return GeluTanh{};
  throw Error(ErrorCategory::kSchema, "approximate is '" + approximate + "', expected none or tanh");
}

// exp(-x) overflows where the result is near the smallest floats.
double sigmoid_scale(double /*x*/, double y) { return std::fabs(y) + kUnderflow; }
// 1 + erf(x) cancels where x is far below 0.
double gelu_scale(double x, double /*y*/) { return std::fabs(x); }

std::vector<Entry> table() {
  return {
      {"ReLU", "max(x, 0)", {}, [](const Attributes&) -> Activation { return Relu{}; }, {0, nullptr}},
      {"LeakyReLU",
       "x where it is positive, else negative_slope * x",
       {{"negative_slope", kNumber, "factor of negative values", 0.01}},
       [](const Attributes& a) -> Activation { return LeakyRelu{a.number("negative_slope")}; },
       {2, nullptr}},
      {"Sigmoid",
       "1 / (1 + exp(-x))",
       {},
       [](const Attributes&) -> Activation { return Sigmoid{}; },
       {8, sigmoid_scale}},
      {"Tanh", "tanh(x)", {}, [](const Attributes&) -> Activation { return Tanh{}; }, {8, nullptr}},
      {"GELU",
       "x * Phi(x), Phi the normal distribution's",
       {{"approximate", kString, "none or tanh", std::string("none")}},
       make_gelu,
       {8, gelu_scale}},
  };
}

}  // namespace

std::vector<Implementation> Pointwise::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  pointwise_cuda(*this, args, list);
  list.push_back(float32_implementation(args, "cpu.native", [this] { return pointwise_cpu(activation_); }));
  list.push_back(reference_implementation(args, [this] {
    return [activation = activation_]<class T>(const Bindings& bindings) {
      const auto x = bindings.inputs[0].as<const T>();
      const auto y = bindings.outputs[0].as<T>();
      for (size_t i = 0; i < x.size(); ++i) {
        const auto value = static_cast<double>(x[i]);
        y[i] = static_cast<T>(std::visit([&](const auto& f) { return f(value); }, activation));
      }
    };
  }));
  return list;
}

ErrorBound Pointwise::error_bound(const PrepareArgs&) const {
  return error_bound_of(error_.factor, [activation = activation_, scale = error_.scale](const Bindings& bindings) {
    const auto x = bindings.inputs[0].as<const double>();
    const auto result = bindings.outputs[0].as<double>();
    for (size_t i = 0; i < x.size(); ++i) {
      const double y = std::visit([&](const auto& f) { return f(x[i]); }, activation);
      result[i] = scale != nullptr ? scale(x[i], y) : std::fabs(y);
    }
  });
}

void register_pointwise(LayerRegistry& registry) {
  for (Entry& entry : table()) {
    registry.add(
        {entry.name, entry.summary, entry.fields, [make = entry.make, error = entry.error](const Attributes& a) {
           return std::make_unique<Pointwise>(make(a), error);
         }});
  }
}

}  // namespace strand::layers
