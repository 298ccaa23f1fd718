// Without a CUDA toolkit.
#include "engine/error.h"
#include "tools/bench_device.h"

namespace strand::tools {

std::unique_ptr<BenchDevice> make_cuda_bench_device(Device /*device*/) {
  throw Error(ErrorCategory::kDevice, "built without CUDA");
}

}  // namespace strand::tools
