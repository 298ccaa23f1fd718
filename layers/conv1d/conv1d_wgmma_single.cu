// cuda.wgmma of one product, for precisions below float32's: see conv1d_wgmma.cu.

#include "layers/conv1d/conv1d_wgmma_kernel.cuh"

namespace strand::layers::wgmma {
namespace {

template <bool Plain>
KernelFunction kernel_for(Layout layout) {
  return layout == Layout::kSplit ? wgmma_kernel<Layout::kSplit, Plain, 1> : wgmma_kernel<Layout::kWide, Plain, 1>;
}

}  // namespace

KernelFunction single_kernel(Layout layout, bool plain) {
  return plain ? kernel_for<true>(layout) : kernel_for<false>(layout);
}

}  // namespace strand::layers::wgmma
