// Problems that grow from small to large along one size, each with a slightly larger one behind it, for
// `strand bench --conv1d --sweep`.

#include <fmt/core.h>

#include "tools/bench_cases.h"

namespace strand::tools {
namespace {

constexpr ConvSizes kBase{8, 64, 128, 16384, 3, 1, 1, 0, 1};

struct Axis {
  const char* name;
  int64_t ConvSizes::*size;
  int64_t first;
  int64_t last;
};

constexpr Axis kAxes[] = {{"L", &ConvSizes::length, 256, int64_t{1} << 20},
                          {"Cin", &ConvSizes::in_channels, 1, 1024},
                          {"K", &ConvSizes::kernel_size, 1, 256},
                          {"d", &ConvSizes::dilation, 1, 4096}};

ConvCase case_of(const Axis& axis, int64_t value) {
  ConvCase result{fmt::format("{}={}", axis.name, value), kBase, {}, {}};
  result.sizes.*axis.size = value;
  // Rows stay as long as they are, whatever the kernel's extent.
  if (axis.size != &ConvSizes::length) result.sizes.length += result.sizes.dilation * (result.sizes.kernel_size - 1);
  return result;
}

}  // namespace

std::vector<ConvCase> sweep_cases(double most) {
  std::vector<ConvCase> cases;
  for (const Axis& axis : kAxes) {
    for (int64_t value = axis.first; value <= axis.last; value *= 2) {
      const ConvCase larger = case_of(axis, value + (value + 99) / 100);
      if (most > 0 && static_cast<double>(larger.sizes.multiply_adds()) > most) break;
      cases.push_back(case_of(axis, value));
      cases.push_back(larger);
    }
  }
  return cases;
}

}  // namespace strand::tools
