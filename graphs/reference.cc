#include "graphs/reference.h"

#include <algorithm>
#include <cmath>

#include "engine/error.h"
#include "layers/weights.h"

namespace strand::graphs {
namespace {

constexpr int64_t kWorkspaceLimit = int64_t{256} << 20;  // bytes

}  // namespace

TensorType in_double(TensorType type) {
  if (is_floating_point(type.dtype)) type.dtype = DType::kFloat64;
  return type;
}

ReferenceLayer::ReferenceLayer(const Network& network, const Node& node, std::span<const TensorType> inputs) {
  outputs_ = node.layer->infer(inputs);
  if (node.layer->is_view()) return;
  WeightStore store;
  layers::Weights weights(node.path, Device{}, store);
  for (const auto& [name, tensor] : network.weights(node)) weights.set(name, tensor);
  const layers::PrepareArgs args{inputs, outputs_, Device{}, kWorkspaceLimit, weights};
  for (const layers::Implementation& implementation : node.layer->implementations(args)) {
    if (implementation.name == "cpu.reference" && implementation.declined.empty()) kernel_ = implementation.prepare();
  }
  if (kernel_ == nullptr) {
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
