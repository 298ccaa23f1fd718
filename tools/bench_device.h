#pragma once
// What the benchmarks of single layers need of a device: random data, times, peaks and the truth. One owner, one
// thread. Without CUDA, bench_device_stub.cc stands in for bench_device_cuda.cu.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/context.h"
#include "engine/dtype.h"
#include "tools/conv_sizes.h"

namespace strand::tools {

struct Peaks {
  double copy_bytes = 0;   // a second, read and written, of a copy far larger than the caches
  double float_flops = 0;  // a second, of a float32 matrix product of 8192^3; 0: not measured
  double half_flops = 0;   // the same in float16 with float32 sums
};

struct CheckedOutput {
  ExactOutput exact;
  float found = 0;
};

class BenchDevice {
 public:
  virtual ~BenchDevice() = default;
  BenchDevice() = default;
  BenchDevice(const BenchDevice&) = delete;
  BenchDevice& operator=(const BenchDevice&) = delete;

  virtual const Context& context() const = 0;
  virtual int64_t free_bytes() const = 0;
  virtual int64_t cache_bytes() const = 0;  // of the largest cache
  virtual void fill_normal(float* values, int64_t count, uint64_t seed) const = 0;
  virtual void poison(float* values, int64_t count) const = 0;  // with a NaN of these bits, which no sum gives
  static constexpr uint32_t kPoison = 0xFFFFFFFF;
  // Milliseconds of one body(i), which enqueues work; i counts up, so that a body can use other memory each time. The
  // median of `repeats` measurements, each of as many bodies as make it precise and at least `rotations`.
  virtual double time(const std::function<void(int64_t)>& body, int64_t rotations, int repeats) const = 0;
  // Rounds values to float16 or bfloat16, and writes them as such too.
  virtual void round(float* values, void* halves, DType type, int64_t count) const = 0;
  // `y_type`: float32, float16 or bfloat16.
  virtual std::vector<CheckedOutput> check(const ConvSizes& sizes, const float* x, const float* w, const float* bias,
                                           const void* y, DType y_type, std::span<const int64_t> indices) const = 0;
  virtual double measure_copy(int repeats) const = 0;  // Peaks::copy_bytes
  virtual Peaks measure_peaks(int repeats) const = 0;
};

// Error(kDevice) where the device is not there.
std::unique_ptr<BenchDevice> make_bench_device(Device device, int threads);
std::unique_ptr<BenchDevice> make_cuda_bench_device(Device device);

}  // namespace strand::tools
