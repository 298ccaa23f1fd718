#include "engine/context.h"

#include "engine/cuda_runtime.h"

namespace strand {
namespace {

int thread_count(int asked) {
  if (asked > 0) return asked;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

Context::Context(Device device, int threads) : device_(device) {
  if (threads < 0 || threads > 4096) {
    throw Error(ErrorCategory::kLimit, std::to_string(threads) + " threads; expected 0 to 4096");
  }
  pool_ = std::make_unique<ThreadPool>(device.is_cpu() ? thread_count(threads) : 1);
  if (device.is_cuda()) stream_ = cuda::create_stream(device.index);
}

Context::~Context() {
  if (cublas_ != nullptr) cuda::destroy_cublas(device_.index, cublas_);
  if (stream_ != nullptr) cuda::destroy_stream(device_.index, stream_);
}

void* Context::cublas() const {
  if (cublas_ == nullptr) cublas_ = cuda::create_cublas(device_.index, stream_);
  return cublas_;
}

void Context::synchronize() const {
  if (device_.is_cuda()) cuda::synchronize(device_.index, stream_);
}

}  // namespace strand
