// cuda.wgmma of one product, for precisions below float32's, of float32 values: see conv1d_wgmma.cu.

#include "layers/conv1d/conv1d_wgmma_kernel.cuh"

namespace strand::layers::wgmma {

KernelFunction single_kernel(Layout layout, bool plain) {
  return plain ? kernel_of<true, 1, false>(layout) : kernel_of<false, 1, false>(layout);
}

}  // namespace strand::layers::wgmma
