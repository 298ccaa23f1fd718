#include "tools/value_range.h"

#include <fmt/core.h>

#include <algorithm>

namespace strand::tools {

void ValueRange::add(const TensorView& values) {
  if (!is_floating_point(values.type.dtype)) return;
  const auto take = [this](auto elements) {
    for (const double value : elements) {
      if (!std::isfinite(value)) {
        ++odd_;
        continue;
      }
      lowest_ = std::min(lowest_, value);
      highest_ = std::max(highest_, value);
    }
  };
  if (values.type.dtype == DType::kFloat32) {
    take(values.as<const float>());
  } else {
    const Tensor copy = copy_of(values).to(DType::kFloat64);
    take(copy.as<const double>());
  }
}

std::string ValueRange::text() const {
  if (lowest_ > highest_ && odd_ == 0) return "-";
  std::string text = lowest_ <= highest_ ? fmt::format("{:.6g} to {:.6g}", lowest_, highest_) : "nothing finite";
  if (odd_ > 0) text += fmt::format(", {} not finite", odd_);
  return text;
}

}  // namespace strand::tools
