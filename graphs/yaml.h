#pragma once
// YAML text as a tree of our own; yaml.cc alone knows yaml-cpp. What YAML allows and a description has no use for is
// refused: anchors, aliases, merge keys, tags, several documents, duplicate keys. Plain values, bounded in size.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/error.h"

namespace strand::graphs {

constexpr size_t kMostTextBytes = size_t{16} << 20;
constexpr size_t kMostNameBytes = 1024;  // of a key, a name, a path or another piece of text

struct YamlEntry;

struct YamlNode {
  enum class Kind : uint8_t { kScalar, kList, kMap };

  Kind kind = Kind::kScalar;
  bool quoted = false;  // a scalar in quotes, or a | or > block: always a string
  int line = 0;         // from 1, as column
  int column = 0;
  std::string text;                // a scalar; null reads as ""
  std::vector<YamlNode> items;     // a list
  std::vector<YamlEntry> entries;  // a map, in the file's order

  bool is_scalar() const { return kind == Kind::kScalar; }
  bool is_list() const { return kind == Kind::kList; }
  bool is_map() const { return kind == Kind::kMap; }
  bool is_null() const { return is_scalar() && !quoted && text.empty(); }
  const YamlNode* find(std::string_view key) const;  // null where a map has no such key
};

struct YamlEntry {
  std::string key;
  int line = 0;
  YamlNode value;
};

// The one document of `text`. `file` stands before "line:column" in messages. Error(kParse) for what is not YAML or
// UTF-8, or is nested too deep, Error(kSchema) for what a description may not use, Error(kLimit) for aliases and texts
// that are too large.
YamlNode parse_yaml(std::string_view text, const std::string& file);

// "a list" and its like, for messages.
std::string_view describe(const YamlNode& node);

}  // namespace strand::graphs
