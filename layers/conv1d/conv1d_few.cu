// cuda.few_channels: register-blocked FMA in float32, for convolutions with too few channels on one side for tensor
// cores. Which of its two kernels. No kernels here.

#include "layers/conv1d/conv1d_few.cuh"

namespace strand::layers {
namespace {

constexpr int64_t kMostProducts = int64_t{1} << 26;  // a sum

std::string why_not(const Conv1dProblem& p, const TensorType& y) {
  const int64_t out_length = y.shape[2];
  if (!has_few_channels(p)) {
    return std::to_string(p.group_out()) + " output channels a group (above " + std::to_string(kMostOutputsAtOnce) +
           ") of " + std::to_string(p.reduction()) + " products (from " + std::to_string(kShortReduction) +
           ") are not few";
  }
  if (p.reduction() > kMostProducts) return "more than 2^26 products an output";
  const int64_t blocks =
      holds_inputs(p) ? conv1d_few_inputs_blocks(p, out_length, y.dtype) : conv1d_few_outputs_blocks(p, out_length);
  return blocks > kMaxBlocks ? "more than 2^31 - 1 blocks" : "";
}

}  // namespace

Implementation conv1d_few(const Conv1dProblem& problem, const PrepareArgs& args) {
  Implementation result{"cuda.few_channels", DeviceType::kCuda, conv1d_cuda_declines(problem, args, false, true), {}};
  if (result.declined.empty()) result.declined = why_not(problem, args.outputs[0]);
  result.prepare = [problem, &args] {
    return holds_inputs(problem) ? conv1d_few_inputs_kernel(problem, args) : conv1d_few_outputs_kernel(problem, args);
  };
  return result;
}

}  // namespace strand::layers
