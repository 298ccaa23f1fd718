#pragma once
// Files of the shared folder of models and vectors that nobody here wrote (its INDEX.md), found through STRAND_DATA. A
// test case that finds none says SKIPPED.

#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace strand::testing {

inline std::optional<std::filesystem::path> shared_data(const std::string& folder) {
  const char* given = std::getenv("STRAND_DATA");
  std::filesystem::path path = std::filesystem::path(given != nullptr ? given : STRAND_DEFAULT_DATA) / folder;
  if (std::filesystem::is_directory(path)) return path;
  std::printf("SKIPPED: no %s for '%s'\n", path.string().c_str(), doctest::getContextOptions()->currentTest->m_name);
  return {};
}

}  // namespace strand::testing
