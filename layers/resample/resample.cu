// LowPassUpsample and LowPassDownsample on CUDA: a thread an output, neighbours read neighbouring samples and the taps
// of a few outputs meet in the L1 cache. Limits: 64-bit sizes; meant for short filters (a dozen taps).

#include "layers/cuda_launch.cuh"
#include "layers/implementation_list.h"
#include "layers/resample/resample.h"

namespace strand::layers {
namespace {

struct ResampleBody {
  ResampleProblem problem;
  const float* filter;
  const float* x;
  float* y;
  template <class Index>
  __device__ float load(Index i) const {
    const auto length = static_cast<Index>(problem.out_length);
    const Index row = i / length;
    const ResampleTaps taps = resample_taps(problem, static_cast<int64_t>(i - row * length));
    const float* source = x + static_cast<int64_t>(row) * problem.length;
    int64_t at = taps.at;
    float sum = 0;
    for (int64_t k = taps.first; k < problem.taps; k += taps.step, at += taps.move) {
      sum = fmaf(filter[k], resample_sample(problem, source, at), sum);
    }
    return problem.up ? static_cast<float>(problem.ratio) * sum : sum;
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

}  // namespace

void resample_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const auto& resample = static_cast<const Resample&>(layer);
  const ResampleProblem problem = resample.problem(args.inputs[0].shape);
  list.push_back(float32_implementation(args, "cuda.native", [&resample, problem, &args] {
    return function_kernel(
        [problem, filter = resample.packed(args.weights)](const Context& context, const Bindings& bindings) {
          cuda::launch_flat(context, "low-pass resampling", problem.rows * problem.out_length,
                            ResampleBody{problem, reinterpret_cast<const float*>(filter->data()),
                                         bindings.inputs[0].ptr<const float>(), bindings.outputs[0].ptr<float>()});
        });
  }));
}

}  // namespace strand::layers
