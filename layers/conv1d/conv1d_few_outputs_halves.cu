// cuda.few_channels' kernel of few outputs where x is stored as halves: see conv1d_few_outputs.cu.

#include "layers/conv1d/conv1d_few_outputs.cuh"

namespace strand::layers {

FewOutputsKernel few_outputs_kernel_of_halves(const FewOutputs& a, int positions, DType x_type) {
  return x_type == DType::kFloat16 ? few_outputs_kernel_for<__half, true>(a, positions)
                                   : few_outputs_kernel_for<__nv_bfloat16, true>(a, positions);
}

}  // namespace strand::layers
