#pragma once
// The least and the greatest of values that arrive piece by piece, for people. A plain value.

#include <cmath>
#include <cstdint>
#include <string>

#include "engine/tensor.h"

namespace strand::tools {

class ValueRange {
 public:
  void add(const TensorView& values);  // on the host; types other than floating point leave no trace
  std::string text() const;            // "-0.25 to 0.93", and how many are not finite; "-" where there were none

 private:
  double lowest_ = INFINITY;
  double highest_ = -INFINITY;
  int64_t odd_ = 0;  // not finite
};

}  // namespace strand::tools
