#include "tools/table.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace strand::tools {
namespace {

constexpr const char* kGap = "  ";

std::string scaled(double value, const char* unit) {
  constexpr std::array<const char*, 6> kPrefixes = {"", "k", "M", "G", "T", "P"};
  size_t prefix = 0;
  while (std::fabs(value) >= 999.5 && prefix + 1 < kPrefixes.size()) {
    value /= 1000;
    ++prefix;
  }
  const int decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f} {}{}", value, decimals, kPrefixes[prefix], unit);
}

}  // namespace

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {
  for (Column& column : columns_) column.width = std::max(column.width, column.title.size());
}

void Table::add(std::vector<std::string> row) {
  row.resize(columns_.size());
  for (size_t i = 0; i < row.size(); ++i) columns_[i].width = std::max(columns_[i].width, row[i].size());
  rows_.push_back(std::move(row));
}

void Table::add_rule() { rows_.emplace_back(); }

std::string Table::line(const std::vector<std::string>& row) const {
  std::string text;
  for (size_t i = 0; i < columns_.size(); ++i) {
    const std::string cell = i < row.size() ? row[i] : "";
    if (i > 0) text += kGap;
    text += columns_[i].align == Align::kLeft ? fmt::format("{:<{}}", cell, columns_[i].width)
                                              : fmt::format("{:>{}}", cell, columns_[i].width);
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

std::string Table::rule() const {
  size_t width = 2 * (columns_.size() - 1);
  for (const Column& column : columns_) width += column.width;
  return std::string(width, '-') + "\n";
}

std::string Table::header() const {
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  return line(titles) + rule();
}

std::string Table::text() const {
  std::string text = header();
  for (const std::vector<std::string>& row : rows_) text += row.empty() ? rule() : line(row);
  return text;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

std::string format_count(int64_t count) {
  std::string digits = std::to_string(count);
  const size_t first = digits.starts_with('-') ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

std::string format_bytes(int64_t bytes) {
  return bytes < 1000 ? fmt::format("{} B", bytes) : scaled(static_cast<double>(bytes), "B");
}

std::string format_rate(double per_second, const char* unit) {
  return std::isfinite(per_second) && per_second > 0 ? scaled(per_second, unit) : "-";
}

std::string format_ms(double milliseconds) {
  const int decimals = milliseconds < 1 ? 4 : milliseconds < 100 ? 3 : 1;
  return fmt::format("{:.{}f} ms", milliseconds, decimals);
}

}  // namespace strand::tools
