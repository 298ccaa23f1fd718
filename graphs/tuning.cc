#include "graphs/tuning.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <sstream>
#include <vector>

#include "engine/error.h"
#include "graphs/io/file.h"

namespace strand::graphs {
namespace {

constexpr const char* kHead = "strand tuning 1";
constexpr int64_t kMaxBytes = int64_t{16} << 20;

struct Row {
  std::string device;
  std::string version;
  std::string problem;
  std::string implementation;
  double milliseconds = 0;
};

// On one line, and one cell.
std::string model_of(Device device) {
  std::string name = processor_name(device);
  std::ranges::replace_if(
      name, [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
  return name;
}

Row parse_row(const std::string& line) {
  std::array<std::string, 5> cells;
  size_t count = 0;
  std::istringstream stream(line);
  for (std::string cell; std::getline(stream, cell, '\t'); ++count) {
    if (count < cells.size()) cells[count] = cell;
  }
  const std::string& number = cells[4];
  Row row{cells[0], cells[1], cells[2], cells[3], 0};
  const auto [end, status] = std::from_chars(number.data(), number.data() + number.size(), row.milliseconds);
  const bool is_time = status == std::errc() && end == number.data() + number.size() &&
                       std::isfinite(row.milliseconds) && row.milliseconds > 0;
  if (count != cells.size() || std::ranges::count(cells, std::string()) > 0 || !is_time) {
    throw Error(ErrorCategory::kParse, "expected device, version, problem, implementation and milliseconds");
  }
  return row;
}

std::vector<Row> read_rows(const std::filesystem::path& path) {
  std::istringstream text(read_file(path, kMaxBytes));
  std::vector<Row> rows;
  int number = 0;
  for (std::string line; std::getline(text, line);) {
    ++number;
    try {
      if (number > 1) {
        rows.push_back(parse_row(line));
      } else if (line != kHead) {
        throw Error(ErrorCategory::kParse, std::string("expected '") + kHead + "'");
      }
    } catch (const Error& error) {
      throw error.at(path.string() + ":" + std::to_string(number));
    }
  }
  if (number == 0) throw Error(ErrorCategory::kParse, path.string() + ": is empty");
  return rows;
}

}  // namespace

std::filesystem::path default_tuning_path() {
  const auto from = [](const char* variable) {
    const char* value = std::getenv(variable);
    return std::filesystem::path(value == nullptr ? "" : value);
  };
  std::filesystem::path folder = from("XDG_CACHE_HOME");
  // The specification: a relative path is invalid.
  if (!folder.is_absolute()) folder = from("HOME").is_absolute() ? from("HOME") / ".cache" : "";
  return folder.empty() ? folder : folder / "strand" / "tuning.txt";
}

TuningFile read_tuning(const std::filesystem::path& path, Device device) {
  TuningFile file;
  std::error_code ignored;
  file.found = !path.empty() && std::filesystem::exists(path, ignored);
  if (!file.found) {
    file.note = path.string() + ": there is no such file";
    return file;
  }
  try {
    const std::string model = model_of(device);
    const std::vector<Row> rows = read_rows(path);
    for (const Row& row : rows) {
      if (row.device != model || row.version != STRAND_VERSION) continue;
      file.tuning.picks[row.problem] = row.implementation;
      file.tuning.milliseconds[row.problem] = row.milliseconds;
    }
    if (!rows.empty() && file.tuning.picks.empty()) {
      file.note = path.string() + ": has nothing for " + model + " and strand " + STRAND_VERSION + ", but for " +
                  rows[0].device + " and strand " + rows[0].version + "; strand tune measures again";
    }
  } catch (const Error& error) {
    file.tuning = {};
    file.note = std::string("the tuning cache is ignored: ") + error.what();
  }
  return file;
}

void write_tuning(const std::filesystem::path& path, Device device, const Tuning& tuning) {
  const std::string model = model_of(device);
  Tuning all = read_tuning(path, device).tuning;
  for (const auto& [problem, implementation] : tuning.picks) all.picks[problem] = implementation;
  for (const auto& [problem, milliseconds] : tuning.milliseconds) all.milliseconds[problem] = milliseconds;
  std::ostringstream text;
  text << kHead << '\n';
  const auto add = [&](const Row& row) {
    text << row.device << '\t' << row.version << '\t' << row.problem << '\t' << row.implementation << '\t'
         << row.milliseconds << '\n';
  };
  try {
    for (const Row& row : read_rows(path)) {
      if (row.device != model) add(row);
    }
  } catch (const Error&) {  // read_tuning() said so
  }
  for (const auto& [problem, implementation] : all.picks) {
    add({model, STRAND_VERSION, problem, implementation, all.milliseconds[problem]});
  }
  std::error_code failed;  // shows when the file is opened
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), failed);
  OutputFile file(path);
  file.write(text.str());
  file.commit();
}

}  // namespace strand::graphs
