#include "tools/bench_layer_cases.h"

#include <fmt/core.h>

#include <algorithm>
#include <sstream>

#include "engine/error.h"
#include "graphs/io/file.h"
#include "tools/table.h"

namespace strand::tools {
namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 20;
constexpr size_t kColumns = 4;  // before the fields

Error bad(const std::string& message) { return {ErrorCategory::kParse, message}; }

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Nothing that means more than itself to YAML.
void require_plain(const std::string& word, const char* what, std::string_view besides) {
  const bool plain = std::ranges::all_of(
      word, [&](char c) { return is_letter(c) || is_digit(c) || besides.find(c) != std::string_view::npos; });
  if (word.empty() || !plain) throw bad(fmt::format("expected {}, found '{}'", what, word));
}

// "16x256x1000" as "[16, 256, 1000]".
std::string parse_shape(const std::string& text) {
  std::string sizes;
  for (const std::string& size : split(text, 'x')) {
    if (size.empty() || size.size() > 18 || !std::ranges::all_of(size, is_digit)) {
      throw bad(fmt::format("expected a shape such as 16x256x1000, found '{}'", text));
    }
    sizes += (sizes.empty() ? "" : ", ") + size;
  }
  return "[" + sizes + "]";
}

// "kernel_size=3" as ", kernel_size: 3".
std::string parse_field(const std::string& word) {
  const size_t equals = word.find('=');
  if (equals == std::string::npos) throw bad(fmt::format("expected field=value, found '{}'", word));
  const std::string name = word.substr(0, equals);
  const std::string value = word.substr(equals + 1);
  require_plain(name, "a field's name", "_");
  require_plain(value, "a field's value", "_.,[]+-");
  return ", " + name + ": " + value;
}

LayerCase parse_case(const std::vector<std::string>& words) {
  if (words.size() < kColumns) {
    throw bad(fmt::format("has {} columns, expected name shapes against type field=value ...", words.size()));
  }
  LayerCase result;
  result.name = words[0];
  require_plain(words[0], "a name", "_.-");
  result.against = words[2] == "-" ? "" : words[2];
  require_plain(words[3], "a layer's type", "_");
  std::string inputs;
  std::string names;
  for (const std::string& shape : split(words[1], ',')) {
    const std::string name = fmt::format("x{}", std::ranges::count(inputs, '\n'));
    inputs += fmt::format("  {}: {{shape: {}}}\n", name, parse_shape(shape));
    names += (names.empty() ? "" : ", ") + name;
  }
  std::string fields;
  result.layer = words[3];
  for (size_t i = kColumns; i < words.size(); ++i) {
    fields += parse_field(words[i]);
    result.layer += " " + words[i];
  }
  result.description = fmt::format(
      "strand: 1\nname: '{}'\nweights: {{seed: 0}}\ninputs:\n{}layers:\n"
      "  - {{name: layer, type: {}, inputs: [{}]{}}}\n",
      result.name, inputs, words[3], names, fields);
  return result;
}

}  // namespace

std::vector<LayerCase> read_layer_cases(const std::filesystem::path& path) {
  std::istringstream text(read_file(path, kMaxBytes));
  std::vector<LayerCase> cases;
  int number = 0;
  for (std::string line; std::getline(text, line);) {
    ++number;
    std::istringstream stream(line);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    if (words.empty() || words[0].starts_with('#')) continue;
    try {
      LayerCase next = parse_case(words);
      if (std::ranges::count(cases, next.name, &LayerCase::name) > 0) throw bad("a second case '" + next.name + "'");
      if (!next.against.empty() && std::ranges::count(cases, next.against, &LayerCase::name) == 0) {
        throw bad("is held against '" + next.against + "', which is no case above");
      }
      cases.push_back(std::move(next));
    } catch (const Error& error) {
      throw error.at(fmt::format("{}:{}", path.string(), number));
    }
  }
  return cases;
}

}  // namespace strand::tools
