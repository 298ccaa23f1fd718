#pragma once
// The values of a layer's keys once the parameters are known. Counts what it hands out, so that a short description
// can't make an endless network. One a description; not thread-safe.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "graphs/expression.h"
#include "graphs/reader.h"

namespace strand::graphs {

struct Repeats {
  int64_t count = 0;
  std::vector<std::pair<std::string, std::vector<layers::AttributeValue>>> values;  // [count] of each name
};

class Evaluator {
 public:
  explicit Evaluator(const Reader& reader) : reader_(reader) {}

  layers::AttributeValue value(const YamlNode& node, const Parameters& parameters);
  // Text with parameters in it, at most kMostNameBytes.
  std::string text(const YamlNode& node, const Parameters& parameters, std::string_view what);
  std::vector<std::string> implementations(const YamlNode& node, const Parameters& parameters);
  Repeats repeats(const YamlNode& node, const Parameters& parameters);

  // Error(kLimit) where the description has made too many values.
  void spend(int line, size_t values);

 private:
  layers::AttributeValue list(const YamlNode& node, const Parameters& parameters);
  std::vector<layers::AttributeValue> repeated_values(const std::string& name, const YamlNode& node,
                                                      const Parameters& parameters);

  const Reader& reader_;
  size_t spent_ = 0;
};

}  // namespace strand::graphs
