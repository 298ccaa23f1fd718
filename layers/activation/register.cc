#include <array>
#include <string>
#include <utility>

#include "engine/error.h"
#include "layers/activation/activation.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

struct Named {
  const char* name;
  HalfFunction function;
};
constexpr std::array kFunctions = {
    Named{"identity", HalfFunction::kIdentity}, Named{"relu", HalfFunction::kReLU},
    Named{"tanh", HalfFunction::kTanh},         Named{"sigmoid", HalfFunction::kSigmoid},
    Named{"softsign", HalfFunction::kSoftsign}, Named{"silu", HalfFunction::kSiLU},
    Named{"gelu", HalfFunction::kGELU},         Named{"hardtanh", HalfFunction::kHardtanh}};

HalfFunction function_of(const Attributes& attributes, const char* field) {
  const std::string& given = attributes.string(field);
  std::string known;
  for (const Named& named : kFunctions) {
    if (given == named.name) return named.function;
    known += (known.empty() ? "" : ", ") + std::string(named.name);
  }
  throw Error(ErrorCategory::kSchema, std::string(field) + " is '" + given + "', expected one of " + known);
}

std::unique_ptr<Layer> make_prelu(const Attributes& attributes) {
  ChannelOptions options;
  options.channels = attributes.positive("num_parameters");
  return std::make_unique<ChannelActivation>(options);
}

std::unique_ptr<Layer> make_snake(const Attributes& attributes, bool own_beta, bool padded) {
  ChannelOptions options;
  options.kind = ChannelOptions::Kind::kSnake;
  options.channels = attributes.positive("channels");
  options.own_beta = own_beta;
  options.log_scale = !padded && attributes.boolean("alpha_logscale");
  options.padded_shape = padded;
  return std::make_unique<ChannelActivation>(options);
}

void register_halves(LayerRegistry& registry) {
  const std::string shapes = "[*, 2C, *] -> [*, C, *], 2C along dim";
  const std::string time = "pointwise; whole if dim is time";
  registry.add({"GLU",
                "the first half of an axis times the sigmoid of the second",
                {{"dim", kInteger, "the axis; a negative one counts from the end", int64_t{-1}}},
                [](const Attributes& a) {
                  return std::make_unique<Halves>(HalvesOptions{"GLU", a.integer("dim")});
                },
                shapes,
                time});
  registry.add(
      {"GatedActivation",
       "activation(first half) * gate(second half) of an axis, as WaveNet has it",
       {{"dim", kInteger, "the axis; a negative one counts from the end", int64_t{1}},
        {"activation", kString, "identity, relu, tanh, sigmoid, softsign, silu, gelu or hardtanh", std::string("tanh")},
        {"gate", kString, "the same", std::string("sigmoid")}},
       [](const Attributes& a) {
         return std::make_unique<Halves>(
             HalvesOptions{"GatedActivation", a.integer("dim"), function_of(a, "activation"), function_of(a, "gate")});
       },
       shapes,
       time});
  registry.add({"Magnitude",
                "sqrt(re^2 + im^2), re and im being the halves of an axis",
                {{"dim", kInteger, "the axis; a negative one counts from the end", int64_t{1}}},
                [](const Attributes& a) {
                  HalvesOptions options{"Magnitude", a.integer("dim")};
                  options.magnitude = true;
                  return std::make_unique<Halves>(std::move(options));
                },
                shapes,
                time});
}

}  // namespace

void register_activation(LayerRegistry& registry) {
  registry.add({"PReLU",
                "x where it is positive, else a learned factor times x",
                {{"num_parameters", kInteger, "1, or the size of axis 1", int64_t{1}},
                 {"init", kNumber, "of training; has no effect here", 0.25}},
                make_prelu,
                "[N, C, ...]; any for one parameter"});
  const Field channels = {"channels", kInteger, "the size of axis 1"};
  const Field log_scale = {"alpha_logscale", kBoolean, "the weights hold logarithms (BigVGAN's snake_logscale)", false};
  registry.add({"Snake",
                "x + sin^2(alpha x) / (alpha + 1e-9), alpha [C]",
                {channels, log_scale},
                [](const Attributes& a) { return make_snake(a, false, false); },
                "[N, C, ...]"});
  registry.add({"Snake1d",
                "Snake whose alpha is [1, C, 1], as in DAC",
                {channels},
                [](const Attributes& a) { return make_snake(a, false, true); },
                "[N, C, ...]"});
  registry.add({"SnakeBeta",
                "x + sin^2(alpha x) / (beta + 1e-9), alpha and beta [C]",
                {channels, log_scale},
                [](const Attributes& a) { return make_snake(a, true, false); },
                "[N, C, ...]"});
  register_halves(registry);
  registry.add({"FiLM",
                "input * scale + shift, the halves of condition's channels",
                {},
                [](const Attributes&) { return std::make_unique<Film>(); },
                "[N, C, L] and [N, 2C, L], [N, 2C, 1] or [N, 2C]; a batch of 1 serves all",
                "pointwise; whole for a condition that is the same at all times"});
}

}  // namespace strand::layers
