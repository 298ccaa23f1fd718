// The CUDA implementations in order. No kernels here.

#include "layers/conv1d/conv1d_cuda.cuh"

namespace strand::layers {
namespace {

// Without an unfolding, im2col is one call of cuBLAS, whose matrix product is the better one where a tile of it is
// full.
bool is_plain_product(const Conv1dProblem& p) {
  constexpr int64_t kFull = 128;
  return p.kernel_size == 1 && p.stride == 1 && p.unpadded() && p.groups == 1 && !p.has_bias &&
         p.in_channels >= kFull && p.out_channels >= kFull;
}

}  // namespace

void conv1d_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const auto& conv = static_cast<const Conv1d&>(layer);
  const Conv1dProblem problem = normalised(conv.problem(args.inputs[0]), args.outputs[0].shape[2]);
  list.push_back(conv1d_tensor(problem, args));
  list.push_back(conv1d_direct(problem, args));
  list.push_back(conv1d_im2col(problem, args));
  if (is_plain_product(problem)) std::swap(list[list.size() - 2], list.back());
  list.push_back(conv1d_naive(problem, args));
}

}  // namespace strand::layers
