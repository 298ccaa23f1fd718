#pragma once
// Whether a test may use a CUDA device. A test case that can't says SKIPPED, once, and is counted; with
// STRAND_REQUIRE_CUDA=1 in the environment it fails instead.

#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>

#include "engine/cuda_runtime.h"

namespace strand::testing {

inline bool cuda_available() {
  if (cuda::device_count() > 0) return true;
  static std::set<std::string> skipped;
  const std::string name = doctest::getContextOptions()->currentTest->m_name;
  if (!skipped.insert(name).second) return false;
  const char* required = std::getenv("STRAND_REQUIRE_CUDA");
  if (required != nullptr && std::string(required) == "1") {
    FAIL_CHECK("STRAND_REQUIRE_CUDA=1, but no CUDA device: " << cuda::why_no_device());
  }
  std::printf("SKIPPED: no CUDA device for '%s' (%zu skipped): %s\n", name.c_str(), skipped.size(),
              cuda::why_no_device().c_str());
  return false;
}

}  // namespace strand::testing
