// Where cuDNN was not found when strand was built.
#include "engine/error.h"
#include "tools/bench_cudnn.h"

namespace strand::tools {
namespace {

[[noreturn]] void refuse() { throw Error(ErrorCategory::kUnsupported, "built without cuDNN"); }

}  // namespace

struct CudnnConvolution::State {
  std::string algorithm;
};

bool built_with_cudnn() { return false; }
std::string cudnn_version() { return ""; }

CudnnConvolution::CudnnConvolution(const Context& /*context*/, const ConvSizes& /*sizes*/, CudnnMath /*math*/,
                                   const float* /*x*/, const float* /*w*/, float* /*y*/, int64_t /*workspace_limit*/) {
  refuse();
}
CudnnConvolution::~CudnnConvolution() = default;
const std::string& CudnnConvolution::algorithm() const { return state_->algorithm; }
void CudnnConvolution::run(const float* /*x*/, const float* /*w*/, float* /*y*/) const { refuse(); }

}  // namespace strand::tools
