// cuda.wgmma of one product where x, y or the residual may be stored as halves: see conv1d_wgmma.cu.

#include "layers/conv1d/conv1d_wgmma_kernel.cuh"

namespace strand::layers::wgmma {

KernelFunction halves_kernel(Layout layout, bool plain) {
  return plain ? kernel_of<true, 1, true>(layout) : kernel_of<false, 1, true>(layout);
}

}  // namespace strand::layers::wgmma
