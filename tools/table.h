#pragma once
// Text tables with aligned columns, numbers as people read them, and cells of text. Plain values.

#include <cstdint>
#include <string>
#include <vector>

namespace strand::tools {

enum class Align : uint8_t { kLeft, kRight };

struct Column {
  std::string title;
  Align align = Align::kRight;
  size_t width = 0;  // at least; grows with what is added
};

class Table {
 public:
  explicit Table(std::vector<Column> columns);

  // A cell a column; missing ones are empty.
  void add(std::vector<std::string> row);
  void add_rule();
  size_t rows() const { return rows_.size(); }
  std::string text() const;

  // For tables that are printed row by row: as wide as the columns ask for.
  std::string header() const;
  std::string line(const std::vector<std::string>& row) const;

 private:
  std::string rule() const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;  // an empty one is a rule
};

// As many parts as separators, and one; they may be empty.
std::vector<std::string> split(const std::string& text, char separator);

std::string format_count(int64_t count);                       // "12,345,678"
std::string format_bytes(int64_t bytes);                       // "1.50 GB" (10^9)
std::string format_rate(double per_second, const char* unit);  // "3.41 TB/s" for unit "B/s"
std::string format_ms(double milliseconds);                    // "0.1234 ms"

}  // namespace strand::tools
