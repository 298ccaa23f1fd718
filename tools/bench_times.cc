#include "tools/bench_times.h"

#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <sstream>

#include "engine/error.h"
#include "graphs/io/file.h"
#include "tools/table.h"

namespace strand::tools {
namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 20;

std::optional<double> parse_ms(const std::string& cell) {
  if (cell.empty()) return std::nullopt;
  double value = 0;
  const auto [end, status] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (status != std::errc() || end != cell.data() + cell.size() || !std::isfinite(value) || value <= 0) {
    throw Error(ErrorCategory::kParse, "expected milliseconds, found '" + cell + "'");
  }
  return value;
}

}  // namespace

std::optional<double> OtherTimes::find(const std::string& name, size_t column) const {
  const auto row = rows.find(name);
  return row == rows.end() ? std::nullopt : row->second[column];
}

OtherTimes read_times(const std::filesystem::path& path) {
  OtherTimes times;
  if (path.empty()) return times;
  std::istringstream text(read_file(path, kMaxBytes));
  int number = 0;
  for (std::string line; std::getline(text, line);) {
    ++number;
    if (line.ends_with('\r')) line.pop_back();
    const std::vector<std::string> cells = split(line, ',');
    try {
      if (number == 1) {
        if (cells.size() < 2 || cells[0] != "name") {
          throw Error(ErrorCategory::kParse, "expected a first row of titles that begins with 'name'");
        }
        times.titles.assign(cells.begin() + 1, cells.end());
        continue;
      }
      if (cells.size() != times.titles.size() + 1) {
        throw Error(ErrorCategory::kParse,
                    fmt::format("has {} cells, expected {}", cells.size(), times.titles.size() + 1));
      }
      std::vector<std::optional<double>>& row = times.rows[cells[0]];
      row.clear();
      for (size_t i = 1; i < cells.size(); ++i) row.push_back(parse_ms(cells[i]));
    } catch (const Error& error) {
      throw error.at(fmt::format("{}:{}", path.string(), number));
    }
  }
  return times;
}

}  // namespace strand::tools
