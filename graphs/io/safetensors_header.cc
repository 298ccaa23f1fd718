#include "graphs/io/safetensors_header.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "graphs/io/utf8.h"

namespace strand {
namespace {

using Json = nlohmann::json;

constexpr std::array<std::pair<std::string_view, DType>, 10> kDTypes = {{{"F64", DType::kFloat64},
                                                                         {"F32", DType::kFloat32},
                                                                         {"F16", DType::kFloat16},
                                                                         {"BF16", DType::kBFloat16},
                                                                         {"I64", DType::kInt64},
                                                                         {"I32", DType::kInt32},
                                                                         {"I16", DType::kInt16},
                                                                         {"I8", DType::kInt8},
                                                                         {"U8", DType::kUInt8},
                                                                         {"BOOL", DType::kBool}}};

// Counts what the parser has consumed, which it does not tell its handler.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, int64_t* count) : at_(at), count_(count) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    ++*count_;
    return *this;
  }
  CountingIterator operator++(int) {
    const CountingIterator old = *this;
    ++*this;
    return old;
  }
  friend bool operator==(const CountingIterator& a, const CountingIterator& b) { return a.at_ == b.at_; }

 private:
  const char* at_;
  int64_t* count_;
};

// Walks the header event by event: a document tree would keep the last of two equal names, round integers to doubles
// and nest as deep as the file asks for. Anything but the two levels of the format is refused where it begins.
class HeaderReader final : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderReader(const ByteSource& source) : source_(source) {}

  SafetensorsHeader read(std::string_view json) {
    const char* end = json.data() + json.size();
    Json::sax_parse(CountingIterator(json.data(), &consumed_), CountingIterator(end, &consumed_), this);
    return std::move(header_);
  }

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool binary(binary_t&) override { unexpected("binary data"); }
  bool number_integer(number_integer_t value) override { unexpected("the number " + std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { unexpected("the number " + text.substr(0, 64)); }
  bool number_unsigned(number_unsigned_t value) override;
  bool string(string_t& value) override;
  bool start_object(size_t) override;
  bool key(string_t& name) override;
  bool end_object() override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override;

 private:
  enum class Level { kStart, kRoot, kTensor, kMetadata };
  enum Field : unsigned { kNone = 0, kDType = 1, kShape = 2, kOffsets = 4, kAllFields = 7 };

  [[noreturn]] void fail(ErrorCategory category, const std::string& message) const {
    throw source_.error(category, "byte " + std::to_string(kSafetensorsLengthBytes + consumed_) + ": " + message);
  }
  [[noreturn]] void unexpected(const std::string& found) const;
  std::string where() const { return "tensor " + in_quotes(entry_.name); }

  const ByteSource& source_;
  SafetensorsHeader header_;
  std::set<std::string, std::less<>> names_;
  Level level_ = Level::kStart;
  SafetensorsEntry entry_;  // the tensor being read
  std::string metadata_key_;
  Field field_ = kNone;  // of entry_, whose value is next
  unsigned seen_ = 0;    // fields of entry_
  bool in_array_ = false;
  std::vector<int64_t> numbers_;  // of the array being read
  int64_t consumed_ = 0;          // bytes of the JSON text
};

void HeaderReader::unexpected(const std::string& found) const {
  switch (level_) {
    case Level::kStart:
      fail(ErrorCategory::kParse, "the header is " + found + " instead of an object");
    case Level::kRoot:
      fail(ErrorCategory::kParse, where() + " is " + found + " instead of an object");
    case Level::kMetadata:
      fail(ErrorCategory::kParse, "metadata " + in_quotes(metadata_key_) + " is " + found + " instead of a string");
    case Level::kTensor:
      break;
  }
  if (field_ == kDType) fail(ErrorCategory::kParse, where() + ": dtype is " + found + " instead of a string");
  const std::string field = field_ == kShape ? "shape" : "data_offsets";
  const std::string expected = in_array_ ? "holds " + found + "; expected integers from 0 to 2^63 - 1"
                                         : "is " + found + " instead of a list of integers";
  fail(ErrorCategory::kParse, where() + ": " + field + " " + expected);
}

bool HeaderReader::number_unsigned(number_unsigned_t value) {
  if (!in_array_ || value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    unexpected("the number " + std::to_string(value));
  }
  if (field_ == kShape && numbers_.size() == Shape::kMaxRank) {
    fail(ErrorCategory::kLimit, where() + ": shape has a rank above " + std::to_string(Shape::kMaxRank));
  }
  if (field_ == kOffsets && numbers_.size() == 2) {
    fail(ErrorCategory::kParse, where() + ": data_offsets has more than two numbers");
  }
  numbers_.push_back(static_cast<int64_t>(value));
  return true;
}

bool HeaderReader::string(string_t& value) {
  if (level_ == Level::kMetadata) {
    header_.metadata[metadata_key_] = value;
    return true;
  }
  if (level_ != Level::kTensor || field_ != kDType) unexpected("the string " + in_quotes(value));
  const auto* const found = std::ranges::find(kDTypes, value, &std::pair<std::string_view, DType>::first);
  if (found == kDTypes.end()) {
    fail(ErrorCategory::kUnsupported, where() + ": unknown dtype " + in_quotes(value) +
                                          "; expected F64, F32, F16, BF16, I64, I32, I16, I8, U8 or BOOL");
  }
  entry_.type.dtype = found->second;
  return true;
}

bool HeaderReader::start_object(size_t) {
  if (level_ == Level::kStart) {
    level_ = Level::kRoot;
  } else if (level_ == Level::kRoot) {
    level_ = entry_.name == kSafetensorsMetadata ? Level::kMetadata : Level::kTensor;
  } else {
    unexpected("an object");
  }
  return true;
}

bool HeaderReader::key(string_t& name) {
  if (level_ == Level::kRoot) {
    if (!names_.insert(name).second) fail(ErrorCategory::kParse, "duplicate name " + in_quotes(name));
    entry_ = {};
    entry_.name = name;
    seen_ = kNone;
    return true;
  }
  if (level_ == Level::kMetadata) {
    if (header_.metadata.contains(name)) fail(ErrorCategory::kParse, "duplicate metadata key " + in_quotes(name));
    metadata_key_ = name;
    return true;
  }
  field_ = name == "dtype" ? kDType : name == "shape" ? kShape : name == "data_offsets" ? kOffsets : kNone;
  if (field_ == kNone) {
    fail(ErrorCategory::kParse,
         where() + ": unknown key " + in_quotes(name) + "; expected dtype, shape and data_offsets");
  }
  if ((seen_ & field_) != 0) fail(ErrorCategory::kParse, where() + ": duplicate key " + in_quotes(name));
  seen_ |= field_;
  return true;
}

bool HeaderReader::end_object() {
  if (level_ == Level::kTensor) {
    for (const auto& [field, name] : {std::pair(kDType, "dtype"), {kShape, "shape"}, {kOffsets, "data_offsets"}}) {
      if ((seen_ & field) == 0) fail(ErrorCategory::kParse, where() + " has no " + name);
    }
    header_.entries.push_back(std::move(entry_));
  }
  level_ = Level::kRoot;
  return true;
}

bool HeaderReader::start_array(size_t) {
  if (level_ != Level::kTensor || field_ == kDType || in_array_) unexpected("a list");
  in_array_ = true;
  numbers_.clear();
  return true;
}

bool HeaderReader::end_array() {
  in_array_ = false;
  if (field_ == kShape) {
    entry_.type.shape = Shape(std::span<const int64_t>(numbers_));
    return true;
  }
  if (numbers_.size() != 2) fail(ErrorCategory::kParse, where() + ": data_offsets needs two numbers");
  entry_.begin = numbers_[0];
  entry_.end = numbers_[1];
  return true;
}

bool HeaderReader::parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) {
  // Without its own place, which counts from the header's start, and the text read last, which may be megabytes long.
  std::string_view what = error.what();
  what = what.substr(std::min(what.find("syntax error"), what.size()));
  fail(ErrorCategory::kParse, "the header is not JSON: " + std::string(what.substr(0, what.find("; last read"))));
}

}  // namespace

std::string_view safetensors_dtype(DType dtype) {
  return std::ranges::find(kDTypes, dtype, &std::pair<std::string_view, DType>::second)->first;
}

SafetensorsHeader parse_safetensors_header(std::string_view json, const ByteSource& source) {
  if (!json.starts_with('{')) {
    throw source.error(ErrorCategory::kParse, "byte 8: the header does not begin with {: not a safetensors file");
  }
  if (const size_t invalid = find_invalid_utf8(json); invalid != std::string_view::npos) {
    const int64_t offset = kSafetensorsLengthBytes + static_cast<int64_t>(invalid);
    throw source.error(ErrorCategory::kParse, "byte " + std::to_string(offset) + ": the header is not UTF-8");
  }
  // The JSON parser takes a NUL byte for the end of its input, and would not look behind it.
  if (const size_t nul = json.find('\0'); nul != std::string_view::npos) {
    const int64_t offset = kSafetensorsLengthBytes + static_cast<int64_t>(nul);
    throw source.error(ErrorCategory::kParse, "byte " + std::to_string(offset) + ": a NUL byte in the header");
  }
  return HeaderReader(source).read(json);
}

}  // namespace strand
