// Upsample on CUDA: a thread an output, four of them a block's width apart; neighbours read the same or neighbouring
// inputs. Limits: 64-bit sizes. Bound by bytes: 4 an output written and up to 4 an input read.

#include "layers/cuda_launch.cuh"
#include "layers/implementation_list.h"
#include "layers/upsample/upsample.h"

namespace strand::layers {
namespace {

struct UpsampleBody {
  UpsampleProblem problem;
  const float* x;
  float* y;
  template <class Index>
  __device__ float load(Index i) const {
    const auto length = static_cast<Index>(problem.out_length);
    const Index row = i / length;
    const UpsamplePoint point = upsample_point(problem, static_cast<int64_t>(i - row * length));
    const float* source = x + static_cast<int64_t>(row) * problem.length;
    if (problem.mode == UpsampleMode::kNearest) return source[point.low];
    const auto low_weight = static_cast<float>(1 - point.weight);
    return fmaf(static_cast<float>(point.weight), source[point.high], low_weight * source[point.low]);
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

}  // namespace

void upsample_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const UpsampleProblem problem = static_cast<const Upsample&>(layer).problem(args.inputs[0].shape);
  list.push_back(float32_implementation(args, "cuda.native", [problem] {
    return function_kernel([problem](const Context& context, const Bindings& bindings) {
      cuda::launch_flat(context, "Upsample", problem.rows * problem.out_length,
                        UpsampleBody{problem, bindings.inputs[0].ptr<const float>(), bindings.outputs[0].ptr<float>()});
    });
  }));
}

}  // namespace strand::layers
