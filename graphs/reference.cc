#include "graphs/reference.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"

namespace strand::graphs {
namespace {

constexpr int64_t kWorkspaceLimit = int64_t{256} << 20;  // bytes

// What a FusedLayer's input says of the outputs so far.
template <class T>
const T& before(const std::vector<T>& made, int input) {
  return made[made.size() - 1 - static_cast<size_t>(kBefore - input)];
}

}  // namespace

TensorType in_double(TensorType type) {
  if (is_floating_point(type.dtype)) type.dtype = DType::kFloat64;
  return type;
}

struct ReferenceLayer::Part {
  ReferenceLayer layer;
  std::vector<int> inputs;  // as FusedLayer has them
};

ReferenceLayer::ReferenceLayer(ReferenceLayer&&) noexcept = default;
ReferenceLayer::~ReferenceLayer() = default;

ReferenceLayer::ReferenceLayer(const Network& network, const Node& node, std::span<const TensorType> inputs) {
  outputs_ = node.layer->infer(inputs);
  if (node.layer->is_view()) return;
  std::vector<TensorType> made;  // by the parts so far
  for (const FusedLayer& fused : node.fused) {
    std::vector<TensorType> types;
    for (const int input : fused.inputs)
      types.push_back(input <= kBefore ? before(made, input) : inputs[static_cast<size_t>(input)]);
    Node part;
    part.path = fused.path;
    part.where = node.where;
    part.layer = fused.layer;
    parts_.push_back({ReferenceLayer(network, part, types), fused.inputs});
    made.push_back(fused.layer->infer(types)[0]);
  }
  WeightStore store;
  const layers::Weights weights = network.weights(node, Device{}, store);
  const layers::PrepareArgs args{inputs, outputs_, Device{}, kWorkspaceLimit, weights};
  for (const layers::Implementation& implementation : node.layer->implementations(args)) {
    const bool is_reference = implementation.name == "cpu.reference" && implementation.declined.empty();
    if (is_reference && parts_.empty()) kernel_ = implementation.prepare();
  }
  if (kernel_ == nullptr && parts_.empty()) {
    throw Error(ErrorCategory::kUnsupported, node.where + " has no cpu.reference for these shapes");
  }
  layers::ErrorBound bound = node.layer->error_bound(args);
  scale_ = std::move(bound.scale);
  factor_ = bound.factor;
}

std::vector<Tensor> ReferenceLayer::run_kernel(const Kernel& kernel, const Context& context,
                                               std::span<const TensorView> inputs) const {
  std::vector<Tensor> results;
  std::vector<TensorView> views;
  for (const TensorType& type : outputs_) {
    results.emplace_back(type);
    views.push_back(results.back().view());
  }
  const Buffer workspace(Device{}, kernel.workspace_bytes());
  kernel.run(context, {inputs, views, workspace.data()});
  return results;
}

std::vector<Tensor> ReferenceLayer::run(const Context& context, std::span<const TensorView> inputs) const {
  if (kernel_ != nullptr) return run_kernel(*kernel_, context, inputs);
  if (!parts_.empty()) {
    std::vector<Tensor> made;
    for (const Part& part : parts_) {
      std::vector<TensorView> views;
      for (const int input : part.inputs) {
        views.push_back(input <= kBefore ? before(made, input).view() : inputs[static_cast<size_t>(input)]);
      }
      made.push_back(std::move(part.layer.run(context, views)[0]));
    }
    made.erase(made.begin(), made.end() - 1);
    return made;
  }
  Tensor result(outputs_.front());
  copy_bytes(result.view().data, {}, inputs.front().data, {}, result.type().bytes());
  std::vector<Tensor> results;
  results.push_back(std::move(result));
  return results;
}

std::vector<Tensor> ReferenceLayer::scales(const Context& context, std::span<const TensorView> inputs,
                                           std::span<const Tensor> outputs) const {
  if (scale_ != nullptr) return run_kernel(*scale_, context, inputs);
  std::vector<Tensor> results;
  for (const Tensor& output : outputs) {
    if (output.type().dtype != DType::kFloat64) {
      results.emplace_back();
      continue;
    }
    results.push_back(copy_of(output.view()));
    for (double& value : results.back().as<double>()) value = std::fabs(value);
  }
  return results;
}

}  // namespace strand::graphs
