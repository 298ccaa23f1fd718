// cuda.wgmma of one product where x, y or the residual may be stored as halves: see conv1d_wgmma.cu.

#include "layers/conv1d/conv1d_wgmma_kernel.cuh"

namespace strand::layers::wgmma {

KernelFunction halves_kernel(Layout layout, bool plain) {
  if (layout == Layout::kStack) {
    return plain ? wgmma_kernel<Layout::kStack, true, 1, true> : wgmma_kernel<Layout::kStack, false, 1, true>;
  }
  if (layout == Layout::kSplit) {
    return plain ? wgmma_kernel<Layout::kSplit, true, 1, true> : wgmma_kernel<Layout::kSplit, false, 1, true>;
  }
  return plain ? wgmma_kernel<Layout::kWide, true, 1, true> : wgmma_kernel<Layout::kWide, false, 1, true>;
}

}  // namespace strand::layers::wgmma
