#pragma once
// Times that something else measured on the same cases (PyTorch, by the scripts in tools/bench): a CSV file whose first
// row has the columns' titles, whose first column has the cases' names, and whose other cells are milliseconds or
// empty. Plain values.

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace strand::tools {

struct OtherTimes {
  std::vector<std::string> titles;                                              // of the columns of times
  std::map<std::string, std::vector<std::optional<double>>, std::less<>> rows;  // milliseconds by case, as the titles

  // Nothing where the case or its cell is missing.
  std::optional<double> find(const std::string& name, size_t column) const;
};

// Error(kParse) with file and line for a row that is not as above. No times for an empty path.
OtherTimes read_times(const std::filesystem::path& path);

}  // namespace strand::tools
