#pragma once
// The malformed files that make_bad_inputs.py writes, and what manifest.tsv says that each must lead to. Tests only; a
// folder or a table that is missing fails the test case that asks.

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/error.h"

#ifndef STRAND_BAD_INPUTS
#define STRAND_BAD_INPUTS ""
#endif
#ifndef STRAND_SOURCE_DIR
#define STRAND_SOURCE_DIR "."
#endif

namespace strand::testing {

struct BadInput {
  std::string file;
  std::string category;  // as to_string(ErrorCategory), or "OK"
  std::string text;      // that the message must hold; may be empty
};

// The folder with the files: STRAND_BAD_INPUTS from the environment, or the one that the build has made.
inline std::filesystem::path bad_inputs_folder() {
  const char* given = std::getenv("STRAND_BAD_INPUTS");
  return given != nullptr ? given : STRAND_BAD_INPUTS;
}

// The rows whose file begins with `prefix` ("st_", "npy_", "npz_", "y_").
inline std::vector<BadInput> bad_inputs(std::string_view prefix) {
  std::ifstream table(std::filesystem::path(STRAND_SOURCE_DIR) / "tests/bad/manifest.tsv");
  std::vector<BadInput> rows;
  for (std::string line; std::getline(table, line);) {
    const size_t first = line.find('\t');
    const size_t second = first == std::string::npos ? first : line.find('\t', first + 1);
    if (!line.starts_with(prefix) || second == std::string::npos) continue;
    rows.push_back({line.substr(0, first), line.substr(first + 1, second - first - 1), line.substr(second + 1)});
  }
  REQUIRE_MESSAGE(!rows.empty(), "tests/bad/manifest.tsv has no row that begins with " << prefix);
  return rows;
}

// Reads one file and holds the outcome against its row; the message must name the file.
inline void check_bad_input(const BadInput& row, const std::filesystem::path& path,
                            const std::function<void(const std::filesystem::path&)>& read) {
  CAPTURE(path);
  REQUIRE(std::filesystem::is_regular_file(path));
  std::string category = "OK";
  std::string message;
  try {
    read(path);
  } catch (const Error& error) {
    category = to_string(error.category());
    message = error.what();
  }
  CAPTURE(message);
  CHECK(category == row.category);
  if (category == "OK") return;
  CHECK(message.find(row.text) != std::string::npos);
  CHECK(message.find(row.file) != std::string::npos);
}

// Every row of `prefix`, on the files that the build has made.
inline void check_bad_inputs(std::string_view prefix, const std::function<void(const std::filesystem::path&)>& read) {
  for (const BadInput& row : bad_inputs(prefix)) check_bad_input(row, bad_inputs_folder() / row.file, read);
}

// The same rows on a second set of such files, where there is one: STRAND_DATA/bad, else ../shared/data/bad. Files
// there that the table does not know must be refused too.
inline void check_shared_bad_inputs(std::string_view prefix,
                                    const std::function<void(const std::filesystem::path&)>& read) {
  const char* given = std::getenv("STRAND_DATA");
  const std::filesystem::path data = given != nullptr ? given : STRAND_SOURCE_DIR "/../shared/data";
  if (!std::filesystem::is_directory(data / "bad")) {
    std::printf("SKIPPED: no folder bad in STRAND_DATA (%s*)\n", std::string(prefix).c_str());
    return;
  }
  const std::vector<BadInput> rows = bad_inputs(prefix);
  for (const auto& entry : std::filesystem::directory_iterator(data / "bad")) {
    const std::string file = entry.path().filename().string();
    if (!file.starts_with(prefix)) continue;
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const BadInput& r) { return r.file == file; });
    if (row != rows.end()) {
      check_bad_input(*row, entry.path(), read);
    } else {
      CAPTURE(file);
      CHECK_THROWS_AS(read(entry.path()), Error);
    }
  }
}

}  // namespace strand::testing
