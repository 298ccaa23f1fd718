#include "graphs/io/npy_header.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "graphs/io/utf8.h"

namespace strand {
namespace {

constexpr std::array<std::pair<std::string_view, DType>, 9> kDTypes = {{{"<f4", DType::kFloat32},
                                                                        {"<f8", DType::kFloat64},
                                                                        {"<f2", DType::kFloat16},
                                                                        {"<i8", DType::kInt64},
                                                                        {"<i4", DType::kInt32},
                                                                        {"<i2", DType::kInt16},
                                                                        {"|i1", DType::kInt8},
                                                                        {"|u1", DType::kUInt8},
                                                                        {"|b1", DType::kBool}}};

class HeaderParser {
 public:
  HeaderParser(std::string_view text, int64_t offset, const ByteSource& source)
      : text_(text), offset_(offset), source_(source) {}

  NpyHeader parse();

 private:
  [[noreturn]] void fail(ErrorCategory category, const std::string& message) const {
    throw source_.error(category, "byte " + std::to_string(offset_ + static_cast<int64_t>(at_)) + ": " + message);
  }
  char peek() {
    constexpr std::string_view kSpace = " \t\r\n\f";
    while (at_ < text_.size() && kSpace.find(text_[at_]) != std::string_view::npos) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char wanted) {
    if (peek() != wanted) return false;
    ++at_;
    return true;
  }
  void expect(char wanted) {
    if (!take(wanted)) fail(ErrorCategory::kParse, std::string("the header lacks a ") + wanted + " here");
  }
  std::string_view parse_string();
  void parse_item();
  DType parse_dtype();
  bool parse_bool();
  Shape parse_shape();
  int64_t parse_size();

  std::string_view text_;
  int64_t offset_;
  const ByteSource& source_;
  size_t at_ = 0;
  NpyHeader header_;
  bool has_descr_ = false;
  bool has_order_ = false;
  bool has_shape_ = false;
};

std::string_view HeaderParser::parse_string() {
  const char quote = peek();
  if (quote != '\'' && quote != '"') fail(ErrorCategory::kParse, "the header lacks a string here");
  const size_t begin = ++at_;
  while (at_ < text_.size() && text_[at_] != quote) {
    if (text_[at_] == '\\' || text_[at_] == '\n') fail(ErrorCategory::kParse, "the header's string has an escape");
    ++at_;
  }
  if (at_ == text_.size()) fail(ErrorCategory::kParse, "the header's string does not end");
  return text_.substr(begin, at_++ - begin);
}

DType HeaderParser::parse_dtype() {
  if (peek() == '[') fail(ErrorCategory::kUnsupported, "a structured dtype; expected one number an element");
  const std::string_view descr = parse_string();
  const bool one_byte = descr == "<i1" || descr == "<u1" || descr == "<b1";
  const std::string name = one_byte ? "|" + std::string(descr.substr(1)) : std::string(descr);
  const auto* const found = std::ranges::find(kDTypes, name, &std::pair<std::string_view, DType>::first);
  if (found != kDTypes.end()) return found->second;
  if (descr.find('O') != std::string_view::npos) {
    fail(ErrorCategory::kUnsupported, "dtype " + in_quotes(descr) + " holds pickled objects, which are never loaded");
  }
  if (descr.starts_with('>')) {
    fail(ErrorCategory::kUnsupported, "dtype " + in_quotes(descr) + " is big-endian; expected little-endian numbers");
  }
  fail(ErrorCategory::kUnsupported,
       "unknown dtype " + in_quotes(descr) + "; expected <f4, <f8, <f2, <i8, <i4, <i2, |i1, |u1 or |b1");
}

bool HeaderParser::parse_bool() {
  peek();
  for (const auto& [word, value] : {std::pair<std::string_view, bool>("True", true), {"False", false}}) {
    if (text_.substr(at_).starts_with(word)) {
      at_ += word.size();
      return value;
    }
  }
  fail(ErrorCategory::kParse, "fortran_order is neither True nor False");
}

int64_t HeaderParser::parse_size() {
  if (peek() == '-') fail(ErrorCategory::kParse, "shape has a negative size");
  int64_t size = 0;
  const char* const first = text_.data() + at_;
  const auto [end, error] = std::from_chars(first, text_.data() + text_.size(), size);
  if (error == std::errc::result_out_of_range) fail(ErrorCategory::kLimit, "shape has a size above 2^63 - 1");
  if (error != std::errc()) fail(ErrorCategory::kParse, "shape is not a tuple of integers");
  at_ += static_cast<size_t>(end - first);
  return size;
}

Shape HeaderParser::parse_shape() {
  Shape shape;
  if (!take('(')) fail(ErrorCategory::kParse, "shape is not a tuple");
  bool comma = true;
  while (!take(')')) {
    if (!comma) fail(ErrorCategory::kParse, "shape is not a tuple of integers");
    if (shape.rank() == Shape::kMaxRank) {
      fail(ErrorCategory::kLimit, "shape has a rank above " + std::to_string(Shape::kMaxRank));
    }
    shape.append(parse_size());
    comma = take(',');
  }
  // Python reads (3) as a number.
  if (shape.rank() == 1 && !comma) fail(ErrorCategory::kParse, "shape is a number; expected a tuple");
  return shape;
}

void HeaderParser::parse_item() {
  const std::string_view key = parse_string();
  bool* seen = key == "descr" ? &has_descr_ : key == "fortran_order" ? &has_order_ : &has_shape_;
  if (seen == &has_shape_ && key != "shape")
    fail(ErrorCategory::kParse, "the header has an unknown key " + in_quotes(key));
  if (*seen) fail(ErrorCategory::kParse, "the header has two keys " + in_quotes(key));
  *seen = true;
  expect(':');
  if (seen == &has_descr_) {
    header_.type.dtype = parse_dtype();
  } else if (seen == &has_order_) {
    header_.fortran_order = parse_bool();
  } else {
    header_.type.shape = parse_shape();
  }
}

NpyHeader HeaderParser::parse() {
  expect('{');
  bool comma = true;
  while (!take('}')) {
    if (!comma) fail(ErrorCategory::kParse, "the header lacks a , here");
    parse_item();
    comma = take(',');
  }
  peek();
  if (at_ != text_.size()) fail(ErrorCategory::kParse, "the header goes on after its dictionary");
  for (const auto& [seen, key] :
       {std::pair(has_descr_, "descr"), {has_order_, "fortran_order"}, {has_shape_, "shape"}}) {
    if (!seen) fail(ErrorCategory::kParse, std::string("the header has no ") + key);
  }
  return header_;
}

}  // namespace

NpyHeader parse_npy_header(std::string_view text, int64_t offset, const ByteSource& source) {
  return HeaderParser(text, offset, source).parse();
}

std::string_view npy_descr(DType dtype) {
  const auto* const found = std::ranges::find(kDTypes, dtype, &std::pair<std::string_view, DType>::second);
  return found == kDTypes.end() ? std::string_view() : found->first;
}

}  // namespace strand
