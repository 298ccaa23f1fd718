#include "graphs/scalar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <limits>
#include <string>
#include <system_error>

#include "engine/error.h"
#include "graphs/io/utf8.h"

namespace strand::graphs {
namespace {

template <size_t N>
bool is_one_of(std::string_view text, const std::array<std::string_view, N>& words) {
  return std::ranges::find(words, text) != words.end();
}

constexpr std::array<std::string_view, 5> kNull = {"", "~", "null", "Null", "NULL"};
constexpr std::array<std::string_view, 3> kTrue = {"true", "True", "TRUE"};
constexpr std::array<std::string_view, 3> kFalse = {"false", "False", "FALSE"};
constexpr std::array<std::string_view, 3> kInfinity = {".inf", ".Inf", ".INF"};
constexpr std::array<std::string_view, 3> kNan = {".nan", ".NaN", ".NAN"};

// How many digits `text` begins with.
size_t digits(std::string_view text) {
  return static_cast<size_t>(std::ranges::find_if_not(text, is_digit) - text.begin());
}

// 0|[1-9][0-9]*
bool is_integer(std::string_view text) {
  return !text.empty() && digits(text) == text.size() && (text == "0" || text.front() != '0');
}

// Digits with a point, an exponent or both; at least one digit before the exponent.
bool is_number(std::string_view text) {
  const size_t whole = digits(text);
  text.remove_prefix(whole);
  size_t fraction = 0;
  bool marked = false;
  if (text.starts_with('.')) {
    marked = true;
    fraction = digits(text.substr(1));
    text.remove_prefix(1 + fraction);
  }
  if (whole + fraction == 0) return false;
  if (text.starts_with('e') || text.starts_with('E')) {
    marked = true;
    text.remove_prefix(1);
    if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
    if (text.empty()) return false;
    text.remove_prefix(digits(text));
  }
  return marked && text.empty();
}

// `text` without a leading plus, which from_chars does not take.
template <typename T>
T convert(std::string_view text, std::string_view range) {
  const std::string_view unsigned_plus = text.starts_with('+') ? text.substr(1) : text;
  T value{};
  const auto [end, error] = std::from_chars(unsigned_plus.data(), unsigned_plus.data() + unsigned_plus.size(), value);
  if (error == std::errc()) return value;
  throw Error(ErrorCategory::kSchema, in_quotes(text) + " is out of the range of " + std::string(range));
}

}  // namespace

layers::AttributeValue parse_scalar(std::string_view text) {
  if (is_one_of(text, kNull)) return layers::Null{};
  if (is_one_of(text, kTrue)) return true;
  if (is_one_of(text, kFalse)) return false;
  const bool sign = text.starts_with('-') || text.starts_with('+');
  const std::string_view magnitude = text.substr(sign ? 1 : 0);
  if (is_integer(magnitude)) return convert<int64_t>(text, "64-bit integers");
  if (is_number(magnitude)) return convert<double>(text, "double precision");
  if (is_one_of(magnitude, kInfinity)) {
    constexpr double kInf = std::numeric_limits<double>::infinity();
    return text.front() == '-' ? -kInf : kInf;
  }
  if (is_one_of(text, kNan)) return std::numeric_limits<double>::quiet_NaN();
  return std::string(text);
}

bool is_identifier(std::string_view text) {
  return !text.empty() && !is_digit(text.front()) && std::ranges::all_of(text, is_word);
}

}  // namespace strand::graphs
