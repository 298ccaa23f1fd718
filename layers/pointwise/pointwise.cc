#include "layers/pointwise/pointwise.h"

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
};

Activation make_gelu(const Attributes& attributes) {
  const std::string& approximate = attributes.string("approximate");
  if (approximate == "none") return Gelu{};
  if (approximate == "tanh") return GeluTanh{};
  throw Error(ErrorCategory::kSchema, "approximate is '" + approximate + "', expected none or tanh");
}

Activation make_hardtanh(const Attributes& attributes) {
  const Clamp clamp{attributes.number("min_val"), attributes.number("max_val")};
  if (clamp.min < clamp.max) return clamp;
  throw Error(ErrorCategory::kSchema, "min_val " + to_string(attributes.value("min_val")) + " is not below max_val " +
                                          to_string(attributes.value("max_val")));
}

Activation make_clamp(const Attributes& attributes) {
  Clamp clamp;
  if (attributes.is_null("min") && attributes.is_null("max")) {
    throw Error(ErrorCategory::kSchema, "min and max are null, expected at least one bound");
  }
  if (!attributes.is_null("min")) clamp.min = attributes.number("min");
  if (!attributes.is_null("max")) clamp.max = attributes.number("max");
  return clamp;
}

// A number that formulas divide by.
double above_zero(const Attributes& attributes, const char* name) {
  const double value = attributes.number(name);
  if (value > 0) return value;
  throw Error(ErrorCategory::kSchema,
              std::string(name) + " is " + to_string(attributes.value(name)) + ", expected a number above 0");
}

template <class Function>
Activation plain(const Attributes&) {
  return Function{};
}

std::vector<Entry> table() {
  constexpr double kSeluScale = 1.0507009873554804934;
  constexpr double kSeluAlpha = 1.6732632423543772848;
  return {
      {"ReLU", "max(x, 0)", {}, plain<Relu>},
      {"ReLU6",
       "x between 0 and 6",
       {},
       [](const Attributes&) -> Activation {
         return Clamp{0, 6};
       }},
      {"LeakyReLU",
       "x where it is positive, else negative_slope * x",
       {{"negative_slope", kNumber, "factor of negative values", 0.01}},
       [](const Attributes& a) -> Activation { return LeakyRelu{a.number("negative_slope")}; }},
      {"ELU",
       "x where it is positive, else alpha * (exp(x) - 1)",
       {{"alpha", kNumber, "factor of negative values", 1.0}},
       [](const Attributes& a) -> Activation {
         return Elu{1, a.number("alpha"), 1};
       }},
      {"SELU",
       "1.0507 * ELU(x) with alpha 1.6733",
       {},
       [](const Attributes&) -> Activation {
         return Elu{kSeluScale, kSeluScale * kSeluAlpha, 1};
       }},
      {"CELU",
       "x where it is positive, else alpha * (exp(x / alpha) - 1)",
       {{"alpha", kNumber, "above 0", 1.0}},
       [](const Attributes& a) -> Activation {
         return Elu{1, a.number("alpha"), 1 / above_zero(a, "alpha")};
       }},
      {"Sigmoid", "1 / (1 + exp(-x))", {}, plain<Sigmoid>},
      {"LogSigmoid", "log(sigmoid(x))", {}, plain<LogSigmoid>},
      {"Tanh", "tanh(x)", {}, plain<Tanh>},
      {"GELU",
       "x * Phi(x), Phi the normal distribution's",
       {{"approximate", kString, "none or tanh", std::string("none")}},
       make_gelu},
      {"SiLU", "x * sigmoid(x)", {}, plain<Silu>},
      {"Mish", "x * tanh(softplus(x))", {}, plain<Mish>},
      {"Softplus",
       "log(1 + exp(beta * x)) / beta, and x where beta * x is above threshold",
       {{"beta", kNumber, "above 0", 1.0}, {"threshold", kNumber, "of beta * x", 20.0}},
       [](const Attributes& a) -> Activation {
         return Softplus{above_zero(a, "beta"), a.number("threshold")};
       }},
      {"Softsign", "x / (1 + |x|)", {}, plain<Softsign>},
      {"Hardswish", "x * ReLU6(x + 3) / 6", {}, plain<Hardswish>},
      {"Hardsigmoid", "ReLU6(x + 3) / 6", {}, plain<Hardsigmoid>},
      {"Hardtanh",
       "x between min_val and max_val",
       {{"min_val", kNumber, "below max_val", -1.0}, {"max_val", kNumber, "above min_val", 1.0}},
       make_hardtanh},
      {"Clamp",
       "x between min and max; max where they are the wrong way round",
       {{"min", kNumber | kNull, "null: no bound", Null{}}, {"max", kNumber | kNull, "null: no bound", Null{}}},
       make_clamp},
      {"Abs", "|x|", {}, plain<Abs>},
      {"Square", "x * x", {}, plain<Square>},
      {"Sqrt", "the square root; NaN below 0", {}, plain<Sqrt>},
      {"Exp", "exp(x)", {}, plain<Exp>},
      {"Log", "the natural logarithm; NaN below 0", {}, plain<Log>},
      {"Sin", "sin(x), x in radians", {}, plain<Sin>},
      {"Cos", "cos(x), x in radians", {}, plain<Cos>},
  };
}

// As an epilogue's function; nothing for those that it has not.
template <class Formula>
std::optional<Epilogue> as_function([[maybe_unused]] const Formula& f) {
  using Function = Epilogue::Function;
  const auto of = [](Function function, double a = 0, double b = 0, double c = 0) {
    Epilogue epilogue;
    epilogue.function = function;
    epilogue.parameters[0] = a;
    epilogue.parameters[1] = b;
    epilogue.parameters[2] = c;
    return epilogue;
  };
  if constexpr (std::is_same_v<Formula, Relu>) return of(Function::kRelu);
  if constexpr (std::is_same_v<Formula, LeakyRelu>) return of(Function::kLeakyRelu, f.negative_slope);
  if constexpr (std::is_same_v<Formula, Clamp>) return of(Function::kClamp, f.min, f.max);
  if constexpr (std::is_same_v<Formula, Elu>) return of(Function::kElu, f.positive, f.negative, f.rate);
  if constexpr (std::is_same_v<Formula, Sigmoid>) return of(Function::kSigmoid);
  if constexpr (std::is_same_v<Formula, Silu>) return of(Function::kSilu);
  if constexpr (std::is_same_v<Formula, Tanh>) return of(Function::kTanh);
  if constexpr (std::is_same_v<Formula, Gelu>) return of(Function::kGelu);
  if constexpr (std::is_same_v<Formula, GeluTanh>) return of(Function::kGeluTanh);
  return {};
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
  return std::visit(
      [](const auto& function) {
        return error_bound_of(function.kFactor, [function](const Bindings& bindings) {
          const auto x = bindings.inputs[0].as<const double>();
          const auto scale = bindings.outputs[0].as<double>();
          for (size_t i = 0; i < x.size(); ++i) scale[i] = scale_of(function, x[i], function(x[i]));
        });
      },
      activation_);
}

std::optional<Epilogue> Pointwise::as_epilogue(int, std::span<const TensorType>) const {
  return std::visit([](const auto& f) { return as_function(f); }, activation_);
}

void register_pointwise(LayerRegistry& registry) {
  for (const Entry& entry : table()) {
    registry.add({entry.name, entry.summary, entry.fields,
                  [make = entry.make](const Attributes& a) { return std::make_unique<Pointwise>(make(a)); }});
  }
}

}  // namespace strand::layers
