#pragma once
// UTF-8 of texts and names that come from files. Pure functions.

#include <cstddef>
#include <string>
#include <string_view>

namespace strand {

// The offset of the first byte that does not begin a whole, shortest-form code point other than a surrogate;
// npos where the text is valid (RFC 3629).
size_t find_invalid_utf8(std::string_view text);

inline bool is_valid_utf8(std::string_view text) { return find_invalid_utf8(text) == std::string_view::npos; }

// A name as a message may show it: in single quotes, control characters and invalid bytes as \xNN, long ones cut short.
std::string in_quotes(std::string_view text);

}  // namespace strand
