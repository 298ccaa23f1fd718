// cuda.wgmma with epilogues: see conv1d_wgmma.cu.

#include "layers/conv1d/conv1d_wgmma_kernel.cuh"

namespace strand::layers::wgmma {

KernelFunction fused_kernel(Layout layout) {
  if (layout == Layout::kStack) return wgmma_kernel<Layout::kStack, false, 3, false>;
  return layout == Layout::kSplit ? wgmma_kernel<Layout::kSplit, false, 3, false>
                                  : wgmma_kernel<Layout::kWide, false, 3, false>;
}

}  // namespace strand::layers::wgmma
