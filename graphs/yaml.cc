#include "graphs/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include "graphs/io/utf8.h"

namespace strand::graphs {
namespace {

constexpr size_t kDeepest = 100;          // yaml-cpp recurses, and gives up at 500
constexpr size_t kMostNodes = 2'000'000;  // about 300 MB

std::string position(const std::string& file, int line, int column) {
  return file + ":" + std::to_string(line) + ":" + std::to_string(column);
}

// Builds the tree from yaml-cpp's events. Its own tree (YAML::Load) is not used: it keeps duplicate keys, drops second
// documents and tags, and an alias in it can make a walk endless.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const std::string& file) : file_(file) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) throw error(ErrorCategory::kSchema, mark, "a second document; a description is one");
  }
  void OnDocumentEnd() override {
    if (!anchor_mark_) return;
    throw error(ErrorCategory::kParse, *anchor_mark_, "an anchor (&name); descriptions have no anchors and aliases");
  }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    note_anchor(mark, anchor);
    add(node(YamlNode::Kind::kScalar, mark));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const bool open = std::ranges::find(stack_, anchor, &Frame::anchor) != stack_.end();
    if (open) throw error(ErrorCategory::kParse, mark, "an alias (*name) inside what it stands for");
    throw error(ErrorCategory::kLimit, mark,
                "an alias (*name); descriptions have none, for a few could make billions "
                "of values. Use a block with parameters");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_tag(mark, tag);
    note_anchor(mark, anchor);
    YamlNode scalar = node(YamlNode::Kind::kScalar, mark);
    scalar.quoted = tag == "!";
    scalar.text = value;
    last_scalar_ = mark;
    add(std::move(scalar));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    open(YamlNode::Kind::kList, mark, tag, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    open(YamlNode::Kind::kMap, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

  std::optional<YamlNode> take_root() { return std::move(root_); }
  const std::optional<YAML::Mark>& last_scalar() const { return last_scalar_; }

 private:
  struct Frame {
    YamlNode node;
    YAML::anchor_t anchor = 0;
    std::map<std::string, int> lines;  // of a map's keys
    bool has_key = false;              // a map's last entry waits for its value
  };

  Error error(ErrorCategory category, const YAML::Mark& mark, const std::string& message) const {
    return {category, position(file_, mark.line + 1, mark.column + 1) + ": " + message};
  }

  YamlNode node(YamlNode::Kind kind, const YAML::Mark& mark) {
    if (++nodes_ > kMostNodes) {
      throw error(ErrorCategory::kLimit, mark, "more than " + std::to_string(kMostNodes) + " values");
    }
    YamlNode result;
    result.kind = kind;
    result.line = mark.line + 1;
    result.column = mark.column + 1;
    return result;
  }

  void check_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (tag.empty() || tag == "?" || tag == "!") return;  // yaml-cpp's marks for plain and quoted
    throw error(ErrorCategory::kSchema, mark, "tag " + in_quotes(tag) + "; descriptions have no tags");
  }

  // Anchors are told at the end: what an alias or a merge key makes of them comes first.
  void note_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0 && !anchor_mark_) anchor_mark_ = mark;
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    check_tag(mark, tag);
    note_anchor(mark, anchor);
    if (stack_.size() >= kDeepest) {
      throw error(ErrorCategory::kParse, mark, "nested deeper than " + std::to_string(kDeepest) + " levels");
    }
    if (expects_key()) throw error(ErrorCategory::kParse, mark, "a list or map as a key; is a bracket left open?");
    stack_.push_back({.node = node(kind, mark), .anchor = anchor, .lines = {}});
  }

  void close() {
    YamlNode done = std::move(stack_.back().node);
    stack_.pop_back();
    add(std::move(done));
  }

  bool expects_key() const { return !stack_.empty() && stack_.back().node.is_map() && !stack_.back().has_key; }

  void add(YamlNode value) {
    if (stack_.empty()) {
      root_ = std::move(value);
    } else if (expects_key()) {
      add_key(value);
    } else if (Frame& top = stack_.back(); top.node.is_list()) {
      top.node.items.push_back(std::move(value));
    } else {
      YamlEntry& entry = top.node.entries.back();
      if (value.is_null()) value.line = entry.line;  // yaml-cpp's mark is that of what follows
      entry.value = std::move(value);
      top.has_key = false;
    }
  }

  void add_key(YamlNode& key) {
    const auto fail = [&](ErrorCategory category, const std::string& message) {
      return Error(category, position(file_, key.line, key.column) + ": " + message);
    };
    if (key.text.size() > kMostNameBytes) {
      throw fail(ErrorCategory::kLimit, "a key of more than " + std::to_string(kMostNameBytes) + " bytes");
    }
    if (key.is_null()) throw fail(ErrorCategory::kSchema, "a key is missing before ':'");
    if (key.text == "<<") throw fail(ErrorCategory::kSchema, "unknown key '<<'; descriptions have no merge keys");
    Frame& top = stack_.back();
    const auto [first, added] = top.lines.emplace(key.text, key.line);
    if (!added) {
      throw fail(ErrorCategory::kSchema,
                 "duplicate key " + in_quotes(key.text) + "; the first is on line " + std::to_string(first->second));
    }
    YamlEntry& entry = top.node.entries.emplace_back();
    entry.key = std::move(key.text);
    entry.line = key.line;
    top.has_key = true;
  }

  const std::string& file_;
  std::vector<Frame> stack_;
  std::optional<YamlNode> root_;
  std::optional<YAML::Mark> anchor_mark_;
  std::optional<YAML::Mark> last_scalar_;
  size_t nodes_ = 0;
  int documents_ = 0;
};

// Throws where the text is not what yaml-cpp may be given.
void check_bytes(std::string_view text, const std::string& file) {
  if (text.size() > kMostTextBytes) {
    throw Error(ErrorCategory::kLimit, file + ": " + std::to_string(text.size()) + " bytes, more than " +
                                           std::to_string(kMostTextBytes) + " (16 MiB)");
  }
  const size_t invalid = find_invalid_utf8(text);
  const size_t nul = text.find('\0');
  const size_t bad = std::min(invalid, nul);
  if (bad == std::string_view::npos) return;
  const std::string_view before = text.substr(0, bad);
  const auto line = static_cast<int>(std::ranges::count(before, '\n')) + 1;
  const size_t line_start = before.rfind('\n') + 1;  // 0 where there is none
  throw Error(ErrorCategory::kParse, position(file, line, static_cast<int>(bad - line_start) + 1) +
                                         (bad == nul ? ": a NUL byte" : ": not UTF-8"));
}

// yaml-cpp takes the end of the file for a closing quote where a line end stands before it.
void check_quotes(std::string_view text, const YAML::Mark& mark, const std::string& file) {
  const auto begin = static_cast<size_t>(std::max(mark.pos, 0));
  if (begin >= text.size() || (text[begin] != '"' && text[begin] != '\'')) return;
  for (size_t i = begin + 1; i < text.size(); ++i) {
    const bool doubled = text[i] == '\'' && text.substr(i + 1).starts_with('\'');
    const bool escape = text[i] == '\\';
    if (text[begin] == '"' ? escape : doubled) {
      ++i;
    } else if (text[i] == text[begin]) {
      return;
    }
  }
  throw Error(ErrorCategory::kParse, position(file, mark.line + 1, mark.column + 1) + ": a quote that is never closed");
}

}  // namespace

const YamlNode* YamlNode::find(std::string_view key) const {
  const auto found = std::ranges::find(entries, key, &YamlEntry::key);
  return found == entries.end() ? nullptr : &found->value;
}

YamlNode parse_yaml(std::string_view text, const std::string& file) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  check_bytes(text, file);
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::istringstream stream{std::string(text)};
  TreeBuilder builder(file);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    throw Error(ErrorCategory::kParse,
                error.mark.is_null() ? file + ": " + error.msg
                                     : position(file, error.mark.line + 1, error.mark.column + 1) + ": " + error.msg);
  }
  if (builder.last_scalar()) check_quotes(text, *builder.last_scalar(), file);
  std::optional<YamlNode> root = builder.take_root();
  if (!root) throw Error(ErrorCategory::kSchema, file + ": the file is empty, expected a description");
  return *std::move(root);
}

std::string_view describe(const YamlNode& node) {
  if (node.is_list()) return "a list";
  if (node.is_map()) return "a map";
  return node.is_null() ? "null" : "a value";
}

}  // namespace strand::graphs
