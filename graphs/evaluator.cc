#include "graphs/evaluator.h"

#include <algorithm>

#include "graphs/expand.h"
#include "graphs/io/utf8.h"
#include "graphs/scalar.h"

namespace strand::graphs {
namespace {

using layers::AttributeValue;

constexpr size_t kMostValues = 20'000'000;

size_t size_of(const AttributeValue& value) {
  if (const auto* integers = std::get_if<std::vector<int64_t>>(&value)) return 1 + integers->size();
  if (const auto* numbers = std::get_if<std::vector<double>>(&value)) return 1 + numbers->size();
  return 1;
}

// The items of a list, or nothing where the value is not a list.
std::vector<AttributeValue> items_of(const AttributeValue& value) {
  std::vector<AttributeValue> items;
  if (const auto* integers = std::get_if<std::vector<int64_t>>(&value))
    items.assign(integers->begin(), integers->end());
  if (const auto* numbers = std::get_if<std::vector<double>>(&value)) items.assign(numbers->begin(), numbers->end());
  return items;
}

}  // namespace

void Evaluator::spend(int line, size_t values) {
  spent_ += values;
  if (spent_ <= kMostValues) return;
  throw reader_.fail(line,
                     "more than " + std::to_string(kMostValues) + " values once blocks and repeats are written out",
                     ErrorCategory::kLimit);
}

AttributeValue Evaluator::value(const YamlNode& node, const Parameters& parameters) {
  if (node.is_map()) throw reader_.fail(node.line, "a map, expected a value or a list of numbers");
  if (node.is_list()) return list(node, parameters);
  AttributeValue result = reader_.placed(node.line, [&]() {
    return node.quoted ? AttributeValue(interpolate(node.text, parameters)) : evaluate(node.text, parameters);
  });
  const auto* words = std::get_if<std::string>(&result);
  if (words != nullptr && words->size() > kMostNameBytes) {
    throw reader_.fail(node.line, "text of more than " + std::to_string(kMostNameBytes) + " bytes",
                       ErrorCategory::kLimit);
  }
  spend(node.line, size_of(result));
  return result;
}

AttributeValue Evaluator::list(const YamlNode& node, const Parameters& parameters) {
  std::vector<int64_t> integers;
  std::vector<double> numbers;
  bool whole = true;
  for (const YamlNode& item : node.items) {
    const AttributeValue element = value(item, parameters);
    if (const auto* integer = std::get_if<int64_t>(&element)) {
      integers.push_back(*integer);
      numbers.push_back(static_cast<double>(*integer));
    } else if (const auto* number = std::get_if<double>(&element)) {
      whole = false;
      numbers.push_back(*number);
    } else {
      throw reader_.fail(item.line, layers::describe(element) + " in a list, expected integers or numbers");
    }
  }
  if (whole) return integers;
  return numbers;
}

std::string Evaluator::text(const YamlNode& node, const Parameters& parameters, std::string_view what) {
  if (!node.is_scalar() || node.is_null()) {
    throw reader_.fail(node.line, std::string(what) + " is " + std::string(describe(node)) + ", expected text");
  }
  spend(node.line, 1);
  std::string result = reader_.placed(node.line, [&]() { return interpolate(node.text, parameters); });
  if (result.size() <= kMostNameBytes) return result;
  throw reader_.fail(node.line, std::string(what) + " is longer than " + std::to_string(kMostNameBytes) + " bytes",
                     ErrorCategory::kLimit);
}

std::vector<std::string> Evaluator::implementations(const YamlNode& node, const Parameters& parameters) {
  std::vector<std::string> names;
  if (node.is_scalar()) {
    names.push_back(text(node, parameters, "implementation"));
  } else if (node.is_list()) {
    for (const YamlNode& item : node.items) names.push_back(text(item, parameters, "implementation"));
  } else {
    throw reader_.fail(node.line, "implementation is a map, expected a name or a list of names");
  }
  std::vector<std::string> devices;
  for (const std::string& name : names) {
    const size_t dot = name.find('.');
    if (dot == 0 || dot >= name.size() - 1) {
      throw reader_.fail(node.line, "implementation " + in_quotes(name) + ", expected DEVICE.NAME such as cuda.direct");
    }
    if (std::ranges::find(devices, name.substr(0, dot)) != devices.end()) {
      throw reader_.fail(node.line, "a second implementation for " + name.substr(0, dot) + ", " + in_quotes(name));
    }
    devices.push_back(name.substr(0, dot));
  }
  return names;
}

Repeats Evaluator::repeats(const YamlNode& node, const Parameters& parameters) {
  constexpr auto kMost = static_cast<int64_t>(kMostLayers);
  Repeats result;
  if (node.is_map()) {
    if (node.entries.empty()) throw reader_.fail(node.line, "repeat is empty, expected lists of values");
    for (const YamlEntry& entry : node.entries) {
      std::vector<AttributeValue> values = repeated_values(entry.key, entry.value, parameters);
      const auto count = static_cast<int64_t>(values.size());
      if (!result.values.empty() && count != result.count) {
        throw reader_.fail(entry.line, "repeat: '" + entry.key + "' has " + std::to_string(count) + " values and '" +
                                           result.values.front().first + "' has " + std::to_string(result.count));
      }
      result.count = count;
      result.values.emplace_back(entry.key, std::move(values));
    }
  } else {
    const AttributeValue count = value(node, parameters);
    const auto* integer = std::get_if<int64_t>(&count);
    if (integer == nullptr) {
      throw reader_.fail(node.line, "repeat is " + layers::describe(count) +
                                        ", expected an integer or a map of names to lists of values");
    }
    result.count = *integer;
  }
  if (result.count < 1) throw reader_.fail(node.line, "repeat makes " + std::to_string(result.count) + " layers");
  if (result.count <= kMost) return result;
  throw reader_.fail(node.line, "repeat makes more than " + std::to_string(kMost) + " layers", ErrorCategory::kLimit);
}

std::vector<AttributeValue> Evaluator::repeated_values(const std::string& name, const YamlNode& node,
                                                       const Parameters& parameters) {
  if (!is_identifier(name)) throw reader_.fail(node.line, "repeat names " + in_quotes(name) + ", expected a field");
  if (node.is_list()) {
    std::vector<AttributeValue> values;
    values.reserve(node.items.size());
    for (const YamlNode& item : node.items) values.push_back(value(item, parameters));
    return values;
  }
  const AttributeValue whole = value(node, parameters);
  const bool is_list = size_of(whole) > 1 || std::holds_alternative<std::vector<int64_t>>(whole);
  if (is_list) return items_of(whole);
  throw reader_.fail(node.line, "repeat: " + name + " is " + layers::describe(whole) + ", expected a list of values");
}

}  // namespace strand::graphs
