#include "graphs/expression.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "engine/error.h"
#include "graphs/scalar.h"

namespace strand::graphs {
namespace {

using layers::AttributeValue;
using layers::Null;

constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

Parameters sample() {
  Parameters parameters;
  parameters.set("channels", int64_t{32});
  parameters.set("kernel_size", int64_t{7});
  parameters.set("dilation", int64_t{4});
  parameters.set("minus", int64_t{-7});
  parameters.set("zero", int64_t{0});
  parameters.set("most", kMost);
  parameters.set("least", kLeast);
  parameters.set("mode", std::string("reflect"));
  parameters.set("bias", false);
  parameters.set("eps", 0.5);
  parameters.set("rates", std::vector<int64_t>{1, 2, 4});
  parameters.set("index", int64_t{3});
  return parameters;
}

std::string refusal(const std::string& text) {
  try {
    evaluate(text, sample());
  } catch (const Error& error) {
    CHECK(error.category() == ErrorCategory::kSchema);
    return error.what();
  }
  return "";
}

bool same(const AttributeValue& a, const AttributeValue& b) { return a == b; }

TEST_CASE("plain scalars") {
  const std::vector<std::pair<std::string, AttributeValue>> rows = {
      {"", Null{}},
      {"~", Null{}},
      {"null", Null{}},
      {"true", true},
      {"False", false},
      {"0", int64_t{0}},
      {"-0", int64_t{0}},
      {"+12", int64_t{12}},
      {"-12", int64_t{-12}},
      {"2147483648", int64_t{2147483648}},
      {"9223372036854775807", kMost},
      {"-9223372036854775808", kLeast},
      {"3.0", 3.0},
      {".5", 0.5},
      {"5.", 5.0},
      {"-1e-5", -1e-5},
      {"1e3", 1000.0},
      {"+2.5E+1", 25.0},
      {".inf", std::numeric_limits<double>::infinity()},
      {"-.Inf", -std::numeric_limits<double>::infinity()},
      // What only looks like a number, or is one in another YAML.
      {"010", std::string("010")},
      {"-010", std::string("-010")},
      {"0x10", std::string("0x10")},
      {"0o17", std::string("0o17")},
      {"1_000", std::string("1_000")},
      {"1:30", std::string("1:30")},
      {"yes", std::string("yes")},
      {"on", std::string("on")},
      {"inf", std::string("inf")},
      {"nan", std::string("nan")},
      {"-", std::string("-")},
      {"+-1", std::string("+-1")},
      {"--1", std::string("--1")},
      {".", std::string(".")},
      {"e5", std::string("e5")},
      {".e5", std::string(".e5")},
      {"1e", std::string("1e")},
      {"1e+", std::string("1e+")},
      {"1.2.3", std::string("1.2.3")},
      {"1 2", std::string("1 2")},
      {"-.nan", std::string("-.nan")},
      {"same_tf", std::string("same_tf")},
  };
  for (const auto& row : rows) {
    const std::string& text = row.first;
    const auto& value = row.second;
    CAPTURE(text);
    CHECK(same(parse_scalar(text), value));
  }
  CHECK(std::isnan(std::get<double>(parse_scalar(".nan"))));
  CHECK_THROWS_WITH_AS(parse_scalar("99999999999999999999"),
                       "'99999999999999999999' is out of the range of 64-bit integers", Error);
  CHECK_THROWS_AS(parse_scalar("-9223372036854775809"), Error);
  CHECK_THROWS_AS(parse_scalar("1e999"), Error);
}

TEST_CASE("a parameter alone stands for what was given") {
  const Parameters parameters = sample();
  CHECK(same(evaluate("$channels", parameters), int64_t{32}));
  CHECK(same(evaluate("$mode", parameters), std::string("reflect")));
  CHECK(same(evaluate("$bias", parameters), false));
  CHECK(same(evaluate("$eps", parameters), 0.5));
  CHECK(same(evaluate("$rates", parameters), std::vector<int64_t>{1, 2, 4}));
  CHECK(same(evaluate("3", parameters), int64_t{3}));
}

TEST_CASE("integer arithmetic") {
  const std::vector<std::pair<std::string, int64_t>> rows = {
      {"$channels * 2", 64},
      {"$channels*2+1", 65},
      {"1 + $channels * 2", 65},
      {"(1 + $channels) * 2", 66},
      {"($kernel_size - 1) * $dilation", 24},
      {"$kernel_size // 2", 3},
      {"$minus // 2", -4},
      {"$kernel_size // -2", -4},
      {"$minus // -2", 3},
      {"$kernel_size % 4", 3},
      {"$minus % 4", 1},
      {"$kernel_size % -4", -1},
      {"$minus % -4", -3},
      {"-$kernel_size", -7},
      {"- -$kernel_size", 7},
      {"2 - -$kernel_size", 9},
      {"$channels - 1 - 1", 30},
      {"$channels // 2 // 2", 8},
      {"$channels // 2 * 2", 32},
      {"$index + 1", 4},
      {"(((($index))))", 3},
      {"$least % -1", 0},
      {"$least + $most", -1},
      {"$($index + 1)", 4},
  };
  const Parameters parameters = sample();
  for (const auto& row : rows) {
    const std::string& text = row.first;
    const auto& value = row.second;
    CAPTURE(text);
    CHECK(same(evaluate(text, parameters), value));
  }
}

TEST_CASE("what can't be computed is refused") {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"$channel * 2", "unknown parameter $channel; did you mean $channels?"},
      {"$zebra", "unknown parameter $zebra"},
      {"$channels / 2", "'//' divides and rounds down"},
      {"$channels // $zero", "division by zero"},
      {"$channels % 0", "division by zero"},
      {"$most + 1", "does not fit 64 bits"},
      {"$least - 1", "does not fit 64 bits"},
      {"$most * 2", "does not fit 64 bits"},
      {"-$least", "does not fit 64 bits"},
      {"$least // -1", "does not fit 64 bits"},
      {"$eps * 2", "$eps is 0.5 (a number), and arithmetic takes integers"},
      {"$rates + 1", "$rates is [1, 2, 4] (a list of integers)"},
      {"$mode + 1", "$mode is \"reflect\" (a string)"},
      {"$bias + 1", "$bias is false (a boolean)"},
      {"$channels +", "expected an integer, a $name or '('"},
      {"($channels", "a ')' is missing"},
      {"$channels)", "unexpected ')'"},
      {"$channels 2", "unexpected '2'"},
      {"$channels * 010", "'010' is not a decimal integer"},
      {"$channels * 0x10", "'0x10' is not a decimal integer"},
      {"$channels * 99999999999999999999", "out of the range"},
      {"$", "must follow '$'"},
      {"a$", "must follow '$'"},
      {"$.x", "must follow '$'"},
      {"a.$rates", "only strings and integers can be part of a text"},
      {std::string(100, '(') + "$index" + std::string(100, ')'), "nested parentheses"},
      {std::string(1'000'000, '(') + "$index", "nested parentheses"},
  };
  for (const auto& row : rows) {
    const std::string& text = row.first;
    const auto& message = row.second;
    CAPTURE(text.substr(0, 100));
    CHECK_MESSAGE(refusal(text).find(message) != std::string::npos, refusal(text));
  }
  CHECK(same(evaluate(std::string(1'000'001, '-') + "$index", sample()), int64_t{-3}));
  CHECK_THROWS_WITH_AS(evaluate("$index", Parameters()),
                       "unknown parameter $index; it counts repeats, and nothing repeats here", Error);
}

TEST_CASE("text with parameters in it") {
  const Parameters parameters = sample();
  CHECK(interpolate("resblocks.$index", parameters) == "resblocks.3");
  CHECK(interpolate("resblocks.$($index * 2 + 1).conv", parameters) == "resblocks.7.conv");
  CHECK(interpolate("$mode$index", parameters) == "reflect3");
  CHECK(interpolate("$$index", parameters) == "$index");
  CHECK(interpolate("plain", parameters) == "plain");
  CHECK(same(evaluate("a_$mode.b", parameters), std::string("a_reflect.b")));
  CHECK_THROWS_AS(interpolate("a.$(", parameters), Error);
}

TEST_CASE("inner parameters hide those around them") {
  const Parameters outer = sample();
  Parameters inner(&outer);
  inner.set("index", int64_t{9});
  CHECK(same(evaluate("$index + $channels", inner), int64_t{41}));
}

}  // namespace
}  // namespace strand::graphs
