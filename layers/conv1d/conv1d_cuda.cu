// The CUDA implementations in order: that of the least expected time first. No kernels here.

#include <algorithm>

#include "layers/conv1d/conv1d_cuda.cuh"
#include "layers/conv1d/conv1d_depthwise.h"
#include "layers/conv1d/conv1d_direct_plan.h"
#include "layers/conv1d/conv1d_expected.h"

namespace strand::layers {
namespace {

struct Expected {
  double seconds;
  Implementation implementation;
};

}  // namespace

Conv1dWeights::Conv1dWeights(std::shared_ptr<const Buffer> weight, const Conv1dProblem& problem,
                             const PrepareArgs& args)
    : weight_(std::move(weight)), bias_(problem.has_bias ? args.weights.floats("bias") : nullptr) {
  const Epilogue& epilogue = problem.epilogue;
  if (epilogue.by_channel()) coefficients_ = args.weights.floats("epilogue");
  const auto floats = [](const std::shared_ptr<const Buffer>& buffer) {
    return buffer == nullptr ? nullptr : reinterpret_cast<const float*>(buffer->data());
  };
  store_.bias = floats(bias_);
  store_.coefficients = floats(coefficients_);
  store_.channels = problem.result_channels();
  store_.length = args.outputs[0].shape[2];
  for (int i = 0; i < 3; ++i) store_.parameters[i] = static_cast<float>(epilogue.parameters[i]);
  store_.scale = static_cast<float>(epilogue.scale);
  store_.function = epilogue.function;
  store_.residual_place = epilogue.residual;
  if (epilogue.residual != Epilogue::Residual::kNone) store_.residual_type = args.inputs[1].dtype;
  store_.activation = epilogue.activation;
  store_.gate = epilogue.gate;
  store_.gated = epilogue.gated;
  store_.plain = epilogue.none();
}

std::string conv1d_cuda_declines(const Conv1dProblem& problem, const PrepareArgs& args, bool gates, bool halves) {
  const DType half = halves ? stored_type(args.precision) : DType::kFloat32;
  for (const std::span<const TensorType> edges : {args.inputs, args.outputs}) {
    for (const TensorType& edge : edges) {
      if (edge.shape.rank() == 0 || edge.dtype == DType::kFloat32 || edge.dtype == half) continue;
      return "computes " + std::string(half == DType::kFloat32 ? "" : "float32 or ") + std::string(to_string(half)) +
             " edges, got " + std::string(to_string(edge.dtype));
    }
  }
  return problem.epilogue.gated && !gates ? "does not hold both sums of a gate in one thread" : "";
}

void conv1d_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  conv1d_cuda(static_cast<const Conv1d&>(layer).problem(args.inputs[0]), args, list);
}

Implementation conv1d_interleaving(const Conv1dProblem& problem, const PrepareArgs& args) {
  return conv1d_wgmma(normalised(problem, args.outputs[0].shape[2]), args);
}

int conv1d_multiprocessors(Device device) {
  constexpr int kHopper = 132;
  if (!device.is_cuda()) return kHopper;
  int count = 0;
  cuda::check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device.index), "cudaDeviceGetAttribute");
  return count;
}

void conv1d_cuda(const Conv1dProblem& written, const PrepareArgs& args, std::vector<Implementation>& list) {
  const int64_t out_length = args.outputs[0].shape[2];
  const int processors = conv1d_multiprocessors(args.device);
  const Conv1dProblem problem = normalised(written, out_length);
  double wgmma = 0;
  Implementation by_warpgroups = conv1d_wgmma(problem, args, &wgmma);
  Expected expected[] = {
      {depthwise_seconds(problem, out_length, processors), conv1d_depthwise(problem, args)},
      {wgmma, std::move(by_warpgroups)},
      {plan_direct(problem, out_length, processors, args.workspace_limit).seconds, conv1d_direct(problem, args)},
      {few_channels_seconds(problem, out_length, processors), conv1d_few(problem, args)},
      {tensor_seconds(problem, out_length, processors), conv1d_tensor(problem, args)}};
  std::ranges::stable_sort(expected, {}, &Expected::seconds);
  for (Expected& each : expected) list.push_back(std::move(each.implementation));
  list.push_back(conv1d_im2col(problem, args));
  list.push_back(conv1d_naive(problem, args));
}

}  // namespace strand::layers
