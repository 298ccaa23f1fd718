#include "layers/norm/batch_norm.h"

#include <cmath>
#include <string>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

// The definition, from the parameters themselves.
struct Reference {
  double eps;
  std::shared_ptr<const Buffer> mean, variance, weight, bias;  // weight and bias null where not affine

  template <class T>
  void operator()(const Bindings& bindings) const {
    const auto at = [](const std::shared_ptr<const Buffer>& values, int64_t channel) {
      return reinterpret_cast<const double*>(values->data())[channel];
    };
    const ChannelRows rows = channel_rows(bindings.inputs[0].shape());
    const auto* x = bindings.inputs[0].ptr<const T>();
    auto* y = bindings.outputs[0].ptr<T>();
    for (int64_t i = 0; i < rows.rows * rows.length; ++i) {
      const int64_t channel = i / rows.length % rows.channels;
      const double normal = (static_cast<double>(x[i]) - at(mean, channel)) / std::sqrt(at(variance, channel) + eps);
      y[i] = static_cast<T>(weight != nullptr ? normal * at(weight, channel) + at(bias, channel) : normal);
    }
  }
};

std::unique_ptr<Layer> make_batch_norm(const Attributes& attributes) {
  const double eps = attributes.number("eps");
  if (!(eps > 0)) {
    throw Error(ErrorCategory::kSchema, "eps is " + to_string(attributes.value("eps")) + ", expected a number above 0");
  }
  if (!attributes.boolean("track_running_stats")) {
    throw Error(ErrorCategory::kUnsupported,
                "track_running_stats is false: inference normalises by the running statistics alone");
  }
  return std::make_unique<BatchNorm1d>(attributes.positive("num_features"), eps, attributes.boolean("affine"));
}

}  // namespace

ChannelRows channel_rows(const Shape& shape) {
  return {checked_mul(shape[0], shape[1]), shape[1], shape.elements(2, shape.rank())};
}

std::vector<TensorType> BatchNorm1d::infer(std::span<const TensorType> inputs) const {
  const Shape& shape = inputs[0].shape;
  if ((shape.rank() != 2 && shape.rank() != 3) || shape[1] != num_features_) {
    const std::string channels = std::to_string(num_features_);
    throw Error(ErrorCategory::kShape,
                "input is " + to_string(shape) + ", expected [N, " + channels + "] or [N, " + channels + ", L]");
  }
  return {inputs[0]};
}

std::vector<Parameter> BatchNorm1d::parameters() const {
  std::vector<Parameter> list;
  if (affine_) list = {{"weight", {num_features_}, Init::kOnes}, {"bias", {num_features_}, Init::kZeros}};
  list.push_back({"running_mean", {num_features_}, Init::kZeros});
  list.push_back({"running_var", {num_features_}, Init::kOnes});
  return list;
}

int64_t BatchNorm1d::multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType>) const {
  return inputs[0].shape.elements();
}

std::vector<ChannelAffine> BatchNorm1d::as_channel_affine(const Weights& weights) const {
  const std::span<const float> mean = weights.host("running_mean");
  const std::span<const float> variance = weights.host("running_var");
  std::vector<ChannelAffine> result;
  for (size_t c = 0; c < mean.size(); ++c) {
    if (variance[c] < 0) {
      throw Error(ErrorCategory::kNumeric,
                  "running_var[" + std::to_string(c) + "] is " + std::to_string(variance[c]) + ", below 0");
    }
    const double weight = affine_ ? static_cast<double>(weights.host("weight")[c]) : 1.0;
    const double bias = affine_ ? static_cast<double>(weights.host("bias")[c]) : 0.0;
    const double scale = weight / std::sqrt(static_cast<double>(variance[c]) + eps_);
    result.push_back({static_cast<double>(mean[c]), scale, bias});
  }
  return result;
}

std::shared_ptr<const Buffer> BatchNorm1d::packed(const Weights& weights) const {
  const int64_t bytes = checked_mul(num_features_, int64_t{2 * sizeof(float)});
  const std::vector<ChannelAffine> channels = as_channel_affine(weights);
  return weights.pack("scale_shift.eps" + to_string(AttributeValue(eps_)), bytes, [&](std::byte* target) {
    auto* scale = reinterpret_cast<float*>(target);
    float* shift = scale + num_features_;
    for (const ChannelAffine& channel : channels) {
      *scale++ = static_cast<float>(channel.scale);
      *shift++ = static_cast<float>(channel.shift - channel.centre * channel.scale);
    }
  });
}

std::vector<Implementation> BatchNorm1d::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  norm_cuda(*this, args, list);
  list.push_back(
      float32_implementation(args, "cpu.native", [this, &args] { return batch_norm_cpu(packed(args.weights)); }));
  list.push_back(reference_implementation(args, [this, &args] {
    const Weights& weights = args.weights;
    as_channel_affine(weights);  // for its check
    return Reference{eps_, weights.doubles("running_mean"), weights.doubles("running_var"),
                     affine_ ? weights.doubles("weight") : nullptr, affine_ ? weights.doubles("bias") : nullptr};
  }));
  return list;
}

ErrorBound BatchNorm1d::error_bound(const PrepareArgs& args) const {
  // Scale and shift are rounded once each, and the multiply-add once: |x * a| + |mean * a| + |bias|.
  std::vector<ChannelAffine> channels = as_channel_affine(args.weights);
  const ChannelRows rows = channel_rows(args.inputs[0].shape);
  return error_bound_of(4, [rows, channels = std::move(channels)](const Bindings& bindings) {
    const auto x = bindings.inputs[0].as<const double>();
    const auto scale = bindings.outputs[0].as<double>();
    for (size_t i = 0; i < x.size(); ++i) {
      const ChannelAffine& at = channels[static_cast<size_t>(static_cast<int64_t>(i) / rows.length % rows.channels)];
      scale[i] = std::fabs(x[i] * at.scale) + std::fabs(at.centre * at.scale) + std::fabs(at.shift);
    }
  });
}

void register_batch_norm(LayerRegistry& registry) {
  registry.add({"BatchNorm1d",
                "normalises each channel by its running statistics",
                {{"num_features", kInteger, "channels: the size of axis 1"},
                 {"eps", kNumber, "added to the variance", 1e-5},
                 {"momentum", kNumber | kNull, "of training; has no effect here", 0.1},
                 {"affine", kBoolean, "whether there are weight and bias", true},
                 {"track_running_stats", kBoolean, "true: the running statistics are what inference uses", true}},
                make_batch_norm,
                "[N, C] or [N, C, L]"});
}

}  // namespace strand::layers
