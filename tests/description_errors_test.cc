#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "engine/error.h"
#include "graphs/description.h"

namespace strand::graphs {
namespace {

constexpr const char* kHead = "strand: 1\ninputs: {x: {shape: [1, 1, n]}}\n";  // two lines

Description read(const std::string& body) { return read_description(kHead + body, "net.yaml"); }

struct BadText {
  std::string body;     // after kHead
  std::string message;  // its beginning after "net.yaml:"
  ErrorCategory category = ErrorCategory::kSchema;
};

void check_refused(const std::string& text, const std::string& message, ErrorCategory category) {
  CAPTURE(text.substr(0, 400));
  try {
    read_description(text, "net.yaml");
    FAIL_CHECK("accepted");
  } catch (const Error& error) {
    CHECK_MESSAGE(std::string(error.what()).starts_with("net.yaml:" + message), error.what());
    CHECK(error.category() == category);
  }
}

void check_refused(const std::vector<BadText>& rows) {
  for (const BadText& row : rows) check_refused(kHead + row.body, row.message, row.category);
}

TEST_CASE("top-level keys that are wrong are refused") {
  const std::string layers = "layers: [{name: a, type: T}]\n";
  const std::string inputs = "inputs: {x: {shape: [1]}}\n";
  using enum ErrorCategory;
  const std::vector<BadText> whole = {
      {"hello\n", "1: the description is a value, expected a map"},
      {"[strand]\n", "1: the description is a list, expected a map"},
      {inputs + layers, "1: missing key 'strand', the version of the format: 'strand: 1'"},
      {"zebra: 1\nstrand: 2\n", "2: format version 2; this program reads version 1", kUnsupported},
      {"strand: 0\n", "1: strand is 0, expected at least 1"},
      {"strand: '1'\n", "1: strand is \"1\" (a string), expected an integer"},
      {"strand: 1.0\n", "1: strand is 1.0 (a number), expected an integer"},
      {"strand: 99999999999999999999\n", "1: '99999999999999999999' is out of the range of 64-bit integers"},
      {"strand: 1\n" + layers, "1: missing key 'inputs' in the description"},
      {"strand: 1\ninputs: {}\n" + layers, "2: inputs is empty"},
      {"strand: 1\ninputs: [x]\n" + layers, "2: inputs is a list, expected a map"},
      {"strand: 1\n" + inputs, "1: missing key 'layers' in the description"},
      {"strand: 1\ninputs: {x.y: {shape: [1]}}\n", "2: an input's name is 'x.y', expected letters, digits and"},
      {"strand: 1\ninputs: {x: {}}\n", "2: missing key 'shape' in input 'x'"},
      {"strand: 1\ninputs: {x: [1]}\n", "2: input 'x' is a list, expected a map"},
      {"strand: 1\ninputs: {x: {shape: 3}}\n", "2: shape is a value, expected a list"},
      {"strand: 1\ninputs: {x: {shape: []}}\n", "2: shape has 0 sizes, expected 1 to 8"},
      {"strand: 1\ninputs: {x: {shape: [1,1,1,1,1,1,1,1,1]}}\n", "2: shape has 9 sizes, expected 1 to 8"},
      {"strand: 1\ninputs: {x: {shape: [0]}}\n", "2: a size is 0, expected at least 1"},
      {"strand: 1\ninputs: {x: {shape: [1.5]}}\n", "2: a size is 1.5 (a number), expected an integer"},
      {"strand: 1\ninputs: {x: {shape: [[1]]}}\n", "2: a size is a list, expected an integer"},
      {"strand: 1\ninputs:\n  x:\n    shape: [n]\n    rat: 8000\n",
       "5: unknown key 'rat' in input 'x'; did you mean 'rate'?"},
      {"strand: 1\ninputs: {x: {shape: [n], rate: 0}}\n", "2: rate is 0, expected at least 1"},
      {"strand: 1\ninputs:\n  x:\n    shape: [length]\n    defaults: {lenght: 3}\n",
       "5: defaults name 'lenght', which the shape does not; did you mean 'length'?"},
      {"strand: 1\ninputs: {x: {shape: [n], defaults: {n: 0}}}\n", "2: default of 'n' is 0, expected at least 1"},
      {"strand: 1\ninputs:\n  x: {shape: [n], defaults: {n: 1}}\n  y: {shape: [n], defaults: {n: 2}}\n",
       "4: default of 'n' is 2, and 1 in an input above"},
  };
  for (const BadText& row : whole) check_refused(row.body, row.message, row.category);
  check_refused({
      {"layer: []\n", "3: unknown key 'layer' in the description; did you mean 'layers'?"},
      {"zebra: []\n", "3: unknown key 'zebra' in the description; known are strand, name,"},
      {"layers: []\n", "3: layers is empty"},
      {"layers: {a: 1}\n", "3: layers is a map, expected a list"},
      {"layers: [a]\n", "3: a layer is a value, expected a map"},
      {"name: ''\n" + layers, "3: name is empty, expected text"},
      {"name:\n" + layers, "3: name is null, expected text"},
      {"name: " + std::string(1025, 'n') + "\n" + layers, "3: name is longer than 1024 bytes", kLimit},
      {"weights: [a]\n" + layers, "3: weights is a list, expected text"},
      {"weights: {}\n" + layers, "3: missing key 'file' in weights"},
      {"weights: {seed: -1}\n" + layers, "3: seed is -1, expected at least 0"},
      {"weights: {seed: 1, file: a}\n" + layers, "3: unknown key 'file' in random weights; known are seed"},
      {"weights: {file: a, dtyp: b}\n" + layers, "3: unknown key 'dtyp' in weights; did you mean 'dtype'?"},
      {"weights: {file: a, dtype: int8}\n" + layers, "3: unknown dtype 'int8', expected float32,", kUnsupported},
      {layers + "outputs: []\n", "4: outputs is empty"},
      {layers + "outputs: [b]\n", "4: unknown layer or input 'b'"},
      {layers + "outputs: [a, a]\n", "4: duplicate output 'a'"},
      {layers + "outputs: [[a]]\n", "4: an output is a list, expected text"},
      {layers + "outputs: ['x:y']\n", "4: 'x' has no output 'y'"},
  });
}

TEST_CASE("layers that are wrong are refused") {
  using enum ErrorCategory;
  check_refused({
      {"layers: [{type: T}]\n", "3: missing key 'name' in a layer"},
      {"layers:\n  - {name: a}\n", "4: missing key 'type' in layer 'a'"},
      {"layers: [{name: a.b, type: T}]\n", "3: a layer's name is 'a.b', expected letters"},
      {"layers: [{name: 1a, type: T}]\n", "3: a layer's name is '1a', expected letters"},
      {"layers: [{name: '', type: T}]\n", "3: a layer's name is '', expected letters"},
      {"layers: [{name: [a], type: T}]\n", "3: a layer's name is a list, expected text"},
      {"layers: [{name: a, type: }]\n", "3: layer 'a': type is null, expected text"},
      {"layers: [{name: " + std::string(1025, 'a') + ", type: T}]\n", "3: a layer's name is longer than 1024", kLimit},
      {"layers:\n  - {name: a, type: T}\n  - {name: a, type: T}\n",
       "5: duplicate layer name 'a'; the first is on line 4"},
      {"layers:\n  - {name: x, type: T}\n", "4: layer name 'x' is an input's too, of line 2"},
      {"layers:\n  - name: a\n    type: T\n    '\\e': 1\n", "6: unknown field '\\e'"},
      {"layers:\n  - name: a\n    type: T\n    k: {b: 1}\n", "6: T 'a': a map, expected a value or a list of numbers"},
      {"layers:\n  - name: a\n    type: T\n    k: [1, b]\n", "6: T 'a': \"b\" (a string) in a list, expected integers"},
      {"layers: [{name: a, type: T, k: [[1]]}]\n", "3: T 'a': [1] (a list of integers) in a list"},
      {"layers: [{name: a, type: T, k: $c}]\n", "3: T 'a': unknown parameter $c; there are none here"},
      {"layers: [{name: a, type: T, k: $index}]\n", "3: T 'a': unknown parameter $index; it counts repeats"},
      {"layers: [{name: a, type: T, k: 99999999999999999999}]\n", "3: T 'a': '99999999999999999999' is out of"},
      {"layers: [{name: a, type: T, k: " + std::string(1025, 'x') + "}]\n", "3: T 'a': text of more than", kLimit},
      {"layers: [{name: a, type: T, implementation: eigen}]\n", "3: T 'a': implementation 'eigen', expected DEVICE."},
      {"layers: [{name: a, type: T, implementation: [cpu.a, cpu.b]}]\n",
       "3: T 'a': a second implementation for cpu, 'cpu.b'"},
      {"layers: [{name: a, type: T, repeat: 0}]\n", "3: layer 'a': repeat makes 0 layers"},
      {"layers: [{name: a, type: T, repeat: -1}]\n", "3: layer 'a': repeat makes -1 layers"},
      {"layers: [{name: a, type: T, repeat: many}]\n", "3: layer 'a': repeat is \"many\" (a string), expected"},
      {"layers: [{name: a, type: T, repeat: 100001}]\n", "3: layer 'a': repeat makes more than 100000", kLimit},
      {"layers: [{name: a, type: T, repeat: {}}]\n", "3: layer 'a': repeat is empty"},
      {"layers: [{name: a, type: T, repeat: {d: []}}]\n", "3: layer 'a': repeat makes 0 layers"},
      {"layers: [{name: a, type: T, repeat: {d: 3}}]\n", "3: layer 'a': repeat: d is 3 (an integer), expected a list"},
      {"layers: [{name: a, type: T, repeat: {d: [1, 2], k: [1]}}]\n",
       "3: layer 'a': repeat: 'k' has 1 values and 'd' has 2"},
      {"layers: [{name: a, type: T, repeat: {d: [1]}, d: 2}]\n", "3: T 'a.0': 'd' is given, and repeated too"},
      {"layers: [{name: a, type: T, repeat: 2, inputs: {h: x}}]\n", "3: T 'a.1': repeat feeds the input named 'input'"},
      {"layers: [{name: a, type: T, repeat: 2, inputs: []}]\n", "3: T 'a.1': repeat of a layer without inputs"},
  });
  check_refused("strand: 1\ninputs: {x: {shape: [1]}, y: {shape: [1]}}\nlayers: [{name: a, type: T}]\n",
                "3: T 'a': missing key 'inputs': the first layer of a network with several inputs",
                ErrorCategory::kSchema);
}

TEST_CASE("references that lead nowhere are refused") {
  check_refused({
      {"layers:\n  - {name: conv, type: T}\n  - {name: b, type: T, inputs: [covn]}\n",
       "5: T 'b': unknown layer or input 'covn'; did you mean 'conv'?"},
      {"layers:\n  - {name: a, type: T, inputs: [b]}\n  - {name: b, type: T, inputs: x}\n",
       "4: T 'a': forward reference: 'b' stands below, on line 5"},
      {"layers:\n  - {name: a, type: T, inputs: [b]}\n  - {name: b, type: T}\n",
       "4: T 'a': the inputs form a cycle: a -> b -> a"},
      {"layers: [{name: a, type: T, inputs: a}]\n", "3: T 'a': the inputs form a cycle: a -> a"},
      {"layers:\n  - {name: a, type: T, inputs: [x, d]}\n  - {name: b, type: T}\n  - {name: c, type: T}\n"
       "  - {name: d, type: T, inputs: {input: x, other: 'c:h'}}\n",
       "4: T 'a': the inputs form a cycle: a -> d -> c -> b -> a"},
      {"layers:\n  - {name: a, repeat: 2, type: T, inputs: [a.1]}\n", "4: T 'a.0': the inputs form a cycle: a -> a"},
      {"layers:\n  - {name: a, repeat: 2, type: T}\n  - {name: b, type: T, inputs: [a.2]}\n",
       "5: T 'b': unknown layer or input 'a.2'"},
      {"layers: [{name: a, type: T, inputs: ['x:h']}]\n", "3: T 'a': 'x' has no output 'h'"},
      {"layers: [{name: a, type: T, inputs: ['x:']}]\n", "3: T 'a': the output's name in 'x:' is ''"},
      {"layers: [{name: a, type: T, inputs: ['']}]\n", "3: T 'a': an empty name"},
      {"layers: [{name: a, type: T, inputs: [null]}]\n", "3: T 'a': an input is null, expected text"},
      {"layers: [{name: a, type: T, inputs: {'a b': x}}]\n", "3: T 'a': an input's name is 'a b'"},
  });
}

TEST_CASE("blocks that are wrong are refused") {
  const std::string use = "layers: [{name: a, type: b}]\n";
  using enum ErrorCategory;
  check_refused({
      {"blocks: [b]\n" + use, "3: blocks is a list, expected a map"},
      {"blocks: {b: 3}\n" + use, "3: block 'b' is a value, expected a map"},
      {"blocks: {b.c: {}}\n" + use, "3: a block's name is 'b.c'"},
      {"blocks: {b: {}}\n" + use, "3: missing key 'layers' in block 'b'"},
      {"blocks: {b: {layers: []}}\n" + use, "3: layers is empty"},
      {"blocks:\n  b:\n    layer: []\n" + use, "5: unknown key 'layer' in block 'b'; did you mean 'layers'?"},
      {"blocks: {b: {inputs: []}}\n" + use, "3: block 'b' has no inputs"},
      {"blocks: {b: {inputs: [u, u]}}\n" + use, "3: duplicate input 'u'"},
      {"blocks: {b: {parameters: [u, u]}}\n" + use, "3: duplicate parameter 'u'"},
      {"blocks: {b: {parameters: [index]}}\n" + use, "3: a parameter can't be called 'index'"},
      {"blocks: {b: {parameters: [weights: 3]}}\n" + use, "3: a parameter can't be called 'weights'"},
      {"blocks: {b: {parameters: [[u]]}}\n" + use, "3: a parameter is a list, expected a name or 'name: default'"},
      {"blocks: {b: {parameters: [u], layers: [{name: c, type: T}]}}\n" + use,
       "4: b 'a': missing parameter 'u' of block 'b'"},
      {"blocks: {b: {parameters: [width], layers: [{name: c, type: T}]}}\nlayers: [{name: a, type: b, widht: 3}]\n",
       "4: b 'a': block 'b' has no parameter 'widht'; did you mean 'width'?"},
      {"blocks:\n  b:\n    parameters: [width]\n    layers:\n      - {name: c, type: T, k: $widht}\n"
       "layers: [{name: a, type: b, width: 3}]\n",
       "7: T 'a.c': unknown parameter $widht; did you mean $width?"},
      {"blocks: {b: {inputs: [u, v], layers: [{name: c, type: T}]}}\n" + use,
       "4: b 'a': 1 inputs; block 'b' takes 2 (u, v)"},
      {"blocks: {b: {inputs: [u, v], layers: [{name: c, type: T}]}}\nlayers: [{name: a, type: b, inputs: {u: x}}]\n",
       "4: b 'a': missing input 'v' of block 'b'"},
      {"blocks: {b: {inputs: [u], layers: [{name: c, type: T}]}}\nlayers: [{name: a, type: b, inputs: {w: x}}]\n",
       "4: b 'a': block 'b' has no input 'w'"},
      {"blocks: {b: {layers: [{name: x, type: T}]}}\n" + use, "3: b 'a': layer name 'x' is an input's too"},
      {"blocks: {b: {layers: [{name: c, type: T}]}}\nlayers: [{name: a, type: b, implementation: cpu.x}]\n",
       "4: b 'a': a block has no implementation"},
      {"blocks:\n  b: {layers: [{name: c, type: c}]}\n  c: {layers: [{name: c, type: b}]}\n" + use,
       "5: b 'a.c.c': block 'b' holds itself: b -> c -> b"},
      {"blocks: {b: {layers: [{name: c, type: b}]}}\n" + use, "3: b 'a.c': block 'b' holds itself: b -> b"},
      // A block sees its own inputs and layers alone, and nobody sees into it.
      {"blocks: {b: {layers: [{name: c, type: T, inputs: stem}]}}\n"
       "layers: [{name: stem, type: T}, {name: a, type: b}]\n",
       "3: T 'a.c': unknown layer or input 'stem'"},
      {"blocks: {b: {layers: [{name: c, type: T}]}}\nlayers:\n  - {name: a, type: b}\n"
       "  - {name: d, type: T, inputs: a.c}\n",
       "6: T 'd': unknown layer or input 'a.c'"},
      {"blocks: {b: {layers: [{name: c, type: T}], outputs: [d]}}\n" + use, "3: b 'a': unknown layer or input 'd'"},
  });
}

TEST_CASE("what a few lines make is bounded") {
  using enum ErrorCategory;
  CHECK(read("layers: [{name: a, repeat: 100000, type: T}]").layers.size() == 100'000);
  std::string nested = "blocks:\n";
  for (int i = 0; i < 100; ++i) {
    nested += "  b" + std::to_string(i) + ": {layers: [{name: c, type: b" + std::to_string(i + 1) + "}]}\n";
  }
  std::string list = "[1";
  for (int i = 0; i < 100'000; ++i) list += ",1";
  check_refused({
      {"blocks: {b: {layers: [{name: c, repeat: 1000, type: T}]}}\nlayers: [{name: a, repeat: 101, type: b}]\n",
       "3: T 'a.100.c.0': more than 100000 layers", kLimit},
      {"blocks:\n  b: {layers: [{name: c, repeat: 100000, type: T}]}\n"
       "  d: {layers: [{name: c, repeat: 100000, type: b}]}\nlayers: [{name: a, repeat: 100000, type: d}]\n",
       "4: T 'a.0.c.1.c.0': more than 100000 layers", kLimit},
      {nested + "layers: [{name: a, type: b0}]\n", "67: b64 'a.c.c.c", kLimit},
      {"blocks: {b: {parameters: [l], layers: [{name: c, repeat: 100000, type: T, k: $l}]}}\n"
       "layers: [{name: a, type: b, l: " +
           list + "]}]\n",
       "3: T 'a.c.198': more than 20000000 values", kLimit},
  });
}

TEST_CASE("a long chain needs no deep stack, and its cycle is told in short") {
  std::string chain = "layers:\n  - {name: l0, type: T, inputs: [l19999]}\n";
  for (int i = 1; i < 20'000; ++i) chain += "  - {name: l" + std::to_string(i) + ", type: T}\n";
  check_refused(kHead + chain, "4: T 'l0': the inputs form a cycle: l0 -> l19999 -> l19998 -> l19997",
                ErrorCategory::kSchema);
  chain.replace(chain.find("l19999"), 6, "x");
  CHECK(read(chain).layers.size() == 20'000);
}

}  // namespace
}  // namespace strand::graphs
