#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "engine/tensor.h"
#include "graphs/normal.h"
#include "tools/bench.h"
#include "tools/bench_device.h"

namespace strand::tools {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kPreciseMs = 20;             // a measurement shorter than this is repeated
constexpr int64_t kBlock = int64_t{1} << 20;  // random numbers before they repeat: making more takes longer
constexpr int64_t kCopyBytes = int64_t{1} << 28;

class CpuBenchDevice final : public BenchDevice {
 public:
  explicit CpuBenchDevice(int threads) : context_(Device{}, threads) {}

  const Context& context() const override { return context_; }
  int64_t free_bytes() const override { return int64_t{sysconf(_SC_AVPHYS_PAGES)} * sysconf(_SC_PAGESIZE); }
  // What is reported may be all of the socket's; a core reaches less of it.
  int64_t cache_bytes() const override {
    return std::clamp<int64_t>(sysconf(_SC_LEVEL3_CACHE_SIZE), int64_t{1} << 24, int64_t{1} << 25);
  }

  void fill_normal(float* values, int64_t count, uint64_t seed) const override {
    const int64_t first = std::min(count, kBlock);
    graphs::fill_normal({values, static_cast<size_t>(first)}, seed);
    for (int64_t at = first; at < count; at += first) std::copy_n(values, std::min(first, count - at), values + at);
  }

  void poison(float* values, int64_t count) const override {
    std::memset(values, 0xFF, static_cast<size_t>(count) * sizeof(float));
  }

  void round(float* values, void* halves, DType type, int64_t count) const override {
    const TensorType floats{DType::kFloat32, {count}};
    convert({floats, values, {}}, {{type, {count}}, halves, {}});
    convert({{type, {count}}, halves, {}}, {floats, values, {}});
  }

  double time(const std::function<void(int64_t)>& body, int64_t rotations, int repeats) const override {
    const double once = time_bodies(body, 1);
    const auto precise = static_cast<int64_t>(kPreciseMs / std::max(once, 1e-6));
    const int64_t count = std::clamp<int64_t>(precise, 1, std::max<int64_t>(rotations, 1000));
    std::vector<double> times;
    for (int i = 0; i < repeats; ++i) times.push_back(time_bodies(body, count) / static_cast<double>(count));
    return percentile(times, 50);
  }

  std::vector<CheckedOutput> check(const ConvSizes& sizes, const float* x, const float* w, const float* bias,
                                   const void* y, DType y_type, std::span<const int64_t> indices) const override {
    std::vector<CheckedOutput> outputs;
    for (const int64_t index : indices) {
      CheckedOutput& output = outputs.emplace_back(CheckedOutput{exact_output(sizes, x, w, bias, index), 0});
      const std::byte* at = static_cast<const std::byte*>(y) + index * size_of(y_type);
      convert({{y_type, {1}}, const_cast<std::byte*>(at), {}}, {{DType::kFloat32, {1}}, &output.found, {}});
    }
    return outputs;
  }

  Peaks measure_peaks(int repeats) const override { return {measure_copy(repeats), 0, 0}; }

  double measure_copy(int repeats) const override {
    const Buffer source(Device{}, kCopyBytes);
    const Buffer target(Device{}, kCopyBytes);
    std::memset(source.data(), 1, static_cast<size_t>(kCopyBytes));
    const double ms = time(
        [&](int64_t) {
          context_.parallel_for(kCopyBytes, 1 << 20, [&](int64_t begin, int64_t end) {
            std::memcpy(target.data() + begin, source.data() + begin, static_cast<size_t>(end - begin));
          });
        },
        1, repeats);
    return 2 * static_cast<double>(kCopyBytes) / (ms / 1e3);
  }

 private:
  static double time_bodies(const std::function<void(int64_t)>& body, int64_t count) {
    const auto start = Clock::now();
    for (int64_t i = 0; i < count; ++i) body(i);
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  }

  Context context_;
};

}  // namespace

std::unique_ptr<BenchDevice> make_bench_device(Device device, int threads) {
  if (device.is_cuda()) return make_cuda_bench_device(device);
  return std::make_unique<CpuBenchDevice>(threads);
}

}  // namespace strand::tools
