// cuda.wgmma of one product, for precisions below float32's, of float32 values: see conv1d_wgmma.cu.

#include "layers/conv1d/conv1d_wgmma_kernel.cuh"

namespace strand::layers::wgmma {

KernelFunction single_kernel(Layout layout, bool plain) {
  if (layout == Layout::kStack) {
    return plain ? wgmma_kernel<Layout::kStack, true, 1, false> : wgmma_kernel<Layout::kStack, false, 1, false>;
  }
  if (layout == Layout::kSplit) {
    return plain ? wgmma_kernel<Layout::kSplit, true, 1, false> : wgmma_kernel<Layout::kSplit, false, 1, false>;
  }
  return plain ? wgmma_kernel<Layout::kWide, true, 1, false> : wgmma_kernel<Layout::kWide, false, 1, false>;
}

}  // namespace strand::layers::wgmma
