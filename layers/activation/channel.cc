#include <cmath>
#include <string>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/activation/activation.h"
#include "layers/functions.h"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

// The definition in double, or with `magnitudes` the scale of a float's error: that of sin's argument counts in full.
struct Reference {
  ChannelOptions options;
  std::vector<ChannelActivation::Coefficients> coefficients;
  bool magnitudes = false;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const ChannelSplit split = channel_split(bindings.inputs[0].shape(), options);
    const auto* x = bindings.inputs[0].ptr<const T>();
    auto* y = bindings.outputs[0].ptr<T>();
    for (int64_t i = 0; i < split.rows * split.inner; ++i) {
      const auto& [factor, share] = coefficients[static_cast<size_t>(i / split.inner % split.channels)];
      y[i] = static_cast<T>(value(static_cast<double>(x[i]), factor, share));
    }
  }

  double value(double x, double factor, double share) const {
    if (options.kind == ChannelOptions::Kind::kPrelu) {
      const double y = x > 0 ? x : x * factor;
      return magnitudes ? std::fabs(y) : y;
    }
    if (magnitudes) return std::fabs(x) + std::fabs(share * factor * x);
    const double sine = std::sin(factor * x);
    return x + share * sine * sine;
  }
};

Reference make_reference(const ChannelActivation& layer, const Weights& weights, bool magnitudes) {
  Reference reference{layer.options(), {}, magnitudes};
  for (int64_t c = 0; c < layer.options().channels; ++c) {
    reference.coefficients.push_back(layer.coefficients(weights, c));
  }
  return reference;
}

bool is_prelu(const ChannelOptions& options) { return options.kind == ChannelOptions::Kind::kPrelu; }

}  // namespace

ChannelSplit channel_split(const Shape& shape, const ChannelOptions& options) {
  if (is_prelu(options) && options.channels == 1) return {1, 1, shape.elements()};
  return {checked_mul(shape[0], shape[1]), shape[1], shape.elements(2, shape.rank())};
}

std::vector<TensorType> ChannelActivation::infer(std::span<const TensorType> inputs) const {
  const Shape& shape = inputs[0].shape;
  const bool any = is_prelu(options_) && options_.channels == 1;
  if (!any && (shape.rank() < 2 || shape[1] != options_.channels)) {
    throw Error(ErrorCategory::kShape,
                "input is " + to_string(shape) + ", expected [N, " + std::to_string(options_.channels) + ", ...]");
  }
  return {inputs[0]};
}

std::vector<Parameter> ChannelActivation::parameters() const {
  const Shape shape = options_.padded_shape ? Shape{1, options_.channels, 1} : Shape{options_.channels};
  if (is_prelu(options_)) return {{"weight", shape, Init::kUniform}};
  const Init init = options_.log_scale ? Init::kZeros : Init::kOnes;
  std::vector<Parameter> list = {{"alpha", shape, init}};
  if (options_.own_beta) list.push_back({"beta", shape, init});
  return list;
}

ChannelActivation::Coefficients ChannelActivation::coefficients(const Weights& weights, int64_t channel) const {
  const auto value = [&](const char* name) {
    const auto weight = static_cast<double>(weights.host(name)[static_cast<size_t>(channel)]);
    return options_.log_scale ? std::exp(weight) : weight;
  };
  if (is_prelu(options_)) return {value("weight"), 0};
  return {value("alpha"), 1 / (value(options_.own_beta ? "beta" : "alpha") + 1e-9)};
}

std::shared_ptr<const Buffer> ChannelActivation::packed(const Weights& weights) const {
  const int64_t channels = options_.channels;
  return weights.pack(options_.log_scale ? "channels.exp" : "channels",
                      checked_mul(channels, int64_t{2 * sizeof(float)}), [&](std::byte* target) {
                        auto* values = reinterpret_cast<float*>(target);
                        for (int64_t c = 0; c < channels; ++c) {
                          const Coefficients own = coefficients(weights, c);
                          values[c] = static_cast<float>(own.factor);
                          values[channels + c] = static_cast<float>(own.share);
                        }
                      });
}

std::vector<Implementation> ChannelActivation::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  activation_cuda(*this, args, list);
  list.push_back(
      float32_implementation(args, "cpu.native", [this, &args] { return channel_cpu(*this, args.weights); }));
  list.push_back(reference_implementation(args, [this, &args] { return make_reference(*this, args.weights, false); }));
  return list;
}

ErrorBound ChannelActivation::error_bound(const PrepareArgs& args) const {
  return error_bound_of(8, [reference = make_reference(*this, args.weights, true)](const Bindings& bindings) {
    reference.operator()<double>(bindings);
  });
}

std::optional<Epilogue> ChannelActivation::as_epilogue(int, std::span<const TensorType> inputs) const {
  if (inputs[0].shape.rank() < 2) return {};
  Epilogue epilogue;
  epilogue.function = is_prelu(options_) ? Epilogue::Function::kPrelu : Epilogue::Function::kSnake;
  return epilogue;
}

std::vector<float> ChannelActivation::epilogue_coefficients(const Weights& weights, int64_t channels) const {
  std::vector<float> factors;
  std::vector<float> shares;
  for (int64_t c = 0; c < channels; ++c) {
    const Coefficients own = coefficients(weights, options_.channels == 1 ? 0 : c);
    factors.push_back(static_cast<float>(own.factor));
    shares.push_back(static_cast<float>(own.share));
  }
  factors.insert(factors.end(), shares.begin(), shares.end());
  return factors;
}

}  // namespace strand::layers
