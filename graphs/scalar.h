#pragma once
// What a plain (unquoted) YAML scalar stands for, and the spelling of names. Stricter than YAML where that saves
// surprises: 010, 0x10, 1_000, yes and on are strings. Pure functions.

#include <cstdint>
#include <optional>
#include <string_view>

#include "layers/attributes.h"

namespace strand::graphs {

// null and ~; true and false; integers in decimal; numbers with a point or an exponent, .inf and .nan; else a string.
// Error(kSchema) for an integer beyond 64 bits or a number beyond a double.
layers::AttributeValue parse_scalar(std::string_view text);

// [A-Za-z_][A-Za-z0-9_]*
bool is_identifier(std::string_view text);
inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
inline bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c); }

}  // namespace strand::graphs
