#include "layers/conv1d/conv1d.h"

#include <algorithm>
#include <utility>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/channel_affine.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

std::string text(int64_t value) { return std::to_string(value); }

// The kernel's reach: the distance from its first tap to its last.
int64_t reach(const Conv1dProblem& problem) { return checked_mul(problem.dilation, problem.kernel_size - 1); }

PaddingMode parse_mode(const std::string& name) {
  if (name == "zeros") return PaddingMode::kZeros;
  if (name == "reflect") return PaddingMode::kReflect;
  if (name == "replicate") return PaddingMode::kReplicate;
  if (name == "circular") return PaddingMode::kCircular;
  throw Error(ErrorCategory::kSchema, "padding_mode is '" + name + "', expected zeros, reflect, replicate or circular");
}

Ends ends_of(const Conv1dProblem& problem) {
  if (problem.unpadded()) return Ends::kNone;
  switch (problem.padding_mode) {
    case PaddingMode::kZeros:
      return Ends::kZeros;
    case PaddingMode::kReflect:
      return Ends::kReflect;
    case PaddingMode::kReplicate:
      return Ends::kReplicate;
    case PaddingMode::kCircular:
      return Ends::kCircular;
  }
  return Ends::kNone;
}

void check_groups(const Conv1dProblem& problem) {
  for (const auto& [name, channels] :
       {std::pair{"in_channels", problem.in_channels}, {"out_channels", problem.out_channels}}) {
    if (channels % problem.groups == 0) continue;
    throw Error(ErrorCategory::kSchema,
                "groups " + text(problem.groups) + " does not divide " + name + " " + text(channels));
  }
}

// PyTorch's limits on what each mode can mirror or wrap.
void check_mode(const Conv1dProblem& problem) {
  const int64_t padding = std::max(problem.pad_left, problem.pad_right);
  if (padding == 0) return;
  const std::string found = "padding " + text(padding) + " on length " + text(problem.length);
  if (problem.padding_mode == PaddingMode::kReflect && padding >= problem.length) {
    throw Error(ErrorCategory::kShape, found + ": padding_mode reflect needs padding below the length");
  }
  if (problem.padding_mode == PaddingMode::kCircular && padding > problem.length) {
    throw Error(ErrorCategory::kShape, found + ": padding_mode circular needs padding of at most the length");
  }
  if (problem.padding_mode == PaddingMode::kReplicate && problem.length == 0) {
    throw Error(ErrorCategory::kShape, found + ": padding_mode replicate needs a value to repeat");
  }
}

}  // namespace

int64_t output_length(const Conv1dProblem& problem) {
  const int64_t padded = checked_add(checked_add(problem.length, problem.pad_left), problem.pad_right);
  const int64_t room = checked_sub(checked_sub(padded, reach(problem)), 1);
  const int64_t result = checked_add(floor_div(room, problem.stride), 1);
  if (result >= 1) return result;
  throw Error(ErrorCategory::kShape, "length " + text(problem.length) + " with padding_left " + text(problem.pad_left) +
                                         ", padding_right " + text(problem.pad_right) + ", dilation " +
                                         text(problem.dilation) + ", kernel_size " + text(problem.kernel_size) +
                                         " and stride " + text(problem.stride) + " gives an output length of " +
                                         text(result) + ", expected at least 1");
}

Conv1dProblem normalised(Conv1dProblem problem, int64_t out_length, int64_t largest) {
  if (problem.kernel_size == 1) problem.dilation = 1;
  if (out_length == 1 && problem.stride > largest) problem.stride = 1;
  return problem;
}

Conv1dProblem stretch_of(Conv1dProblem problem, const Bindings& bindings) {
  problem.length = bindings.inputs[0].shape()[2];
  problem.pad_left += bindings.window.input - bindings.window.output * problem.stride;
  return problem;
}

Conv1d::Conv1d(const Attributes& attributes) {
  fixed_.in_channels = attributes.positive("in_channels");
  fixed_.out_channels = attributes.positive("out_channels");
  fixed_.kernel_size = attributes.positive("kernel_size");
  fixed_.stride = attributes.positive("stride");
  fixed_.dilation = attributes.positive("dilation");
  fixed_.groups = attributes.positive("groups");
  fixed_.has_bias = attributes.boolean("bias");
  fixed_.padding_mode = parse_mode(attributes.string("padding_mode"));
  check_groups(fixed_);
  checked_mul(fixed_.out_channels, checked_mul(fixed_.group_in(), fixed_.kernel_size));
  read_padding(attributes);
}

void Conv1d::read_padding(const Attributes& attributes) {
  if (const auto* name = std::get_if<std::string>(&attributes.value("padding"))) {
    if (*name == "same" && fixed_.stride != 1) {
      throw Error(ErrorCategory::kUnsupported, "padding same needs stride 1, found stride " + text(fixed_.stride) +
                                                   "; TensorFlow's rule for other strides is padding same_tf");
    }
    constexpr std::pair<const char*, Padding> kNames[] = {{"same", Padding::kSame},
                                                          {"same_tf", Padding::kSameTf},
                                                          {"causal", Padding::kCausal},
                                                          {"valid", Padding::kValid}};
    const auto* found = std::ranges::find_if(kNames, [&](const auto& entry) { return *name == entry.first; });
    if (found == std::end(kNames)) {
      throw Error(ErrorCategory::kSchema,
                  "padding is '" + *name + "', expected an integer, [left, right], same, same_tf, causal or valid");
    }
    padding_ = found->second;
  } else {
    const std::vector<int64_t> sides = attributes.integers("padding");
    if (sides.empty() || sides.size() > 2) {
      throw Error(ErrorCategory::kSchema,
                  "padding has " + std::to_string(sides.size()) + " numbers, expected one or [left, right]");
    }
    fixed_.pad_left = sides.front();
    fixed_.pad_right = sides.back();
  }
  if (fixed_.pad_left < 0 || fixed_.pad_right < 0) {
    throw Error(ErrorCategory::kSchema,
                "padding " + text(std::min(fixed_.pad_left, fixed_.pad_right)) + " is negative");
  }
}

Conv1dProblem Conv1d::problem(const TensorType& input) const {
  if (input.shape.rank() != 3) {
    throw Error(ErrorCategory::kShape,
                "input " + to_string(input) + ", expected three axes: [batch, channels, length]");
  }
  if (input.shape[1] != fixed_.in_channels) {
    throw Error(ErrorCategory::kShape, "input " + to_string(input) + " has " + text(input.shape[1]) +
                                           " channels, expected in_channels " + text(fixed_.in_channels));
  }
  Conv1dProblem result = fixed_;
  result.batch = input.shape[0];
  result.length = input.shape[2];
  if (padding_ == Padding::kSame) {
    result.pad_left = reach(result) / 2;
    result.pad_right = reach(result) - result.pad_left;
  } else if (padding_ == Padding::kCausal) {
    result.pad_left = reach(result);
  } else if (padding_ == Padding::kSameTf) {
    const int64_t outputs = ceil_div(result.length, result.stride);
    const int64_t needed = checked_add(checked_add(checked_mul(outputs - 1, result.stride), reach(result)), 1);
    const int64_t total = std::max<int64_t>(0, checked_sub(needed, result.length));
    result.pad_left = total / 2;
    result.pad_right = total - result.pad_left;
  }
  check_mode(result);
  return result;
}

std::vector<TensorType> Conv1d::infer(std::span<const TensorType> inputs) const {
  const TensorType& input = inputs[0];
  if (input.dtype != DType::kFloat32 && input.dtype != DType::kFloat64) {
    throw Error(ErrorCategory::kShape, "input " + to_string(input) + ", expected float32 or float64");
  }
  const Conv1dProblem conv = problem(input);
  TensorType output{input.dtype, {conv.batch, conv.result_channels(), output_length(conv)}, TensorType::kNoTime};
  if (input.time_axis == 2) output.time_axis = 2;
  output.bytes();
  if (has_residual() && inputs[1] != output) {
    throw Error(ErrorCategory::kShape, "residual " + to_string(inputs[1]) + ", expected " + to_string(output));
  }
  return {output};
}

std::vector<Parameter> Conv1d::parameters() const {
  const int64_t fan_in = fixed_.reduction();
  std::vector<Parameter> list;
  list.push_back({"weight", {fixed_.out_channels, fixed_.group_in(), fixed_.kernel_size}, Init::kUniform, fan_in});
  if (fixed_.has_bias) list.push_back({"bias", {fixed_.out_channels}, Init::kUniform, fan_in});
  if (fixed_.epilogue.by_channel()) list.push_back({"epilogue", {2, fixed_.result_channels()}});
  return list;
}

TimeMap Conv1d::time_map(int input, int /*output*/, std::span<const TensorType> inputs) const {
  if (inputs[0].time_axis != 2) return TimeMap::all("the convolved axis of the input is not time");
  if (input == 1) return TimeMap::pointwise();  // the residual
  const Conv1dProblem conv = problem(inputs[0]);
  TimeMap map;
  map.numerator = conv.stride;
  map.first = -conv.pad_left;
  map.last = checked_sub(reach(conv), conv.pad_left);
  map.length = checked_sub(checked_add(checked_add(conv.pad_left, conv.pad_right), conv.stride - 1), reach(conv));
  if (padding_ == Padding::kSameTf) {
    map.period = conv.stride;
    map.remainder = conv.length % conv.stride;
  }
  map.ends = ends_of(conv);
  return map;
}

std::shared_ptr<const Layer> Conv1d::in_window(const Window&, int64_t, int64_t) const {
  auto layer = std::make_shared<Conv1d>(*this);
  layer->padding_ = Padding::kValid;
  layer->fixed_.pad_left = layer->fixed_.pad_right = 0;
  return layer;
}

int64_t Conv1d::multiply_adds(std::span<const TensorType> /*inputs*/, std::span<const TensorType> outputs) const {
  return checked_mul(outputs[0].shape.elements() * (fixed_.epilogue.gated ? 2 : 1), fixed_.reduction());
}

std::vector<Implementation> Conv1d::implementations(const PrepareArgs& args) const {
  // A stretch of a stream may have more outputs than the length that this is prepared for.
  constexpr int64_t kLargestStride = int64_t{1} << 31;
  const Conv1dProblem conv = normalised(problem(args.inputs[0]), args.outputs[0].shape[2], kLargestStride);
  std::vector<Implementation> list;
  conv1d_cuda(*this, args, list);
  list.push_back(conv1d_eigen(conv, args));
  list.push_back(conv1d_reference(conv, args));
  return list;
}

std::string Conv1d::tuning_key(std::span<const TensorType> inputs) const {
  const Conv1dProblem conv = problem(inputs[0]);
  const Epilogue& epilogue = conv.epilogue;
  std::string key = "Conv1d " + text(conv.batch) + " x " + text(conv.in_channels) + " -> " + text(conv.out_channels) +
                    ", L " + text(conv.length) + ", k" + text(conv.kernel_size) + " s" + text(conv.stride) + " d" +
                    text(conv.dilation) + " p" + text(conv.pad_left) + "+" + text(conv.pad_right) + " g" +
                    text(conv.groups) + (conv.has_bias ? " bias" : "");
  if (conv.padding_mode != PaddingMode::kZeros) key += " mode" + text(static_cast<int64_t>(conv.padding_mode));
  if (!epilogue.none()) {
    key += " then" + text(static_cast<int64_t>(epilogue.function)) + (epilogue.gated ? " gated" : "");
    if (epilogue.residual != Epilogue::Residual::kNone) key += " residual";
  }
  return key;
}

std::vector<Port> Conv1d::inputs() const {
  if (has_residual()) return {{"input"}, {"residual"}};
  return {{"input"}};
}

std::shared_ptr<const Layer> Conv1d::absorb(const Epilogue& next) const {
  const std::optional<Epilogue> both = then(fixed_.epilogue, next);
  if (!both || (both->gated && fixed_.out_channels % 2 != 0)) return nullptr;
  auto result = std::make_shared<Conv1d>(*this);
  result->fixed_.epilogue = *both;
  return result;
}

std::optional<Folded> Conv1d::fold(std::span<const ChannelAffine> next, std::span<const TensorType> /*inputs*/,
                                   const Weights& weights) const {
  if (!fixed_.epilogue.none()) return {};
  auto folded = folded_weights(weights, next, fixed_.reduction(), [](int64_t row) { return row; });
  if (!folded) return {};
  auto result = std::make_shared<Conv1d>(*this);
  result->fixed_.has_bias = true;
  return Folded{std::move(result), std::move(*folded)};
}

ErrorBound Conv1d::error_bound(const PrepareArgs& args) const {
  return conv1d_error_bound(normalised(problem(args.inputs[0]), args.outputs[0].shape[2]), args);
}

void register_conv1d(LayerRegistry& registry);
void register_conv1d(LayerRegistry& registry) {
  registry.add(
      {"Conv1d",
       "1-D convolution (cross-correlation) over the last axis, as PyTorch's",
       {{"in_channels", kInteger, "channels of the input [N, in_channels, L]"},
        {"out_channels", kInteger, "channels of the output [N, out_channels, L_out]"},
        {"kernel_size", kInteger, "taps"},
        {"stride", kInteger, "input samples from one output to the next", int64_t{1}},
        {"padding", kInteger | kIntegers | kString,
         "samples at both ends, [left, right], same (stride 1), same_tf, causal or valid", int64_t{0}},
        {"dilation", kInteger, "samples from one tap to the next", int64_t{1}},
        {"groups", kInteger, "channel groups that see only each other; divides both channel counts", int64_t{1}},
        {"bias", kBoolean, "add a learned value to each output channel", true},
        {"padding_mode", kString, "zeros, reflect, replicate or circular", std::string("zeros")}},
       [](const Attributes& attributes) { return std::make_unique<Conv1d>(attributes); },
       "[N, in_channels, L] -> [N, out_channels, floor((L + left + right - dilation (kernel_size - 1) - 1) / stride) + "
       "1]",
       "stride t - left, + dilation (kernel_size - 1); ends as padding_mode",
       {"cuda.wgmma", "cuda.tensor", "cuda.direct", "cuda.depthwise", "cuda.few_channels", "cuda.im2col", "cuda.naive",
        "cpu.eigen", "cpu.reference"}});
}

}  // namespace strand::layers
