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
                                   CudnnSearch /*search*/, const float* /*x*/, const float* /*w*/, float* /*y*/,
                                   int64_t /*workspace_limit*/) {
  refuse();
}
CudnnConvolution::~CudnnConvolution() = default;
int CudnnConvolution::candidates() const { return 0; }
std::string CudnnConvolution::algorithm(int /*candidate*/) const { return ""; }
void CudnnConvolution::run(int /*candidate*/, const float* /*x*/, const float* /*w*/, const float* /*bias*/,
                           float* /*y*/) const {
  refuse();
}

}  // namespace strand::tools
