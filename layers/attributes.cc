#include "layers/attributes.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <utility>

#include "engine/error.h"

namespace strand::layers {
namespace {

std::string format(int64_t value) { return std::to_string(value); }

std::string format(double value) {
  if (std::isnan(value)) return ".nan";
  if (std::isinf(value)) return value < 0 ? "-.inf" : ".inf";
  std::array<char, 32> digits{};
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  std::string text(digits.data(), end);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

// Text that reads back as a string without quotes.
bool is_plain(const std::string& text) {
  constexpr std::array<std::string_view, 8> kOther = {"true",  "True",  "TRUE", "false",
                                                      "False", "FALSE", "null", "Null"};
  return !text.empty() && is_letter(text.front()) &&
         std::ranges::all_of(text,
                             [](char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '-'; }) &&
         std::ranges::find(kOther, text) == kOther.end() && text != "NULL";
}

std::string format(const std::string& text) {
  if (is_plain(text)) return text;
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      result += "\\x";
      result += kHex[byte >> 4];
      result += kHex[byte & 15];
      continue;
    }
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + "\"";
}

template <typename T>
std::string format(const std::vector<T>& list) {
  std::string text = "[";
  for (const T& item : list) {
    if (text.size() > 1) text += ", ";
    text += format(item);
  }
  return text + "]";
}

Error wrong_value(std::string_view name, const AttributeValue& value, const std::string& expected) {
  return {ErrorCategory::kSchema, std::string(name) + " is " + to_string(value) + ", expected " + expected};
}

template <typename T>
const T& get(const Attributes& attributes, std::string_view name, FieldKind kind) {
  const AttributeValue& value = attributes.value(name);
  if (const T* wanted = std::get_if<T>(&value)) return *wanted;
  throw mistyped(name, value, kind);
}

}  // namespace

std::string to_string(const AttributeValue& value) {
  if (std::holds_alternative<Null>(value)) return "null";
  if (const bool* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* integer = std::get_if<int64_t>(&value)) return format(*integer);
  if (const auto* number = std::get_if<double>(&value)) return format(*number);
  if (const auto* text = std::get_if<std::string>(&value)) return format(*text);
  if (const auto* integers = std::get_if<std::vector<int64_t>>(&value)) return format(*integers);
  return format(std::get<std::vector<double>>(value));
}

std::string describe(const AttributeValue& value) {
  constexpr std::array<std::string_view, 7> kNames = {"null",     "a boolean",          "an integer",       "a number",
                                                      "a string", "a list of integers", "a list of numbers"};
  constexpr size_t kLongest = 80;
  if (std::holds_alternative<Null>(value)) return "null";
  std::string text = std::holds_alternative<std::string>(value) && is_plain(std::get<std::string>(value))
                         ? '"' + std::get<std::string>(value) + '"'
                         : to_string(value);
  if (text.size() > kLongest) {
    size_t end = kLongest;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // not inside a code point
    text = text.substr(0, end) + "...";
  }
  return text + " (" + std::string(kNames.at(value.index())) + ")";
}

const AttributeValue& Attributes::value(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) throw Error(ErrorCategory::kSchema, "missing field '" + std::string(name) + "'");
  return found->second;
}

int64_t Attributes::integer(std::string_view name) const { return get<int64_t>(*this, name, kInteger); }

int64_t Attributes::positive(std::string_view name) const {
  const int64_t result = integer(name);
  if (result < 1) throw wrong_value(name, result, "at least 1");
  return result;
}

int64_t Attributes::non_negative(std::string_view name) const {
  const int64_t result = integer(name);
  if (result < 0) throw wrong_value(name, result, "at least 0");
  return result;
}

double Attributes::number(std::string_view name) const {
  if (const auto* integer = std::get_if<int64_t>(&value(name))) return static_cast<double>(*integer);
  return get<double>(*this, name, kNumber);
}

bool Attributes::boolean(std::string_view name) const { return get<bool>(*this, name, kBoolean); }

const std::string& Attributes::string(std::string_view name) const { return get<std::string>(*this, name, kString); }

std::vector<int64_t> Attributes::integers(std::string_view name) const {
  if (const auto* integer = std::get_if<int64_t>(&value(name))) return {*integer};
  return get<std::vector<int64_t>>(*this, name, kIntegers);
}

std::string describe_kinds(unsigned kinds) {
  constexpr std::array<std::pair<FieldKind, std::string_view>, 7> kNames = {{{kInteger, "integer"},
                                                                             {kNumber, "number"},
                                                                             {kBoolean, "boolean"},
                                                                             {kString, "string"},
                                                                             {kIntegers, "list of integers"},
                                                                             {kNumbers, "list of numbers"},
                                                                             {kNull, "null"}}};
  if ((kinds & kNumber) != 0) kinds &= ~unsigned{kInteger};
  if ((kinds & kNumbers) != 0) kinds &= ~unsigned{kIntegers};
  std::string text;
  for (const auto& [kind, name] : kNames) {
    if ((kinds & kind) == 0) continue;
    if (!text.empty()) text += " or ";
    text += name;
  }
  return text;
}

bool matches(const AttributeValue& value, unsigned kinds) {
  const auto takes = [kinds](unsigned kind) { return (kinds & kind) != 0; };
  if (std::holds_alternative<Null>(value)) return takes(kNull);
  if (std::holds_alternative<bool>(value)) return takes(kBoolean);
  if (std::holds_alternative<int64_t>(value)) return takes(kInteger | kNumber);
  if (std::holds_alternative<double>(value)) return takes(kNumber);
  if (std::holds_alternative<std::string>(value)) return takes(kString);
  if (std::holds_alternative<std::vector<int64_t>>(value)) return takes(kIntegers | kNumbers);
  return takes(kNumbers);
}

Error mistyped(std::string_view name, const AttributeValue& value, unsigned kinds) {
  const std::string expected = describe_kinds(kinds);
  std::string message = std::string(name) + " is " + describe(value) + ", expected " +
                        (expected.front() == 'i' ? "an " : "a ") + expected;
  const auto* text = std::get_if<std::string>(&value);
  const bool digits = text != nullptr && !text->empty() && text->front() >= '0' && text->front() <= '9';
  if (digits && matches(int64_t{0}, kinds)) message += " (decimal, without quotes, leading zeros or other bases)";
  return {ErrorCategory::kSchema, message};
}

}  // namespace strand::layers
