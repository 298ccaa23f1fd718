#include "graphs/reader.h"

#include <algorithm>
#include <variant>

#include "graphs/io/utf8.h"
#include "graphs/scalar.h"
#include "layers/registry.h"

namespace strand::graphs {

Error Reader::fail(int line, const std::string& message, ErrorCategory category) const {
  const std::string subject = subject_.empty() ? "" : subject_ + ": ";
  return {category, file_ + ":" + std::to_string(line) + ": " + subject + message};
}

void Reader::expect_map(const YamlNode& node, std::string_view what) const {
  if (node.is_map()) return;
  throw fail(node.line,
             std::string(what) + " is " + std::string(describe(node)) + ", expected a map of keys to values");
}

void Reader::expect_list(const YamlNode& node, std::string_view what) const {
  if (node.is_list()) return;
  throw fail(node.line, std::string(what) + " is " + std::string(describe(node)) + ", expected a list");
}

void Reader::check_keys(const YamlNode& map, const std::vector<std::string>& known, std::string_view what) const {
  for (const YamlEntry& entry : map.entries) {
    if (std::ranges::find(known, entry.key) != known.end()) continue;
    std::string hint = layers::did_you_mean(entry.key, known);
    if (hint.empty()) {
      for (const std::string& key : known) hint += (hint.empty() ? "; known are " : ", ") + key;
    }
    throw fail(entry.line, "unknown key " + in_quotes(entry.key) + " in " + std::string(what) + hint);
  }
}

const YamlNode& Reader::required(const YamlNode& map, std::string_view key, std::string_view what) const {
  if (const YamlNode* node = map.find(key)) return *node;
  throw fail(map.line, "missing key '" + std::string(key) + "' in " + std::string(what));
}

std::string Reader::text(const YamlNode& node, std::string_view what) const {
  if (!node.is_scalar() || node.text.empty()) {
    const std::string_view found = node.is_scalar() && node.quoted ? "empty" : describe(node);
    throw fail(node.line, std::string(what) + " is " + std::string(found) + ", expected text");
  }
  if (node.text.size() > kMostNameBytes) {
    throw fail(node.line, std::string(what) + " is longer than " + std::to_string(kMostNameBytes) + " bytes",
               ErrorCategory::kLimit);
  }
  return node.text;
}

std::string Reader::identifier(const YamlNode& node, std::string_view what) const {
  std::string name = text(node, what);
  check_identifier(name, node.line, what);
  return name;
}

void Reader::check_identifier(std::string_view name, int line, std::string_view what) const {
  if (is_identifier(name)) return;
  throw fail(line, std::string(what) + " is " + in_quotes(name) +
                       ", expected letters, digits and underscores, a digit not first");
}

int64_t Reader::integer(const YamlNode& node, std::string_view what, int64_t least) const {
  if (!node.is_scalar()) {
    throw fail(node.line, std::string(what) + " is " + std::string(describe(node)) + ", expected an integer");
  }
  const layers::AttributeValue value =
      placed(node.line, [&]() { return node.quoted ? layers::AttributeValue(node.text) : parse_scalar(node.text); });
  const auto* integer = std::get_if<int64_t>(&value);
  if (integer == nullptr) throw fail(node.line, layers::mistyped(what, value, layers::kInteger).what());
  if (*integer < least) {
    throw fail(node.line,
               std::string(what) + " is " + std::to_string(*integer) + ", expected at least " + std::to_string(least));
  }
  return *integer;
}

}  // namespace strand::graphs
