#pragma once
// Parameters in a description: `$name`, integer arithmetic on them, and text with them in it. Pure functions; errors
// are Error(kSchema) without a place, which the caller adds.

#include <map>
#include <string>
#include <string_view>

#include "layers/attributes.h"

namespace strand::graphs {

// The parameters that a piece of the description sees: its own, and those around it.
class Parameters {
 public:
  explicit Parameters(const Parameters* around = nullptr) : around_(around) {}

  void set(const std::string& name, layers::AttributeValue value) { values_[name] = std::move(value); }
  // Where there is none, an error with the nearest name.
  const layers::AttributeValue& get(std::string_view name) const;
  const layers::AttributeValue* find(std::string_view name) const;

 private:
  std::map<std::string, layers::AttributeValue, std::less<>> values_;
  const Parameters* around_;
};

// A plain scalar as a value. `$name` alone gives the parameter as it is: a list, string, number or boolean. Otherwise,
// what has only integers, parameters that are integers, + - * // % and parentheses is computed: in 64 bits, checked,
// and // and % round down as Python's do. All else with a $ in it is text; see interpolate.
layers::AttributeValue evaluate(std::string_view text, const Parameters& parameters);

// Text with the parameters' values in it: `resblocks.$index`, `resblocks.$($stage * 3 + $index)`. `$$` is a $.
std::string interpolate(std::string_view text, const Parameters& parameters);

}  // namespace strand::graphs
