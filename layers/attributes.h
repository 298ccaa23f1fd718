#pragma once
// A layer's fields: what its type declares (Field), and the values that a description gives it (Attributes). The
// registry checks values against fields, so a layer reads them without further type checks. Plain values.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/error.h"

namespace strand::layers {

struct Null {
  friend bool operator==(const Null&, const Null&) = default;
};
using AttributeValue =
    std::variant<Null, bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>>;
std::string to_string(const AttributeValue& value);  // as a description would spell it

// The kinds of value that a field takes, or-ed together.
enum FieldKind : unsigned {
  kInteger = 1,
  kNumber = 2,  // an integer too
  kBoolean = 4,
  kString = 8,
  kIntegers = 16,  // a list of them
  kNumbers = 32,
  kNull = 64,
};

struct Field {
  std::string name;
  unsigned kinds = kInteger;
  std::string help;  // shapes, units, choices
  bool required = true;
  AttributeValue fallback = Null{};  // of a field that is not required

  Field(std::string field_name, unsigned field_kinds, std::string field_help)
      : name(std::move(field_name)), kinds(field_kinds), help(std::move(field_help)) {}
  Field(std::string field_name, unsigned field_kinds, std::string field_help, AttributeValue field_fallback)
      : name(std::move(field_name)),
        kinds(field_kinds),
        help(std::move(field_help)),
        required(false),
        fallback(std::move(field_fallback)) {}
};

class Attributes {
 public:
  void set(const std::string& name, AttributeValue value) { values_[name] = std::move(value); }
  bool has(std::string_view name) const { return values_.find(name) != values_.end(); }
  const std::map<std::string, AttributeValue, std::less<>>& values() const { return values_; }

  // Error(kSchema) where the field is absent or of another type.
  const AttributeValue& value(std::string_view name) const;
  int64_t integer(std::string_view name) const;
  int64_t positive(std::string_view name) const;      // an integer of at least 1
  int64_t non_negative(std::string_view name) const;  // an integer of at least 0
  double number(std::string_view name) const;
  bool boolean(std::string_view name) const;
  const std::string& string(std::string_view name) const;
  bool is_null(std::string_view name) const { return std::holds_alternative<Null>(value(name)); }
  // A list of integers, or one integer as a list of one.
  std::vector<int64_t> integers(std::string_view name) const;

 private:
  std::map<std::string, AttributeValue, std::less<>> values_;
};

// "integer or list of integers"
std::string describe_kinds(unsigned kinds);
bool matches(const AttributeValue& value, unsigned kinds);

// "\"3\" (a string)", cut short where it is long.
std::string describe(const AttributeValue& value);
// kernel_size is "3" (a string), expected an integer
Error mistyped(std::string_view name, const AttributeValue& value, unsigned kinds);

}  // namespace strand::layers
