// cuda.wgmma with epilogues: see conv1d_wgmma.cu.

#include "layers/conv1d/conv1d_wgmma_kernel.cuh"

namespace strand::layers::wgmma {

KernelFunction fused_kernel(Layout layout) { return kernel_of<false, 3, false>(layout); }

}  // namespace strand::layers::wgmma
