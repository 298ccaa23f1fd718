#include "graphs/expression.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "engine/error.h"
#include "graphs/io/utf8.h"
#include "graphs/scalar.h"
#include "layers/registry.h"

namespace strand::graphs {
namespace {

using layers::AttributeValue;

constexpr int kDeepest = 64;  // parentheses; the parser recurses
constexpr std::string_view kIndex = "index";

Error error(const std::string& message) { return {ErrorCategory::kSchema, message}; }

// The identifier that `text` begins with; empty where it begins with none.
std::string_view leading_identifier(std::string_view text) {
  if (text.empty() || is_digit(text.front())) return {};
  return text.substr(0, static_cast<size_t>(std::ranges::find_if_not(text, is_word) - text.begin()));
}

// A recursive-descent parser that computes as it reads.
class Arithmetic {
 public:
  Arithmetic(std::string_view text, const Parameters& parameters)
      : whole_(text), rest_(text), parameters_(parameters) {}

  int64_t whole() {
    const int64_t value = sum(0);
    if (!rest_.empty()) throw fail("unexpected " + in_quotes(rest_.substr(0, 1)));
    return value;
  }

  // A parenthesised part at the front; `rest` becomes what follows it.
  int64_t parenthesised(std::string_view& rest) {
    const int64_t value = primary(0);
    rest = rest_;
    return value;
  }

 private:
  Error fail(const std::string& why) const { return error("expression " + in_quotes(whole_) + ": " + why); }

  void skip_spaces() {
    while (rest_.starts_with(' ')) rest_.remove_prefix(1);
  }

  bool take(std::string_view token) {
    skip_spaces();
    if (!rest_.starts_with(token)) return false;
    rest_.remove_prefix(token.size());
    return true;
  }

  int64_t sum(int depth) {
    int64_t left = product(depth);
    for (;;) {
      if (take("+")) {
        left = added(left, product(depth));
      } else if (take("-")) {
        left = subtracted(left, product(depth));
      } else {
        skip_spaces();
        return left;
      }
    }
  }

  int64_t product(int depth) {
    int64_t left = signed_primary(depth);
    for (;;) {
      if (take("*")) {
        left = multiplied(left, signed_primary(depth));
      } else if (take("//")) {
        left = divided(left, signed_primary(depth));
      } else if (take("%")) {
        left = remainder(left, signed_primary(depth));
      } else if (take("/")) {
        throw fail("'/' is not an operator; '//' divides and rounds down");
      } else {
        return left;
      }
    }
  }

  int64_t signed_primary(int depth) {
    bool negative = false;
    while (take("-")) negative = !negative;
    const int64_t value = primary(depth);
    return negative ? subtracted(0, value) : value;
  }

  int64_t primary(int depth) {
    if (depth >= kDeepest) throw fail("more than " + std::to_string(kDeepest) + " nested parentheses");
    if (take("(") || take("$(")) {
      const int64_t value = sum(depth + 1);
      if (!take(")")) throw fail("a ')' is missing");
      return value;
    }
    if (take("$")) return parameter();
    const auto end = std::ranges::find_if_not(rest_, is_word);
    const std::string_view word = rest_.substr(0, static_cast<size_t>(end - rest_.begin()));
    if (word.empty()) throw fail("expected an integer, a $name or '('");
    rest_.remove_prefix(word.size());
    const AttributeValue value = parse_scalar(word);
    if (const auto* integer = std::get_if<int64_t>(&value)) return *integer;
    throw fail(in_quotes(word) + " is not a decimal integer");
  }

  int64_t parameter() {
    const std::string_view name = leading_identifier(rest_);
    if (name.empty()) throw fail("a name must follow '$'");
    rest_.remove_prefix(name.size());
    const AttributeValue& value = parameters_.get(name);
    if (const auto* integer = std::get_if<int64_t>(&value)) return *integer;
    throw fail("$" + std::string(name) + " is " + layers::describe(value) + ", and arithmetic takes integers");
  }

  int64_t checked(bool overflow, int64_t result) const {
    if (overflow) throw fail("the result does not fit 64 bits");
    return result;
  }
  int64_t added(int64_t a, int64_t b) const {
    int64_t result = 0;
    const bool overflow = __builtin_add_overflow(a, b, &result);
    return checked(overflow, result);
  }
  int64_t subtracted(int64_t a, int64_t b) const {
    int64_t result = 0;
    const bool overflow = __builtin_sub_overflow(a, b, &result);
    return checked(overflow, result);
  }
  int64_t multiplied(int64_t a, int64_t b) const {
    int64_t result = 0;
    const bool overflow = __builtin_mul_overflow(a, b, &result);
    return checked(overflow, result);
  }
  int64_t divided(int64_t a, int64_t b) const {
    if (b == 0) throw fail("division by zero");
    if (b == -1) return subtracted(0, a);
    return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
  }
  int64_t remainder(int64_t a, int64_t b) const {
    if (b == 0) throw fail("division by zero");
    if (b == -1) return 0;  // the processor's division traps on the least integer
    const int64_t result = a % b;
    return result != 0 && (result < 0) != (b < 0) ? result + b : result;
  }

  std::string_view whole_;
  std::string_view rest_;
  const Parameters& parameters_;
};

// Only $names, words that begin with a digit, operators, parentheses and spaces.
bool is_arithmetic(std::string_view text) {
  while (!text.empty()) {
    const char c = text.front();
    text.remove_prefix(1);
    if (c == '$') {
      const size_t name = leading_identifier(text).size();
      if (name == 0 && !text.starts_with('(')) return false;
      text.remove_prefix(name);
    } else if (is_digit(c)) {
      text.remove_prefix(static_cast<size_t>(std::ranges::find_if_not(text, is_word) - text.begin()));
    } else if (std::string_view("+-*/%() ").find(c) == std::string_view::npos) {
      return false;
    }
  }
  return true;
}

std::string as_text(std::string_view name, const AttributeValue& value) {
  if (const auto* integer = std::get_if<int64_t>(&value)) return std::to_string(*integer);
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  throw error("$" + std::string(name) + " is " + layers::describe(value) +
              ", and only strings and integers can be part of a text");
}

}  // namespace

const AttributeValue* Parameters::find(std::string_view name) const {
  for (const Parameters* level = this; level != nullptr; level = level->around_) {
    const auto found = level->values_.find(name);
    if (found != level->values_.end()) return &found->second;
  }
  return nullptr;
}

const AttributeValue& Parameters::get(std::string_view name) const {
  if (const AttributeValue* value = find(name)) return *value;
  const std::string message = "unknown parameter $" + std::string(name);
  if (name == kIndex) throw error(message + "; it counts repeats, and nothing repeats here");
  std::vector<std::string> names;
  for (const Parameters* level = this; level != nullptr; level = level->around_) {
    for (const auto& [known, value] : level->values_) names.push_back(known);
  }
  const std::string nearest = layers::nearest_name(name, names);
  if (!nearest.empty()) throw error(message + "; did you mean $" + nearest + "?");
  throw error(message + (names.empty() ? "; there are none here" : ""));
}

AttributeValue evaluate(std::string_view text, const Parameters& parameters) {
  if (text.find('$') == std::string_view::npos) return parse_scalar(text);
  const std::string_view name = leading_identifier(text.substr(1));
  if (text.front() == '$' && !name.empty() && name.size() + 1 == text.size()) return parameters.get(name);
  if (is_arithmetic(text)) return Arithmetic(text, parameters).whole();
  return interpolate(text, parameters);
}

std::string interpolate(std::string_view text, const Parameters& parameters) {
  const std::string_view whole = text;
  std::string result;
  for (size_t dollar = text.find('$'); dollar != std::string_view::npos; dollar = text.find('$')) {
    result += text.substr(0, dollar);
    text.remove_prefix(dollar + 1);
    if (text.starts_with('$')) {
      result += '$';
      text.remove_prefix(1);
    } else if (text.starts_with('(')) {
      result += std::to_string(Arithmetic(text, parameters).parenthesised(text));
    } else {
      const std::string_view name = leading_identifier(text);
      if (name.empty()) throw error(in_quotes(whole) + ": a name or '(' must follow '$'; '$$' is a dollar sign");
      result += as_text(name, parameters.get(name));
      text.remove_prefix(name.size());
    }
  }
  return result += text;
}

}  // namespace strand::graphs
