#pragma once
// Reads names, numbers and texts out of YAML nodes, and says where something is wrong: "net.yaml:14: Conv1d 'enc.1': ".
// One a file that is read; not thread-safe.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/error.h"
#include "graphs/yaml.h"

namespace strand::graphs {

class Reader {
 public:
  explicit Reader(std::string file) : file_(std::move(file)) {}

  const std::string& file() const { return file_; }
  // The layer that is being read, "Conv1d 'enc.1'", or empty. Returns the one before.
  std::string set_subject(std::string subject) { return std::exchange(subject_, std::move(subject)); }

  Error fail(int line, const std::string& message, ErrorCategory category = ErrorCategory::kSchema) const;

  // What `read` returns; an error of its gets the place before it.
  template <typename F>
  auto placed(int line, F read) const -> decltype(read()) {
    try {
      return read();
    } catch (const Error& error) {
      throw fail(line, error.what(), error.category());
    }
  }

  // `what` names the node in messages, "repeat" or "input 'audio'".
  void expect_map(const YamlNode& node, std::string_view what) const;
  void expect_list(const YamlNode& node, std::string_view what) const;
  void check_keys(const YamlNode& map, const std::vector<std::string>& known, std::string_view what) const;
  const YamlNode& required(const YamlNode& map, std::string_view key, std::string_view what) const;

  std::string text(const YamlNode& node, std::string_view what) const;  // not empty, at most kMostNameBytes
  std::string identifier(const YamlNode& node, std::string_view what) const;
  void check_identifier(std::string_view name, int line, std::string_view what) const;
  int64_t integer(const YamlNode& node, std::string_view what, int64_t least) const;

 private:
  std::string file_;
  std::string subject_;
};

}  // namespace strand::graphs
