#include "tools/bench_cases.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "engine/checked.h"
#include "engine/error.h"
#include "graphs/io/file.h"

namespace strand::tools {
namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 20;
constexpr int64_t kMaxSize = int64_t{1} << 31;
constexpr size_t kColumns = 10;     // the name and nine sizes
constexpr int64_t kRow = 8;         // outputs: 32 bytes, what memory is written in
constexpr int64_t kMisaligned = 3;  // outputs past the last multiple of a row

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

int64_t parse_size(const std::string& word) {
  int64_t value = -1;
  const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (status != std::errc() || end != word.data() + word.size() || value < 0 || value > kMaxSize) {
    throw Error(ErrorCategory::kParse, "expected a size, found '" + word + "'");
  }
  return value;
}

// "-" stands for a figure that is not known.
double parse_figure(const std::string& word) {
  double value = NAN;
  if (word == "-") return value;
  const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (status != std::errc() || end != word.data() + word.size()) {
    throw Error(ErrorCategory::kParse, "expected a number or '-', found '" + word + "'");
  }
  return value;
}

void check(const ConvSizes& sizes) {
  const bool positive = sizes.batch > 0 && sizes.in_channels > 0 && sizes.out_channels > 0 && sizes.length > 0 &&
                        sizes.kernel_size > 0 && sizes.stride > 0 && sizes.dilation > 0 && sizes.groups > 0;
  if (!positive) throw Error(ErrorCategory::kShape, "every size but the padding must be at least 1");
  if (sizes.in_channels % sizes.groups != 0 || sizes.out_channels % sizes.groups != 0) {
    throw Error(ErrorCategory::kShape, "groups must divide both channels");
  }
  if (sizes.output_length() < 1) throw Error(ErrorCategory::kShape, "the kernel does not fit the padded length");
  const int64_t inputs = checked_mul(checked_mul(sizes.batch, sizes.in_channels), sizes.length);
  const int64_t outputs = checked_mul(checked_mul(sizes.batch, sizes.out_channels), sizes.output_length());
  checked_mul(checked_add(inputs, outputs), 4);
  checked_mul(checked_mul(outputs, sizes.in_channels / sizes.groups), sizes.kernel_size);
}

ConvCase parse_case(const std::vector<std::string>& words, const std::vector<std::string>& titles) {
  if (words.size() < kColumns) {
    throw Error(ErrorCategory::kParse,
                fmt::format("has {} columns, expected name N Cin Cout L K s d pad groups", words.size()));
  }
  ConvCase result;
  result.name = words[0];
  ConvSizes& sizes = result.sizes;
  size_t column = 1;
  for (int64_t* size : {&sizes.batch, &sizes.in_channels, &sizes.out_channels, &sizes.length, &sizes.kernel_size,
                        &sizes.stride, &sizes.dilation, &sizes.padding, &sizes.groups}) {
    *size = parse_size(words[column++]);
  }
  check(sizes);
  for (; column < words.size() && column < titles.size(); ++column) {
    result.figures.emplace_back(titles[column], parse_figure(words[column]));
  }
  return result;
}

}  // namespace

std::vector<ConvCase> read_cases(const std::filesystem::path& path) {
  std::istringstream text(read_file(path, kMaxBytes));
  std::vector<ConvCase> cases;
  std::vector<std::string> titles;
  int number = 0;
  for (std::string line; std::getline(text, line);) {
    ++number;
    const bool comment = line.starts_with('#');
    const std::vector<std::string> words = words_of(comment ? line.substr(1) : line);
    if (words.empty()) continue;
    if (comment) {
      if (words[0] == "name") titles = words;
      continue;
    }
    try {
      cases.push_back(parse_case(words, titles));
    } catch (const Error& error) {
      throw error.at(fmt::format("{}:{}", path.string(), number));
    }
  }
  return cases;
}

ConvCase other_alignment(const ConvCase& conv_case) {
  ConvCase other{conv_case.name, conv_case.sizes, {}, {}};
  const int64_t rest = conv_case.sizes.output_length() % kRow;
  other.sizes.length += conv_case.sizes.stride * (rest == 0 ? kMisaligned : kRow - rest);
  other.name += fmt::format("~{}", other.sizes.output_length());
  return other;
}

void shorten(ConvCase& conv_case, double most) {
  ConvSizes& sizes = conv_case.sizes;
  const ConvSizes whole = sizes;
  const auto share = [&] { return most / static_cast<double>(sizes.multiply_adds()); };
  if (most <= 0 || share() >= 1) return;
  sizes.batch = std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(sizes.batch) * share()));
  if (share() < 1) {
    const int64_t extent = sizes.dilation * (sizes.kernel_size - 1) + 1;
    const auto target = static_cast<int64_t>(static_cast<double>(sizes.length) * share());
    sizes.length = std::min(sizes.length, std::max(target, extent));
  }
  conv_case.shortened = fmt::format("N {} -> {}, L {} -> {}", whole.batch, sizes.batch, whole.length, sizes.length);
}

std::string to_string(const ConvSizes& sizes) {
  return fmt::format("{} x {} -> {}, L {}, k{} s{} d{} p{} g{}", sizes.batch, sizes.in_channels, sizes.out_channels,
                     sizes.length, sizes.kernel_size, sizes.stride, sizes.dilation, sizes.padding, sizes.groups);
}

}  // namespace strand::tools
