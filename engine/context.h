#pragma once
// What a kernel runs with: a device, its stream and cuBLAS handle, and the CPU's threads. Owned by one Session, used by
// one thread at a time, always passed.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "engine/checked.h"
#include "engine/device.h"
#include "engine/thread_pool.h"

namespace strand {

class Context {
 public:
  // `threads` for CPU kernels; 0 takes one a core. Error(kDevice) where there is no such device.
  explicit Context(Device device, int threads = 1);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Device device() const { return device_; }
  void* stream() const { return stream_; }  // a cudaStream_t; null on the CPU
  void* cublas() const;                     // a cublasHandle_t on that stream, made at first use
  int threads() const { return pool_->threads(); }

  // Calls body(begin, end) on consecutive parts of [0, count), a part a thread and none shorter than `grain` but the
  // last. The split depends on `count`, `grain` and threads() alone. The body must not throw.
  template <class Body>
  void parallel_for(int64_t count, int64_t grain, Body&& body) const;

  // Waits for all work on the device's stream; a failed kernel shows here as Error(kDevice).
  void synchronize() const;

 private:
  Device device_;
  std::unique_ptr<ThreadPool> pool_;
  void* stream_ = nullptr;
  mutable void* cublas_ = nullptr;
};

template <class Body>
void Context::parallel_for(int64_t count, int64_t grain, Body&& body) const {
  if (count <= 0) return;
  const int64_t parts = std::min<int64_t>(threads(), ceil_div(count, std::max<int64_t>(grain, 1)));
  if (parts == 1) {
    body(int64_t{0}, count);
    return;
  }
  struct Closure {
    std::remove_reference_t<Body>* body;
    int64_t count;
    int64_t step;
  } closure{&body, count, ceil_div(count, parts)};
  pool_->run(
      [](void* opaque, int part) {
        const auto& loop = *static_cast<Closure*>(opaque);
        const int64_t begin = std::min(loop.count, part * loop.step);
        const int64_t end = std::min(loop.count, begin + loop.step);
        if (begin < end) (*loop.body)(begin, end);
      },
      &closure);
}

}  // namespace strand
