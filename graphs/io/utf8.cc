#include "graphs/io/utf8.h"

namespace strand {
namespace {

// The length of the code point at the front of `text`, or 0 where there is none.
size_t code_point_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto continues = [&](size_t i, unsigned low, unsigned high) { return byte(i) >= low && byte(i) <= high; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1, 0x80, 0xBF) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned low = first == 0xE0 ? 0xA0 : 0x80;   // shorter forms
    const unsigned high = first == 0xED ? 0x9F : 0xBF;  // surrogates
    return continues(1, low, high) && continues(2, 0x80, 0xBF) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned low = first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xF4 ? 0x8F : 0xBF;  // above U+10FFFF
    return continues(1, low, high) && continues(2, 0x80, 0xBF) && continues(3, 0x80, 0xBF) ? 4 : 0;
  }
  return 0;
}

}  // namespace

size_t find_invalid_utf8(std::string_view text) {
  size_t offset = 0;
  while (offset < text.size()) {
    const size_t length = code_point_length(text.substr(offset));
    if (length == 0) return offset;
    offset += length;
  }
  return std::string_view::npos;
}

std::string in_quotes(std::string_view text) {
  constexpr size_t kLongest = 96;  // bytes
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string result = "'";
  size_t offset = 0;
  while (offset < text.size() && offset < kLongest) {
    const size_t length = code_point_length(text.substr(offset));
    const auto byte = static_cast<unsigned char>(text[offset]);
    if (length == 0 || byte < 0x20 || byte == 0x7F) {
      result += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 0xFU]};
      ++offset;
    } else {
      result += text.substr(offset, length);
      offset += length;
    }
  }
  return result + (offset < text.size() ? "...'" : "'");
}

}  // namespace strand
