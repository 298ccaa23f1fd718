// Random Conv1d problems, for `strand bench --conv1d --random`.

#include <fmt/core.h>

#include <cmath>
#include <random>

#include "tools/bench_cases.h"

namespace strand::tools {
namespace {

// Of inputs and outputs, in elements, for one multiply-add of the bound: what a memory-bound problem may take.
constexpr double kElements = 1.0 / 256;
constexpr int64_t kLongestSum = 1 << 15;  // terms of an output: the check of one is a loop
constexpr int64_t kMaxStride = 16;
constexpr int64_t kMaxDilation = 4096;
constexpr int64_t kMaxKernel = 256;
constexpr int64_t kMaxChannels = 1024;
constexpr int64_t kMaxBatch = 64;
constexpr int64_t kMaxRow = int64_t{1} << 22;  // outputs
constexpr int64_t kFewestGroupChannels = 16;

class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}

  // The library's distributions differ from one to the next; its engines do not.
  double unit() { return static_cast<double>(random_() >> 11) * 0x1p-53; }
  bool chance(double share) { return unit() < share; }
  // 1 to `most`, each power of two as likely as the next.
  int64_t size(int64_t most) {
    return std::min(most, static_cast<int64_t>(std::exp2(unit() * std::log2(static_cast<double>(most) + 1))));
  }
  int64_t below(int64_t count) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(count)); }

 private:
  std::mt19937_64 random_;
};

void draw_channels(Draw& draw, ConvSizes& sizes) {
  sizes.in_channels = draw.size(kMaxChannels);
  sizes.out_channels = draw.size(kMaxChannels);
  const double kind = draw.unit();
  if (kind < 0.15) {  // depthwise, sometimes with a multiplier
    sizes.groups = sizes.in_channels;
    sizes.out_channels = sizes.in_channels * (draw.chance(0.3) ? 2 : 1);
  } else if (kind < 0.4) {
    sizes.groups = draw.size(kMaxChannels / kFewestGroupChannels);
    const int64_t most = kMaxChannels / sizes.groups - kFewestGroupChannels + 1;
    sizes.in_channels = sizes.groups * (kFewestGroupChannels - 1 + draw.size(most));
    sizes.out_channels = sizes.groups * (kFewestGroupChannels - 1 + draw.size(most));
  }
}

ConvSizes draw_sizes(Draw& draw) {
  ConvSizes sizes;
  draw_channels(draw, sizes);
  sizes.batch = draw.size(kMaxBatch);
  sizes.kernel_size = draw.size(kMaxKernel);
  sizes.stride = draw.chance(0.5) ? 1 : draw.size(kMaxStride);
  sizes.dilation = draw.chance(0.4) ? 1 : draw.size(kMaxDilation);
  const int64_t extent = sizes.dilation * (sizes.kernel_size - 1) + 1;
  if (draw.chance(0.5)) sizes.padding = draw.below(extent / 2 + 1);
  const int64_t row = draw.size(kMaxRow);
  // What remains of the last stride is never read.
  sizes.length = (row - 1) * sizes.stride + extent - 2 * sizes.padding + draw.below(sizes.stride);
  return sizes;
}

bool is_within(const ConvSizes& sizes, double most) {
  return sizes.length >= 1 && static_cast<double>(sizes.multiply_adds()) <= most &&
         static_cast<double>(sizes.inputs() + sizes.outputs()) <= most * kElements &&
         sizes.in_channels / sizes.groups * sizes.kernel_size <= kLongestSum;
}

}  // namespace

std::vector<ConvCase> random_cases(int count, uint64_t seed, double most) {
  Draw draw(seed);
  std::vector<ConvCase> cases;
  while (cases.size() < static_cast<size_t>(count)) {
    const ConvSizes sizes = draw_sizes(draw);
    if (is_within(sizes, most)) cases.push_back({fmt::format("random{}", cases.size()), sizes, {}, {}});
  }
  return cases;
}

}  // namespace strand::tools
