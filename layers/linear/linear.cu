// Linear on CUDA: one cuBLAS SGEMM, in float32 throughout (no TF32: the handle's math mode is the default one).
//
// cuBLAS sees column-major matrices: y^T [out, rows] = (weight^T)^T [out, in] * x^T [in, rows], so nothing is moved.
// The bias is written to y first, one thread an element, and the product added to it (beta = 1): 4 bytes an output to
// write and 4 to read, where a pass after the product would take 8 more to read and write.
// Limits: rows, in and out are 64 bits wide.

#include "layers/cuda_launch.cuh"
#include "layers/implementation_list.h"
#include "layers/linear/linear.h"

namespace strand::layers {
namespace {

struct FillRows {
  const float* bias;  // [out]
  float* y;           // [rows, out]
  int64_t out;
  template <class Index>
  __device__ float load(Index i) const {
    return bias[i % static_cast<Index>(out)];
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

class LinearCublas final : public Kernel {
 public:
  LinearCublas(const LinearProblem& problem, const Weights& weights)
      : problem_(problem), weight_(weights.floats("weight")), bias_(problem.bias ? weights.floats("bias") : nullptr) {}

  void run(const Context& context, const Bindings& bindings) const override {
    const auto [rows, in, out, has_bias] = problem_;
    if (rows == 0) return;
    const auto* x = bindings.inputs[0].ptr<const float>();
    auto* y = bindings.outputs[0].ptr<float>();
    if (has_bias) {
      const auto* bias = reinterpret_cast<const float*>(bias_->data());
      cuda::launch_flat(context, "Linear's bias", rows * out, FillRows{bias, y, out});
    }
    const float one = 1;
    const float beta = has_bias ? 1.0F : 0.0F;
    const auto* weight = reinterpret_cast<const float*>(weight_->data());
    cuda::check(cublasSgemm_64(cuda::cublas(context), CUBLAS_OP_T, CUBLAS_OP_N, out, rows, in, &one, weight, in, x, in,
                               &beta, y, out),
                "cublasSgemm_64");
  }

 private:
  LinearProblem problem_;
  std::shared_ptr<const Buffer> weight_;
  std::shared_ptr<const Buffer> bias_;
};

}  // namespace

void linear_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const LinearProblem problem = static_cast<const Linear&>(layer).problem(args.inputs);
  list.push_back(float32_implementation(args, "cuda.cublas", [problem, &args]() -> std::unique_ptr<Kernel> {
    return std::make_unique<LinearCublas>(problem, args.weights);
  }));
}

}  // namespace strand::layers
