// MatMul on CUDA: cuBLAS's strided batched SGEMM, in float32 throughout (no TF32: the handle's math mode is the default
// one), one call for the innermost axis of the batch and a call each for what broadcasting leaves of the others.
//
// cuBLAS sees column-major matrices: y^T [columns, rows] = b^T [columns, inner] * a^T [inner, rows], so nothing is
// moved. Limits: sizes are 64 bits wide.

#include <algorithm>

#include "layers/cuda_launch.cuh"
#include "layers/implementation_list.h"
#include "layers/matmul/matmul.h"

namespace strand::layers {
namespace {

constexpr int64_t kMaxProducts = 65535;  // a call of cuBLAS

void multiply(const Context& context, const MatMulProblem& p, const Bindings& bindings) {
  const int64_t outputs = p.rows * p.columns;
  auto* y = bindings.outputs[0].ptr<float>();
  if (p.batches * outputs == 0) return;
  if (p.inner == 0) {
    cuda::check(cudaMemsetAsync(y, 0, static_cast<size_t>(p.batches * outputs) * sizeof(float), cuda::stream(context)),
                "cudaMemsetAsync");
    return;
  }
  const float one = 1;
  const float zero = 0;
  const int64_t count = p.batch.row_length();
  const int64_t sizes[2] = {p.rows * p.inner, p.inner * p.columns};
  for (int64_t row = 0; row < p.batches / count; ++row) {
    const float* a = bindings.inputs[0].ptr<const float>() + p.batch.row_offset(0, row) * sizes[0];
    const float* b = bindings.inputs[1].ptr<const float>() + p.batch.row_offset(1, row) * sizes[1];
    const int64_t a_stride = p.batch.varies(0) ? sizes[0] : 0;
    const int64_t b_stride = p.batch.varies(1) ? sizes[1] : 0;
    for (int64_t i = 0; i < count; i += kMaxProducts) {
      cuda::check(cublasSgemmStridedBatched_64(cuda::cublas(context), CUBLAS_OP_N, CUBLAS_OP_N, p.columns, p.rows,
                                               p.inner, &one, b + i * b_stride, p.columns, b_stride, a + i * a_stride,
                                               p.inner, a_stride, &zero, y + (row * count + i) * outputs, p.columns,
                                               outputs, std::min(kMaxProducts, count - i)),
                  "cublasSgemmStridedBatched_64");
    }
  }
}

}  // namespace

void matmul_cuda(const Layer& /*layer*/, const PrepareArgs& args, std::vector<Implementation>& list) {
  list.push_back(float32_implementation(args, "cuda.cublas", [&args] {
    const MatMulProblem p = MatMul::problem(args.inputs[0].shape, args.inputs[1].shape);
    return function_kernel([p](const Context& context, const Bindings& bindings) { multiply(context, p, bindings); });
  }));
}

}  // namespace strand::layers
