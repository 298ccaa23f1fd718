#include "layers/conv1d/conv1d_mixed.h"

#include "engine/checked.h"
#include "engine/error.h"

namespace strand::layers {
namespace {

// As the Conv1d alone takes them: its residual has all channels.
std::vector<TensorType> spread(const Conv1d& conv, std::span<const TensorType> inputs) {
  std::vector<TensorType> types(inputs.begin(), inputs.end());
  types[1].shape.set(1, conv.problem(inputs[0]).result_channels());
  return types;
}

}  // namespace

std::vector<TensorType> MixedConv1d::infer(std::span<const TensorType> inputs) const {
  if (inputs[1].shape.rank() != 3 || inputs[1].shape[1] != 1) {
    throw Error(ErrorCategory::kShape, "residual " + to_string(inputs[1]) + ", expected one channel");
  }
  return conv_.infer(spread(conv_, inputs));
}

std::vector<Parameter> MixedConv1d::parameters() const {
  std::vector<Parameter> list = conv_.parameters();
  const int64_t channels = list[0].shape[0];  // of the weight
  list.push_back({"mix.weight", {channels, 1, 1}});
  if (has_bias_) list.push_back({"mix.bias", {channels}});
  return list;
}

TimeMap MixedConv1d::time_map(int input, int output, std::span<const TensorType> inputs) const {
  return conv_.time_map(input, output, inputs);
}

int64_t MixedConv1d::multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType> outputs) const {
  return checked_add(conv_.multiply_adds(inputs, outputs), outputs[0].shape.elements());
}

std::vector<Implementation> MixedConv1d::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list = conv_.implementations(args);  // whose kernels find the mix in the weights
  std::erase_if(list, [](const Implementation& each) { return each.device != DeviceType::kCpu; });
  return list;
}

ErrorBound MixedConv1d::error_bound(const PrepareArgs& args) const { return conv_.error_bound(args); }

std::string MixedConv1d::tuning_key(std::span<const TensorType> inputs) const {
  return conv_.tuning_key(inputs) + " mixed";
}

std::shared_ptr<const Layer> MixedConv1d::absorb(const Epilogue& next) const { return with(conv_.absorb(next)); }

std::shared_ptr<const Layer> MixedConv1d::in_window(const Window& window, int64_t inputs, int64_t outputs) const {
  return with(conv_.in_window(window, inputs, outputs));
}

// The same with another Conv1d, or null.
std::shared_ptr<const Layer> MixedConv1d::with(const std::shared_ptr<const Layer>& conv) const {
  const auto* changed = dynamic_cast<const Conv1d*>(conv.get());
  return changed == nullptr ? nullptr : std::make_shared<MixedConv1d>(*changed, has_bias_);
}

std::shared_ptr<const Layer> Conv1d::mix(std::span<const TensorType> inputs, int port, const Layer& maker,
                                         std::span<const TensorType> maker_inputs) const {
  const auto* other = dynamic_cast<const Conv1d*>(&maker);
  if (other == nullptr || port != 1) return nullptr;
  if (fixed_.epilogue.gated || fixed_.epilogue.residual != Epilogue::Residual::kBefore) return nullptr;
  const Conv1dProblem one = other->problem(maker_inputs[0]);
  const bool pointwise = one.in_channels == 1 && one.kernel_size == 1 && one.stride == 1 && one.unpadded();
  if (!pointwise || !one.epilogue.none()) return nullptr;
  if (maker_inputs[0].time_axis != inputs[1].time_axis) return nullptr;  // it goes by another axis, and is lost there
  return std::make_shared<MixedConv1d>(*this, one.has_bias);
}

}  // namespace strand::layers
