// cuda.wgmma of one product, for precisions below float32's: see conv1d_wgmma.cu.

#include "layers/conv1d/conv1d_wgmma_kernel.cuh"

namespace strand::layers::wgmma {
namespace {

template <Layout BlockLayout>
KernelFunction kernel_for(bool plain, bool halves) {
  if (halves) return plain ? wgmma_kernel<BlockLayout, true, 1, true> : wgmma_kernel<BlockLayout, false, 1, true>;
  return plain ? wgmma_kernel<BlockLayout, true, 1, false> : wgmma_kernel<BlockLayout, false, 1, false>;
}

}  // namespace

KernelFunction single_kernel(Layout layout, bool plain, bool halves) {
  if (layout == Layout::kStack) return kernel_for<Layout::kStack>(plain, halves);
  return layout == Layout::kSplit ? kernel_for<Layout::kSplit>(plain, halves)
                                  : kernel_for<Layout::kWide>(plain, halves);
}

}  // namespace strand::layers::wgmma
