// Where cuDNN was not found when strand was built.
#include "engine/error.h"
#include "tools/bench_cudnn.h"

namespace strand::tools {
namespace {

[[noreturn]] void refuse() { throw Error(ErrorCategory::kUnsupported, "built without cuDNN"); }

}  // namespace

struct CudnnConvolution::State {};

bool built_with_cudnn() { return false; }
std::string cudnn_version() { return ""; }

CudnnConvolution::CudnnConvolution(const Context& /*context*/, const ConvSizes& /*sizes*/, CudnnMath /*math*/,
                                   const float* /*x*/, const float* /*w*/, float* /*y*/, int64_t /*workspace_limit*/) {
  refuse();
}
CudnnConvolution::~CudnnConvolution() = default;
bool CudnnConvolution::can_fuse() const { return false; }
std::string CudnnConvolution::algorithm(CudnnBias /*how*/) const { return ""; }
void CudnnConvolution::run(CudnnBias /*how*/, const float* /*x*/, const float* /*w*/, const float* /*bias*/,
                           float* /*y*/) const {
  refuse();
}

}  // namespace strand::tools
