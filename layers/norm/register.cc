#include <string>
#include <utility>

#include "engine/error.h"
#include "layers/norm/batch_norm.h"
#include "layers/norm/cumulative.h"
#include "layers/norm/normalise.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

constexpr double kFloatEpsilon = 0x1p-23;

double eps_of(const Attributes& attributes) {
  const double eps = attributes.number("eps");
  if (eps > 0) return eps;
  throw Error(ErrorCategory::kSchema, "eps is " + to_string(attributes.value("eps")) + ", expected a number above 0");
}

NormOptions over_last_axes(const Attributes& attributes, const char* type, bool bias) {
  NormOptions options;
  options.type = type;
  options.normalized_shape = attributes.integers("normalized_shape");
  options.dim = attributes.integer("dim");
  bool positive = !options.normalized_shape.empty();
  for (const int64_t size : options.normalized_shape) positive = positive && size > 0;
  if (!positive) {
    throw Error(ErrorCategory::kSchema, "normalized_shape is " + to_string(attributes.value("normalized_shape")) +
                                            ", expected sizes of at least 1");
  }
  if (attributes.boolean("elementwise_affine")) {
    options.weight = "weight";
    options.bias = bias ? "bias" : "";
  }
  return options;
}

std::unique_ptr<Layer> make_layer_norm(const Attributes& attributes) {
  NormOptions options = over_last_axes(attributes, "LayerNorm", attributes.boolean("bias"));
  options.eps = eps_of(attributes);
  return std::make_unique<Normalise>(std::move(options));
}

std::unique_ptr<Layer> make_rms_norm(const Attributes& attributes) {
  NormOptions options = over_last_axes(attributes, "RMSNorm", false);
  options.centred = false;
  options.eps = attributes.is_null("eps") ? kFloatEpsilon : eps_of(attributes);
  return std::make_unique<Normalise>(std::move(options));
}

NormOptions over_groups(const Attributes& attributes, const char* type, int64_t groups, int64_t channels) {
  if (channels % groups != 0) {
    throw Error(ErrorCategory::kSchema,
                "num_groups " + std::to_string(groups) + " does not divide num_channels " + std::to_string(channels));
  }
  NormOptions options;
  options.type = type;
  options.num_groups = groups;
  options.num_channels = channels;
  options.eps = eps_of(attributes);
  if (attributes.boolean("affine")) {
    options.weight = "weight";
    options.bias = "bias";
  }
  return options;
}

std::unique_ptr<Layer> make_group_norm(const Attributes& attributes) {
  return std::make_unique<Normalise>(
      over_groups(attributes, "GroupNorm", attributes.positive("num_groups"), attributes.positive("num_channels")));
}

std::unique_ptr<Layer> make_instance_norm(const Attributes& attributes) {
  if (attributes.boolean("track_running_stats")) {
    throw Error(ErrorCategory::kUnsupported,
                "track_running_stats is true: with running statistics it is a BatchNorm1d");
  }
  const int64_t features = attributes.positive("num_features");
  return std::make_unique<Normalise>(over_groups(attributes, "InstanceNorm1d", features, features));
}

// Conv-TasNet's: gamma and beta a channel, whatever the statistics are over.
std::unique_ptr<Layer> make_global(const Attributes& attributes) {
  NormOptions options;
  options.type = "GlobalLayerNorm";
  options.num_channels = attributes.positive("channel_size");
  options.eps = eps_of(attributes);
  options.weight = "gamma";
  options.bias = "beta";
  return std::make_unique<Normalise>(std::move(options));
}

std::unique_ptr<Layer> make_channel(const Attributes& attributes) {
  NormOptions options;
  options.type = "ChannelLayerNorm";
  options.normalized_shape = {attributes.positive("channel_size")};
  options.dim = 1;
  options.eps = eps_of(attributes);
  options.weight = "gamma";
  options.bias = "beta";
  return std::make_unique<Normalise>(std::move(options));
}

void register_tasnet(LayerRegistry& registry) {
  const std::vector<Field> fields = {{"channel_size", kInteger, "channels: the size of axis 1"},
                                     {"eps", kNumber, "added to the variance", 1e-8}};
  registry.add({"GlobalLayerNorm", "GroupNorm with one group; gamma and beta as in asteroid's GlobLN", fields,
                make_global, "[N, C, ...]", "whole"});
  registry.add({"ChannelLayerNorm", "LayerNorm with dim 1; gamma and beta as in asteroid's ChanLN", fields,
                make_channel, "[N, C, ...]"});
  registry.add(
      {"CumulativeLayerNorm", "normalises by all channels up to each time; asteroid's CumLN", fields,
       [](const Attributes& a) { return std::make_unique<CumulativeLayerNorm>(a.positive("channel_size"), eps_of(a)); },
       "[N, C, L]", "recurrent"});
}

}  // namespace

void register_norm(LayerRegistry& registry) {
  register_batch_norm(registry);
  const Field normalized_shape = {"normalized_shape", kInteger | kIntegers, "sizes of the axes that end with dim"};
  const Field dim = {"dim", kInteger, "the last axis of a row: -1, or 1 for the channels of [N, C, L]", int64_t{-1}};
  const Field elementwise = {"elementwise_affine", kBoolean, "whether there is a weight", true};
  const std::string shapes = "any whose axes up to dim are normalized_shape";
  const std::string time = "pointwise; whole where time is normalised";
  registry.add({"LayerNorm",
                "normalises rows by their own mean and variance",
                {normalized_shape,
                 {"eps", kNumber, "added to the variance", 1e-5},
                 elementwise,
                 {"bias", kBoolean, "whether there is one beside the weight", true},
                 dim},
                make_layer_norm,
                shapes,
                time});
  registry.add(
      {"RMSNorm",
       "rows over the root of their mean square",
       {normalized_shape, {"eps", kNumber | kNull, "added to the mean square; null: 2^-23", Null{}}, elementwise, dim},
       make_rms_norm,
       shapes,
       time});
  registry.add({"GroupNorm",
                "normalises groups of channels by their own mean and variance over all times",
                {{"num_groups", kInteger, "divides num_channels"},
                 {"num_channels", kInteger, "the size of axis 1"},
                 {"eps", kNumber, "added to the variance", 1e-5},
                 {"affine", kBoolean, "whether there are weight and bias", true}},
                make_group_norm,
                "[N, C, ...]",
                "whole"});
  registry.add({"InstanceNorm1d",
                "normalises each channel by its own mean and variance over all times",
                {{"num_features", kInteger, "channels: the size of axis 1"},
                 {"eps", kNumber, "added to the variance", 1e-5},
                 {"momentum", kNumber | kNull, "of training; has no effect here", 0.1},
                 {"affine", kBoolean, "whether there are weight and bias", false},
                 {"track_running_stats", kBoolean, "must be false: the input's own are used", false}},
                make_instance_norm,
                "[N, C, L]",
                "whole"});
  register_tasnet(registry);
}

}  // namespace strand::layers
