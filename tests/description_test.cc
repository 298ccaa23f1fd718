#include "graphs/description.h"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "engine/error.h"

namespace strand::graphs {
namespace {

constexpr const char* kHead = "strand: 1\ninputs: {x: {shape: [1, 1, n]}}\n";  // two lines

Description read(const std::string& body) { return read_description(kHead + body, "net.yaml"); }

// "conv(x) relu(conv) add(relu, x)": each layer's path and its inputs'.
std::string sketch(const Description& description) {
  const auto name = [&](const Source& source) {
    const auto index = static_cast<size_t>(source.index);
    const std::string base = source.is_input ? description.inputs[index].name : description.layers[index].path;
    return source.port.empty() ? base : base + ":" + source.port;
  };
  std::string text;
  for (const LayerDescription& layer : description.layers) {
    text += (text.empty() ? "" : " ") + layer.path + "(";
    std::string inputs;
    for (const Source& source : layer.inputs) inputs += (inputs.empty() ? "" : ", ") + name(source);
    for (const auto& [port, source] : layer.inputs_by_port) {
      inputs += (inputs.empty() ? "" : ", ") + port + "=" + name(source);
    }
    text += inputs + ")";
  }
  for (const OutputDescription& output : description.outputs) text += " " + output.name + "=" + name(output.source);
  return text;
}

std::string field(const Description& description, size_t layer, const std::string& name) {
  return layers::to_string(description.layers.at(layer).attributes.value(name));
}

TEST_CASE("everything that a description may say") {
  const Description description = read_description(R"(strand: 1
name: tcn
weights: {file: tcn.safetensors, dtype: bfloat16}
inputs:
  audio: {shape: [batch, 1, length], defaults: {batch: 1, length: 16000}, rate: 16000}
  speaker: {shape: [batch, 8]}
blocks:
  residual:
    parameters: [channels, dilation, kernel_size: 3, hidden: $channels * 2]
    inputs: [x, condition]
    layers:
      - {name: conv, type: Conv1d, out_channels: $hidden, kernel_size: $kernel_size, dilation: $dilation}
      - {name: lstm, type: LSTM, inputs: {input: conv, h_0: condition}, weights: rnn.$index}
      - {name: add, type: Add, inputs: ["lstm:h_n", x]}
    outputs: [add, "lstm:c_n"]
layers:
  - name: stem
    type: Conv1d
    inputs: audio
    padding: [3, 0]
    bias: false
    implementation: [cpu.eigen, cuda.direct]
  - {name: net, repeat: {dilation: [1, 2]}, type: residual, channels: 32, inputs: [stem, speaker]}
  - {name: head, type: Conv1d, inputs: ["net:c_n"], eps: 1.0e-3, mode: "3", none: null}
outputs: {y: head, hidden: "net.0:c_n"}
)",
                                                   "dir/net.yaml");
  CHECK(description.name == "tcn");
  CHECK(description.file == "dir/net.yaml");
  CHECK(description.weights.file == "tcn.safetensors");
  CHECK(description.weights.dtype == "bfloat16");
  CHECK(description.weights.line == 3);
  REQUIRE(description.inputs.size() == 2);
  CHECK(description.inputs[0].name == "audio");
  CHECK(description.inputs[0].rate == 16000);
  CHECK(description.inputs[0].shape[0].symbol == "batch");
  CHECK(description.inputs[0].shape[1].size == 1);
  CHECK(description.inputs[0].defaults.at("length") == 16000);
  CHECK(description.inputs[1].line == 6);
  // The second repeat takes both outputs of the first one.
  CHECK(sketch(description) ==
        "stem(audio) net.0.conv(stem) net.0.lstm(h_0=speaker, input=net.0.conv) net.0.add(net.0.lstm:h_n, stem) "
        "net.1.conv(net.0.add) net.1.lstm(h_0=net.0.lstm:c_n, input=net.1.conv) net.1.add(net.1.lstm:h_n, net.0.add) "
        "head(net.1.lstm:c_n) y=head hidden=net.0.lstm:c_n");
  CHECK(description.layers[0].implementations == std::vector<std::string>{"cpu.eigen", "cuda.direct"});
  CHECK(description.layers[0].line == 17);
  CHECK(field(description, 0, "padding") == "[3, 0]");
  CHECK(field(description, 0, "bias") == "false");
  CHECK_FALSE(description.layers[0].attributes.has("name"));
  CHECK(field(description, 1, "out_channels") == "64");
  CHECK(field(description, 1, "kernel_size") == "3");
  CHECK(field(description, 4, "dilation") == "2");
  CHECK(description.layers[4].weights_path == "net.1.conv");
  CHECK(description.layers[5].weights_path == "rnn.1");
  CHECK(description.layers[4].line == 12);
  CHECK(field(description, 7, "eps") == "0.001");
  CHECK(field(description, 7, "mode") == "\"3\"");
  CHECK(field(description, 7, "none") == "null");
  CHECK(location(description, description.layers[5]) == "dir/net.yaml:13: LSTM 'net.1.lstm'");
}

std::string contents(const std::string& path) {
  std::ifstream file(STRAND_SOURCE_DIR "/" + path, std::ios::binary);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST_CASE("the reference's example is what it says") {
  const std::string readme = contents("graphs/README.md");
  const size_t begin = readme.find("```yaml\n") + 8;
  const Description description = read_description(readme.substr(begin, readme.find("```", begin) - begin), "net.yaml");
  CHECK(sketch(description) ==
        "stem(audio) "
        "net.0.conv(stem) net.0.add(net.0.conv, stem, speaker) net.0.sum(net.0.conv, stem) "
        "net.1.conv(net.0.add) net.1.add(net.1.conv, net.0.add, speaker) net.1.sum(net.1.conv, net.0.sum) "
        "net.2.conv(net.1.add) net.2.add(net.2.conv, net.1.add, speaker) net.2.sum(net.2.conv, net.1.sum) "
        "head(input=net.2.sum) sound=head features=net.2.add early=net.0.add");
  CHECK(field(description, 7, "padding") == "[8, 0]");
  CHECK(description.layers[4].weights_path == "blocks.1.conv");
}

TEST_CASE("what is left out") {
  const Description description = read("layers:\n  - {name: a, type: ReLU}\n  - {name: b, type: ReLU}\n");
  CHECK(description.name == "net");
  CHECK(description.weights.file.empty());
  CHECK_FALSE(description.weights.seed.has_value());
  CHECK(sketch(description) == "a(x) b(a) b=b");
  CHECK(read("weights: {seed: 7}\nlayers: [{name: a, type: T}]").weights.seed == 7U);
  CHECK(read("weights: w.safetensors\nlayers: [{name: a, type: T}]").weights.dtype == "float32");
}

TEST_CASE("repeats") {
  CHECK(sketch(read("layers: [{name: s, type: S}, {name: a, repeat: 3, type: T}]")) ==
        "s(x) a.0(s) a.1(a.0) a.2(a.1) a=a.2");
  // A further input stays the same, and any repeat can be named.
  CHECK(sketch(read("layers: [{name: s, type: S}, {name: a, repeat: 2, type: T, inputs: [s, x]}, {name: e, type: Add, "
                    "inputs: [a, a.0, a.1]}]")) == "s(x) a.0(s, x) a.1(a.0, x) e(a.1, a.0, a.1) e=e");
  CHECK(sketch(read("layers: [{name: a, repeat: 2, type: T, inputs: {input: x, h_0: x}}]")) ==
        "a.0(h_0=x, input=x) a.1(h_0=x, input=a.0) a=a.1");
  const Description lists = read(
      "layers: [{name: a, repeat: {dilation: [1, 2], padding: [[1, 0], same]}, type: T, width: $dilation * 2 + "
      "$index}]");
  CHECK(field(lists, 1, "dilation") == "2");
  CHECK(field(lists, 0, "padding") == "[1, 0]");
  CHECK(field(lists, 1, "padding") == "same");
  CHECK(field(lists, 1, "width") == "5");
  // Inputs may count too: a decoder that walks the encoder backwards.
  CHECK(sketch(read("layers: [{name: e, repeat: 3, type: T}, {name: d, repeat: 2, type: U, "
                    "inputs: [e, e.$(1 - $index)]}]")) == "e.0(x) e.1(e.0) e.2(e.1) d.0(e.2, e.1) d.1(d.0, e.0) d=d.1");
}

TEST_CASE("all repeats at once, in order") {
  CHECK(sketch(read("layers: [{name: e, repeat: 3, type: T}, {name: d, type: U, inputs: e.*}]")) ==
        "e.0(x) e.1(e.0) e.2(e.1) d(e.0, e.1, e.2) d=d");
  CHECK(sketch(read(R"(
blocks: {b: {layers: [{name: c, type: C}, {name: s, type: S}], outputs: [c, s]}}
layers: [{name: e, repeat: 2, type: b}, {name: d, type: U, inputs: [x, "e.*:s"]}]
)")) == "e.0.c(x) e.0.s(e.0.c) e.1.c(e.0.c) e.1.s(e.1.c) d(x, e.0.s, e.1.s) d=d");
  CHECK_THROWS_WITH_AS(read("layers: [{name: e, type: T}, {name: d, type: U, inputs: e.*}]"),
                       "net.yaml:3: U 'd': unknown layer or input 'e.0'", Error);
}

TEST_CASE("blocks in blocks see their own parameters, and the repeat around them") {
  const Description description = read(R"(
blocks:
  inner: {parameters: [k], layers: [{name: c, type: C, k: $k, index: $index}]}
  outer:
    parameters: [kernels, n]
    layers:
      - {name: a, repeat: {k: $kernels}, type: inner}
      - {name: b, repeat: $n, type: inner, k: $index * 10}
      - {name: c, type: inner, k: $n, weights: shared.$index}
layers:
  - {name: o, repeat: 2, type: outer, kernels: [3, 5], n: 1, weights: "m.$index"}
)");
  CHECK(sketch(description).starts_with("o.0.a.0.c(x) o.0.a.1.c(o.0.a.0.c) o.0.b.0.c(o.0.a.1.c) o.0.c.c(o.0.b.0.c) "));
  CHECK(field(description, 1, "k") == "5");
  CHECK(field(description, 1, "index") == "1");
  CHECK(field(description, 2, "k") == "0");
  CHECK(field(description, 7, "index") == "1");
  CHECK(description.layers[4].weights_path == "m.1.a.0.c");
  CHECK(description.layers[7].weights_path == "shared.1.c");
  CHECK(read("blocks: {b: {layers: [{name: c, type: C, weights: .conv.$index}]}}\n"
             "layers: [{name: a, repeat: 2, type: b, weights: .m.$index}]")
            .layers[1]
            .weights_path == "m.1.conv.1");
  CHECK(read("blocks: {b: {layers: [{name: c, type: C}]}, o: {layers: [{name: i, type: b, weights: .}]}}\n"
             "layers: [{name: a, type: o}]")
            .layers[0]
            .weights_path == "a.c");
  CHECK(read("blocks: {b: {layers: [{name: c, type: C}]}}\nlayers: [{name: a, type: b, weights: ''}]")
            .layers[0]
            .weights_path == "c");
}

TEST_CASE("a block hides a layer type of its name, and types and names may be parameters") {
  const Description description = read(R"(
blocks:
  ReLU: {parameters: [act, n], layers: [{name: act_$n, type: $act}, {name: e, type: E, inputs: act_$n}]}
layers:
  - {name: a, type: ReLU, act: Tanh, n: 4}
)");
  CHECK(sketch(description) == "a.act_4(x) a.e(a.act_4) a=a.e");
  CHECK(description.layers[0].type == "Tanh");
}

TEST_CASE("values") {
  const std::vector<std::pair<std::string, std::string>> rows = {{"010", "\"010\""},
                                                                 {"0x10", "\"0x10\""},
                                                                 {"3.0", "3.0"},
                                                                 {"1e3", "1000.0"},
                                                                 {"yes", "yes"},
                                                                 {"null", "null"},
                                                                 {"~", "null"},
                                                                 {"true", "true"},
                                                                 {"'true'", "\"true\""},
                                                                 {".nan", ".nan"},
                                                                 {"-.inf", "-.inf"},
                                                                 {"-1", "-1"},
                                                                 {"2147483648", "2147483648"},
                                                                 {"[]", "[]"},
                                                                 {"[1, 2.5]", "[1.0, 2.5]"},
                                                                 {"3 * 2", "\"3 * 2\""},
                                                                 {"\"$$x\"", "\"$x\""}};
  for (const auto& row : rows) {
    const std::string& text = row.first;
    const auto& value = row.second;
    CAPTURE(text);
    CHECK(field(read("layers: [{name: a, type: T, f: " + text + "}]"), 0, "f") == value);
  }
}

}  // namespace
}  // namespace strand::graphs
