#include "layers/conv_transpose1d/conv_transpose1d.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/channel_affine.h"
#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

constexpr int64_t kMaxStride = int64_t{1} << 20;  // a stride's phases are walked one by one

std::string text(int64_t value) { return std::to_string(value); }

// The formula as it stands, in double; with `magnitudes` the sums of the terms' magnitudes.
struct Reference {
  ConvTransposeProblem whole;
  std::shared_ptr<const Buffer> weight;  // [C_in, C_out / groups, K]
  std::shared_ptr<const Buffer> bias;    // [C_out], or null
  bool magnitudes = false;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const ConvTransposeProblem p = stretch_of(whole, bindings);
    const auto* x = bindings.inputs[0].ptr<const T>();  // [N, C_in, L]
    auto* y = bindings.outputs[0].ptr<T>();             // [N, C_out, L_out]
    for (int64_t row = 0; row < p.batch * p.out_channels; ++row) {
      const int64_t group = row % p.out_channels / p.group_out();
      const T* first = x + (row / p.out_channels * p.in_channels + group * p.group_in()) * p.length;
      for (int64_t t = 0; t < p.out_length; ++t) {
        y[row * p.out_length + t] = static_cast<T>(value(p, first, row % p.out_channels, t));
      }
    }
  }

  template <class T>
  double value(const ConvTransposeProblem& p, const T* x, int64_t o, int64_t t) const {
    const auto* w = reinterpret_cast<const double*>(weight->data());
    const auto at = [&](double term) { return magnitudes ? std::fabs(term) : term; };
    double sum = bias == nullptr ? 0 : at(reinterpret_cast<const double*>(bias->data())[o]);
    for (int64_t c = 0; c < p.group_in(); ++c) {
      const int64_t row = (o / p.group_out() * p.group_in() + c) * p.group_out() + o % p.group_out();
      for (int64_t k = 0; k < p.kernel_size; ++k) {
        const int64_t scaled = t + p.offset - k * p.dilation;
        if (scaled < 0 || scaled % p.stride != 0 || scaled / p.stride >= p.length) continue;
        sum += at(w[row * p.kernel_size + k] * static_cast<double>(x[c * p.length + scaled / p.stride]));
      }
    }
    return sum;
  }
};

Reference reference(const ConvTransposeProblem& problem, const PrepareArgs& args, bool magnitudes) {
  return {problem, args.weights.doubles("weight"), problem.has_bias ? args.weights.doubles("bias") : nullptr,
          magnitudes};
}

// The longest sum.
int64_t reduction(const ConvTransposeProblem& problem) {
  const TransposePhases phases(problem);
  return checked_mul(problem.group_in(), ceil_div(problem.kernel_size, phases.tap_step));
}

}  // namespace

int64_t ConvTransposeProblem::first_position() const { return floor_div(offset, stride); }
int64_t ConvTransposeProblem::positions() const {
  return floor_div(offset + out_length - 1, stride) - first_position() + 1;
}

TransposePhases::TransposePhases(const ConvTransposeProblem& problem)
    : divisor(std::gcd(problem.dilation, problem.stride)),
      tap_step(problem.stride / divisor),
      shift_step(problem.dilation / divisor) {
  while (inverse < tap_step && inverse * (shift_step % tap_step) % tap_step != 1 % tap_step) ++inverse;
}

ConvTransposeProblem stretch_of(ConvTransposeProblem problem, const Bindings& bindings) {
  problem.length = bindings.inputs[0].shape()[2];
  problem.out_length = bindings.outputs[0].shape()[2];
  problem.offset += bindings.window.output - bindings.window.input * problem.stride;
  return problem;
}

bool all_finite(std::span<const float> weight) {
  return std::ranges::all_of(weight, [](float w) { return std::isfinite(w); });
}

ConvTranspose1d::ConvTranspose1d(const Attributes& attributes) {
  fixed_.in_channels = attributes.positive("in_channels");
  fixed_.out_channels = attributes.positive("out_channels");
  fixed_.kernel_size = attributes.positive("kernel_size");
  fixed_.stride = attributes.positive("stride");
  fixed_.dilation = attributes.positive("dilation");
  fixed_.groups = attributes.positive("groups");
  fixed_.has_bias = attributes.boolean("bias");
  output_padding_ = attributes.non_negative("output_padding");
  const std::vector<int64_t> padding = attributes.integers("padding");
  if (padding.empty() || padding.size() > 2 || std::ranges::min(padding) < 0) {
    throw Error(ErrorCategory::kSchema, "padding is " + to_string(attributes.value("padding")) +
                                            ", expected [left, right] or one integer for both, none below 0");
  }
  pad_left_ = fixed_.offset = padding.front();
  pad_right_ = padding.back();
  for (const auto& [name, channels] :
       {std::pair{"in_channels", fixed_.in_channels}, {"out_channels", fixed_.out_channels}}) {
    if (channels % fixed_.groups == 0) continue;
    throw Error(ErrorCategory::kSchema,
                "groups " + text(fixed_.groups) + " does not divide " + name + " " + text(channels));
  }
  if (output_padding_ >= std::max(fixed_.stride, fixed_.dilation)) {
    throw Error(ErrorCategory::kSchema, "output_padding " + text(output_padding_) + " needs a larger stride than " +
                                            text(fixed_.stride) + " or dilation than " + text(fixed_.dilation));
  }
  if (fixed_.stride > kMaxStride) {
    throw Error(ErrorCategory::kLimit, "stride " + text(fixed_.stride) + ", at most " + text(kMaxStride));
  }
  checked_mul(fixed_.in_channels, checked_mul(fixed_.group_out(), fixed_.kernel_size));
  checked_mul(fixed_.dilation, fixed_.kernel_size);
}

ConvTransposeProblem ConvTranspose1d::problem(const TensorType& input) const {
  if (input.shape.rank() != 3) {
    throw Error(ErrorCategory::kShape,
                "input " + to_string(input) + ", expected three axes: [batch, channels, length]");
  }
  if (input.shape[1] != fixed_.in_channels) {
    throw Error(ErrorCategory::kShape, "input " + to_string(input) + " has " + text(input.shape[1]) +
                                           " channels, expected in_channels " + text(fixed_.in_channels));
  }
  ConvTransposeProblem result = fixed_;
  result.batch = input.shape[0];
  result.length = input.shape[2];
  const int64_t full = checked_add(checked_mul(result.length - 1, result.stride), result.reach() + 1);
  result.out_length = checked_sub(checked_sub(checked_add(full, output_padding_), pad_left_), pad_right_);
  if (result.out_length < 1 || result.length == 0) {
    throw Error(ErrorCategory::kShape,
                "length " + text(result.length) + " with stride " + text(result.stride) + ", padding_left " +
                    text(pad_left_) + ", padding_right " + text(pad_right_) + ", dilation " + text(result.dilation) +
                    ", kernel_size " + text(result.kernel_size) + " and output_padding " + text(output_padding_) +
                    " gives an output length of " + text(result.out_length) + ", expected at least 1 of either");
  }
  return result;
}

std::vector<TensorType> ConvTranspose1d::infer(std::span<const TensorType> inputs) const {
  const TensorType& input = inputs[0];
  if (!is_floating_point(input.dtype)) {
    throw Error(ErrorCategory::kShape, "input " + to_string(input) + ", expected float32 or float64");
  }
  const ConvTransposeProblem conv = problem(input);
  TensorType output{input.dtype, {conv.batch, conv.out_channels, conv.out_length}, TensorType::kNoTime};
  if (input.time_axis == 2) output.time_axis = 2;
  output.bytes();
  return {output};
}

std::vector<Parameter> ConvTranspose1d::parameters() const {
  const int64_t fan_in = fixed_.group_out() * fixed_.kernel_size;  // PyTorch's, of its second axis
  std::vector<Parameter> list;
  list.push_back({"weight", {fixed_.in_channels, fixed_.group_out(), fixed_.kernel_size}, Init::kUniform, fan_in});
  if (fixed_.has_bias) list.push_back({"bias", {fixed_.out_channels}, Init::kUniform, fan_in});
  return list;
}

TimeMap ConvTranspose1d::time_map(int /*input*/, int /*output*/, std::span<const TensorType> inputs) const {
  if (inputs[0].time_axis != 2) return TimeMap::all("the convolved axis of the input is not time");
  TimeMap map;
  map.denominator = fixed_.stride;
  // The last tap's division rounded up; never past the first tap's, for a phase without taps.
  map.first = pad_left_ - std::max<int64_t>(fixed_.reach() - (fixed_.stride - 1), 0);
  map.last = pad_left_;
  map.length = fixed_.reach() + 1 + output_padding_ - fixed_.stride - pad_left_ - pad_right_;
  map.ends = Ends::kZeros;
  return map;
}

std::shared_ptr<const Layer> ConvTranspose1d::in_window(const Window& window, int64_t inputs, int64_t outputs) const {
  auto layer = std::make_shared<ConvTranspose1d>(*this);
  layer->pad_left_ += window.output - window.input * fixed_.stride;
  layer->fixed_.offset = layer->pad_left_;
  layer->output_padding_ = 0;
  layer->pad_right_ = (inputs - 1) * fixed_.stride + fixed_.reach() + 1 - layer->pad_left_ - outputs;
  return layer;
}

std::optional<Folded> ConvTranspose1d::fold(std::span<const ChannelAffine> next, std::span<const TensorType> /*inputs*/,
                                            const Weights& weights) const {
  // Rows are [C_in, C_out / groups]: those of an input channel are its group's outputs.
  const int64_t outputs = fixed_.group_out();
  auto folded = folded_weights(weights, next, fixed_.kernel_size, [&](int64_t row) {
    return row / outputs / fixed_.group_in() * outputs + row % outputs;
  });
  if (!folded) return {};
  auto result = std::make_shared<ConvTranspose1d>(*this);
  result->fixed_.has_bias = true;
  return Folded{std::move(result), std::move(*folded)};
}

int64_t ConvTranspose1d::multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType>) const {
  return checked_mul(inputs[0].shape.elements(), fixed_.group_out() * fixed_.kernel_size);
}

std::vector<Implementation> ConvTranspose1d::implementations(const PrepareArgs& args) const {
  const ConvTransposeProblem conv = problem(args.inputs[0]);
  std::vector<Implementation> list;
  conv_transpose1d_cuda(*this, args, list);
  list.push_back(
      float32_implementation(args, "cpu.native", [conv, &args] { return conv_transpose1d_cpu(conv, args); }));
  list.push_back(reference_implementation(args, [conv, &args] { return reference(conv, args, false); }));
  return list;
}

ErrorBound ConvTranspose1d::error_bound(const PrepareArgs& args) const {
  const ConvTransposeProblem conv = problem(args.inputs[0]);
  return error_bound_of(sum_factor(reduction(conv)),
                        [sums = reference(conv, args, true)](const Bindings& b) { sums.operator()<double>(b); });
}

void register_conv_transpose1d(LayerRegistry& registry);
void register_conv_transpose1d(LayerRegistry& registry) {
  registry.add(
      {"ConvTranspose1d",
       "1-D transposed convolution over the last axis, as PyTorch's",
       {{"in_channels", kInteger, "channels of the input [N, in_channels, L]"},
        {"out_channels", kInteger, "channels of the output [N, out_channels, L_out]"},
        {"kernel_size", kInteger, "taps"},
        {"stride", kInteger, "output samples from one input to the next", int64_t{1}},
        {"padding", kInteger | kIntegers, "samples cut from both ends of the full output, or [left, right]",
         int64_t{0}},
        {"output_padding", kInteger, "samples added at the end; below the stride or the dilation", int64_t{0}},
        {"groups", kInteger, "channel groups that see only each other; divides both channel counts", int64_t{1}},
        {"bias", kBoolean, "add a learned value to each output channel", true},
        {"dilation", kInteger, "samples from one tap to the next", int64_t{1}}},
       [](const Attributes& attributes) { return std::make_unique<ConvTranspose1d>(attributes); },
       "[N, in_channels, L] -> [N, out_channels, (L - 1) stride + dilation (kernel_size - 1) + 1 + output_padding - "
       "left - "
       "right]",
       "(t + left) / stride, and as far before as taps reach",
       // Conv1d's, where its phases are alike.
       {"cuda.wgmma", "cuda.tensor", "cuda.direct", "cuda.depthwise", "cuda.few_channels", "cuda.im2col", "cuda.native",
        "cpu.native", "cpu.reference"}});
}

}  // namespace strand::layers
