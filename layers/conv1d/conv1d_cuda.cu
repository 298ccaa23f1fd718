// The CUDA implementations in order. No kernels here.

#include "layers/conv1d/conv1d_cuda.cuh"

namespace strand::layers {
namespace {

// Where float32 arithmetic finishes sooner than tensor cores get going: measured on an H200, see README.md.
bool is_small(const Conv1dProblem& p, int64_t out_length) {
  constexpr double kFewMultiplyAdds = 64e6;
  const double multiply_adds = static_cast<double>(p.batch) * static_cast<double>(p.out_channels) *
                               static_cast<double>(out_length) * static_cast<double>(p.reduction());
  return multiply_adds < kFewMultiplyAdds;
}

// Where float32 arithmetic is faster than cuda.tensor, whose tiles have little to do.
bool is_thin(const Conv1dProblem& p) { return p.group_out() <= 16 && p.reduction() <= 64; }

// Where few outputs or short sums are all there is, and rows are long enough for cuda.few_channels' strips.
bool is_few(const Conv1dProblem& p, int64_t out_length) {
  constexpr int64_t kMinLength = 256;
  const bool few = p.group_out() <= 8 || p.reduction() < 48 || is_thin(p);
  return few && out_length >= kMinLength && (p.stride == 1 || p.reduction() <= 12);
}

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

void conv1d_cuda(const Conv1dProblem& written, const PrepareArgs& args, std::vector<Implementation>& list) {
  const int64_t out_length = args.outputs[0].shape[2];
  const Conv1dProblem problem = normalised(written, out_length);
  const bool few = is_few(problem, out_length);
  const bool small = is_small(problem, out_length);
  const bool thin = !small && is_thin(problem);
  list.push_back(conv1d_depthwise(problem, args));
  if (small) list.push_back(conv1d_direct(problem, args));
  list.push_back(conv1d_wgmma(problem, args));
  if (few) list.push_back(conv1d_few(problem, args));
  if (thin) list.push_back(conv1d_direct(problem, args));
  list.push_back(conv1d_tensor(problem, args));
  if (!small && !thin) list.push_back(conv1d_direct(problem, args));
  if (!few) list.push_back(conv1d_few(problem, args));
  list.push_back(conv1d_im2col(problem, args));
  list.push_back(conv1d_naive(problem, args));
}

}  // namespace strand::layers
