#include "graphs/yaml.h"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "engine/error.h"
#include "graphs/description.h"
#include "tests/bad/bad_inputs.h"

namespace strand::graphs {
namespace {

struct BadText {
  std::string text;
  ErrorCategory category;
  std::string message;  // from its beginning
};

void check(const BadText& row) {
  CAPTURE(row.text.substr(0, 200));
  try {
    parse_yaml(row.text, "net.yaml");
    FAIL_CHECK("accepted");
  } catch (const Error& error) {
    CHECK_MESSAGE(error.category() == row.category, error.what());
    CHECK_MESSAGE(std::string(error.what()).starts_with(row.message), error.what());
  }
}

std::string repeated(const std::string& piece, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += piece;
  return text;
}

TEST_CASE("a tree keeps kinds, order, quotes, lines and columns") {
  const YamlNode root = parse_yaml("b: 1\na: [x, '1', ~]\nc:\n  d: \"\"\n  e: |\n    two\n    lines\n", "net.yaml");
  REQUIRE(root.is_map());
  REQUIRE(root.entries.size() == 3);
  CHECK(root.entries[0].key == "b");
  CHECK(root.entries[1].key == "a");
  const YamlNode& list = *root.find("a");
  REQUIRE(list.is_list());
  REQUIRE(list.items.size() == 3);
  CHECK(list.items[0].text == "x");
  CHECK_FALSE(list.items[0].quoted);
  CHECK(list.items[1].quoted);
  CHECK(list.items[1].line == 2);
  CHECK(list.items[1].column == 8);
  CHECK(list.items[2].is_null());
  const YamlNode& map = *root.find("c");
  CHECK(map.entries[0].line == 4);
  CHECK(map.find("d")->quoted);
  CHECK_FALSE(map.find("d")->is_null());
  CHECK(map.find("e")->text == "two\nlines\n");
  CHECK(map.find("e")->quoted);
  CHECK(map.find("f") == nullptr);
}

TEST_CASE("a byte order mark and Windows line ends are fine") {
  const YamlNode root = parse_yaml(
      "\xef\xbb\xbf"
      "a: 1\r\nb: [1,\r\n  2]\r\n",
      "net.yaml");
  REQUIRE(root.entries.size() == 2);
  CHECK(root.entries[0].key == "a");
  CHECK(root.entries[0].value.text == "1");
  CHECK(root.entries[1].value.items[1].line == 3);
}

TEST_CASE("names in any language are fine") {
  CHECK(parse_yaml("name: \xe7\xb6\xb2\xe7\xb5\xa1 # \xf0\x9f\x8e\xb5\n", "net.yaml").find("name")->text ==
        "\xe7\xb6\xb2\xe7\xb5\xa1");
}

TEST_CASE("what is not YAML, or has no place in a description, is refused with its line and column") {
  using enum ErrorCategory;
  const std::vector<BadText> rows = {
      {"", kSchema, "net.yaml: the file is empty"},
      {"# nothing\n", kSchema, "net.yaml: the file is empty"},
      {"a: [1, 2\n", kParse, "net.yaml:2:1: "},
      {"a: {b: 1\nc: 2\n", kParse, "net.yaml:"},
      {"a: \"x\n", kParse, "net.yaml:1:4: a quote that is never closed"},
      {"\xef\xbb\xbf\r\na: 'it''\nb: 3\n\n", kParse, "net.yaml:2:4: a quote that is never closed"},
      {"a: \"x\\\"\n", kParse, "net.yaml:1:4: a quote that is never closed"},
      {"a: \"x", kParse, "net.yaml:1:"},
      {"layers:\n\t- a\n", kParse, "net.yaml:2:2: "},
      {"a: 1\n b: 2\n", kParse, "net.yaml:2:3: "},
      {"a: b: c\n", kParse, "net.yaml:1:5: "},
      {"a: 1\nb: 2\na: 3\n", kSchema, "net.yaml:3:1: duplicate key 'a'; the first is on line 1"},
      {"x: {a: 1, 'a': 2}\n", kSchema, "net.yaml:1:11: duplicate key 'a'; the first is on line 1"},
      {"a: 1\n---\nb: 1\n", kSchema, "net.yaml:2:1: a second document"},
      {"a: &x 1\n", kParse, "net.yaml:1:4: an anchor"},
      {"a: &x 1\nb: *x\n", kLimit, "net.yaml:2:4: an alias"},
      {"a: *x\n", kParse, "net.yaml:1:4: "},
      {"a: &x [1, [*x]]\n", kParse, "net.yaml:1:12: an alias (*name) inside what it stands for"},
      {"a: &x {b: *x}\n", kParse, "net.yaml:1:11: an alias (*name) inside what it stands for"},
      {"b: &b {k: 1}\nc:\n  <<: *b\n", kSchema, "net.yaml:3:3: unknown key '<<'"},
      {"a: !!int 3\n", kSchema, "net.yaml:1:4: tag 'tag:yaml.org,2002:int'"},
      {"a: !mine [3]\n", kSchema, "net.yaml:1:4: tag '!mine'"},
      {"!mine {a: 3}\n", kSchema, "net.yaml:1:1: tag '!mine'"},
      {"? [a]\n: b\n", kParse, "net.yaml:1:3: a list or map as a key"},
      {"{a: 1}: 2\n", kParse, "net.yaml:1:1: a list or map as a key"},
      {": 2\n", kSchema, "net.yaml:1:1: a key is missing"},
      {"~: 2\n", kSchema, "net.yaml:1:1: a key is missing"},
      {"a: 1\nb: \xff\n", kParse, "net.yaml:2:4: not UTF-8"},
      {"a: \xc0\xaf\n", kParse, "net.yaml:1:4: not UTF-8"},
      {"a: \xed\xa0\x80\n", kParse, "net.yaml:1:4: not UTF-8"},
      {std::string("a: 1\nb: \0\n", 10), kParse, "net.yaml:2:4: a NUL byte"},
      {std::string("\xff\xfe"
                   "a\0:\0",
                   6),
       kParse, "net.yaml:1:1: not UTF-8"},
      {std::string("a\0:\0 \0"
                   "1\0",
                   8),
       kParse, "net.yaml:1:2: a NUL byte"},
      {repeated("[", 101) + repeated("]", 101), kParse, "net.yaml:1:101: nested deeper than 100 levels"},
      {repeated("{a: ", 101) + repeated("}", 101), kParse, "net.yaml:1:401: nested deeper than 100 levels"},
      {repeated("- ", 100'000), kParse, "net.yaml:1:201: nested deeper than 100 levels"},
      {repeated("[", 100'000), kParse, "net.yaml:1:"},
      {std::string(1025, 'k') + ": 1\n", kParse, "net.yaml:1:"},  // YAML's own limit
      {"? " + std::string(1025, 'k') + "\n: 1\n", kLimit, "net.yaml:1:"},
      {"a: [" + repeated("{},", 2'000'000) + "]\n", kLimit, "net.yaml:1:"},
      {std::string((size_t{16} << 20) + 1, ' '), kLimit, "net.yaml: 16777217 bytes, more than 16777216 (16 MiB)"},
  };
  for (const BadText& row : rows) check(row);
}

TEST_CASE("quotes at the end that are closed") {
  for (const std::string text :
       {"a: 'it''s'", "a: \"x\\\\\"\n", "a: ''\n\n", "a: \"\"", "a: it's\n", "a: 'x' # \"\n"}) {
    CAPTURE(text);
    CHECK(parse_yaml(text, "net.yaml").entries.size() == 1);
  }
}

TEST_CASE("nesting up to the limit is read") {
  CHECK(parse_yaml(repeated("[", 100) + repeated("]", 100), "net.yaml").items.size() == 1);
}

TEST_CASE("malformed files are refused as their table says") {
  const auto read = [](const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    read_description(text, path.string());
  };
  testing::check_bad_inputs("y_", read);
  testing::check_shared_bad_inputs("y_", read);
}

constexpr const char* kValid = R"(strand: 1
name: tcn
weights: {file: tcn.safetensors, dtype: float16}
inputs:
  audio: {shape: [batch, 1, length], defaults: {batch: 1, length: 16000}, rate: 16000}
blocks:
  residual:
    parameters: [channels, dilation, kernel_size: 3]
    inputs: [x, skip]
    layers:
      - {name: conv1, type: Conv1d, in_channels: $channels, padding: [($kernel_size - 1) * $dilation, 0], inputs: x}
      - {name: lstm, type: LSTM, hidden_size: $channels * 2 // 3, weights: "rnn.$index"}
      - {name: add, type: Add, inputs: ["lstm:h_n", x]}
      - {name: sum, type: Add, inputs: [add, skip]}
    outputs: [add, sum]
layers:
  - {name: stem, type: Conv1d, in_channels: 1, out_channels: 32, eps: 1.0e-5, bias: false, implementation: [cpu.eigen]}
  - {name: net, repeat: {dilation: [1, 2, 4, 8]}, type: residual, channels: 32, inputs: {x: stem, skip: stem}}
  - {name: head, repeat: 3, type: Conv1d, in_channels: 32, out_channels: 32, inputs: "net:sum"}
outputs: {y: head, first: net.0}
)";

// One change at a random place: a byte, a piece taken out, a piece copied elsewhere, or a telling word.
std::string mutated(std::string text, std::mt19937& random) {
  const std::vector<std::string> words = {"$",
                                          "*",
                                          "&a ",
                                          "[",
                                          "]",
                                          "{",
                                          "}",
                                          ": ",
                                          "\n",
                                          "- ",
                                          "'",
                                          "\"",
                                          "!x ",
                                          "|",
                                          "repeat: 99999999, ",
                                          "$index",
                                          "~",
                                          "\t",
                                          "#",
                                          "?",
                                          "%",
                                          "999999999999999999999"};
  const auto below = [&random](size_t end) { return static_cast<size_t>(random()) % std::max<size_t>(end, 1); };
  const size_t at = below(text.size());
  switch (below(4)) {
    case 0:
      if (!text.empty()) text[at] = static_cast<char>(below(256));
      break;
    case 1:
      text.erase(at, below(30));
      break;
    case 2:
      text.insert(at, text.substr(below(text.size()), below(40)));
      break;
    default:
      text.insert(at, words[below(words.size())]);
  }
  return text;
}

TEST_CASE("changed descriptions are read or refused, and nothing else") {
  std::mt19937 random(2024);  // NOLINT(cert-msc32-c,cert-msc51-cpp): the same cases every time
  REQUIRE(read_description(kValid, "net.yaml").layers.size() == 20);
  int read = 0;
  int refused = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string text = kValid;
    for (unsigned change = 0; change <= random() % 4; ++change) text = mutated(std::move(text), random);
    CAPTURE(text);
    try {
      const Description description = read_description(text, "net.yaml");
      ++read;
      for (size_t layer = 0; layer < description.layers.size(); ++layer) {
        for (const Source& source : description.layers[layer].inputs) {
          const size_t above = source.is_input ? description.inputs.size() : layer;
          CHECK(static_cast<size_t>(source.index) < above);
        }
      }
    } catch (const Error& error) {
      ++refused;
      CHECK(std::string(error.what()).starts_with("net.yaml:"));
    }
  }
  CHECK(read > 100);
  CHECK(refused > 100);
}

}  // namespace
}  // namespace strand::graphs
