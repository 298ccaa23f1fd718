// Random networks, offline, in tiles and as streams, and offline without fusion: every bit must be the same (but for a
// fold, which has its layers' bounds). A failing one is made smaller until no part of it can go, and printed as YAML.

#include "graphs/verify.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "engine/session.h"
#include "graphs/normal.h"
#include "tests/run_layer.h"

namespace strand::testing {
namespace {

using graphs::Network;

constexpr int kNetworks = 300;
constexpr int64_t kChannels = 3;

// Layers that take the signal of the part before and give one of as many channels.
struct Part {
  std::string yaml;
  std::string output;  // the layer that the next part reads
};

class Generator {
 public:
  explicit Generator(uint32_t seed) : random_(seed) {}

  int64_t number(int64_t least, int64_t most) { return std::uniform_int_distribution<int64_t>(least, most)(random_); }

  std::vector<Part> parts() {
    std::vector<Part> list;
    for (int64_t count = number(1, 6); count > 0; --count)
      list.push_back(part(list.empty() ? "x" : list.back().output));
    return list;
  }

 private:
  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[static_cast<size_t>(number(0, static_cast<int64_t>(from.size()) - 1))];
  }

  std::string name() { return "l" + std::to_string(count_++); }

  std::string layer(const std::string& name, const std::string& type, const std::string& inputs,
                    const std::string& fields) {
    return "  - {name: " + name + ", type: " + type + ", inputs: [" + inputs + "]" + (fields.empty() ? "" : ", ") +
           fields + "}\n";
  }

  std::string conv_channels(int64_t in = kChannels) {
    return "in_channels: " + std::to_string(in) + ", out_channels: " + std::to_string(kChannels);
  }

  std::string strided_conv() {
    const int64_t left = number(0, 9);
    return conv_channels() + ", kernel_size: " + std::to_string(number(1, 7)) +
           ", stride: " + std::to_string(number(1, 4)) + ", dilation: " + std::to_string(number(1, 5)) +
           ", padding: [" + std::to_string(left) + ", " + std::to_string(number(0, 9)) + "]" +
           pick<std::string>({"", ", groups: 3", ", padding_mode: reflect", ", padding_mode: replicate"});
  }

  // A convolution that keeps the length, with a look ahead of its own.
  std::string keeping_conv() {
    const int64_t taps = number(1, 6);
    const int64_t dilation = number(1, 6);
    const int64_t left = number(0, dilation * (taps - 1));
    return conv_channels() + ", kernel_size: " + std::to_string(taps) + ", dilation: " + std::to_string(dilation) +
           ", padding: [" + std::to_string(left) + ", " + std::to_string(dilation * (taps - 1) - left) + "]" +
           pick<std::string>({"", ", padding_mode: reflect", ", padding_mode: replicate"});
  }

  std::string pool() {
    const int64_t size = number(1, 5);
    return "kernel_size: " + std::to_string(size) + ", stride: " + std::to_string(number(1, 4)) +
           ", padding: " + std::to_string(number(0, size / 2)) + pick<std::string>({"", ", ceil_mode: true"});
  }

  std::string transposed_conv() {
    const int64_t stride = number(1, 4);
    const int64_t taps = number(1, 7);
    const int64_t dilation = number(1, 3);
    return conv_channels() + ", kernel_size: " + std::to_string(taps) + ", stride: " + std::to_string(stride) +
           ", dilation: " + std::to_string(dilation) +
           ", padding: " + std::to_string(number(0, dilation * (taps - 1))) +
           ", output_padding: " + std::to_string(number(0, std::max(stride, dilation) - 1));
  }

  // The input and one or two branches that are added, or joined and mixed.
  Part branches(const std::string& input) {
    Part part;
    std::string joined = number(0, 1) == 0 ? input : "";
    int64_t count = joined.empty() ? 0 : 1;
    for (int64_t i = number(joined.empty() ? 2 : 1, 2); i > 0; --i, ++count) {
      const std::string branch = name();
      part.yaml += layer(branch, "Conv1d", input, keeping_conv());
      joined += (joined.empty() ? "" : ", ") + branch;
    }
    part.output = name();
    const int kind = static_cast<int>(number(0, 2));
    part.yaml += layer(part.output, kind == 0 ? "Add" : kind == 1 ? "Multiply" : "Concat", joined, "");
    if (kind == 2) {
      const std::string mixed = name();
      part.yaml += layer(mixed, "Conv1d", part.output, conv_channels(count * kChannels) + ", kernel_size: 1");
      part.output = mixed;
    }
    return part;
  }

  // A convolution, and what may become its epilogue: a gate or a function, a residual, a number.
  Part finished_conv(const std::string& input) {
    const bool gated = number(0, 2) == 0;
    Part part{"", name()};
    part.yaml = layer(part.output, "Conv1d", input,
                      "in_channels: 3, out_channels: " + std::to_string(gated ? 6 : 3) +
                          ", kernel_size: 3, dilation: " + std::to_string(number(1, 5)) + ", padding: same");
    const auto append = [&](const std::string& type, const std::string& fields, bool residual = false) {
      const std::string next = name();
      part.yaml += layer(next, type, residual ? part.output + ", " + input : part.output, fields);
      part.output = next;
    };
    if (gated) append(pick<std::string>({"GLU", "GatedActivation"}), "dim: 1");
    if (number(0, 3) == 0) append("Add", "", true);
    if (number(0, 3) > 0) {
      append(pick<std::string>({"ReLU", "LeakyReLU", "SiLU", "GELU", "Sigmoid", "ELU", "Hardtanh", "Dropout"}), "");
    } else {
      const bool prelu = number(0, 1) == 0;
      append(prelu ? "PReLU" : "Snake", prelu ? "num_parameters: 3" : "channels: 3");
    }
    if (number(0, 2) == 0) append("Add", "", true);
    if (number(0, 3) == 0) append("Multiply", "value: 0.7");
    return part;
  }

  // A convolution and a pointwise one of one channel, added: one step, where nothing is in the way.
  Part mixed_conv(const std::string& input) {
    const std::string conv = name();
    const std::string one = name();
    const std::string mix = name();
    Part part{layer(conv, "Conv1d", input, keeping_conv()), name()};
    part.yaml += number(0, 1) == 0 ? layer(one, "Mean", input, "dim: 1, keepdim: true")
                                   : layer(one, "Conv1d", input, "in_channels: 3, out_channels: 1, kernel_size: 1");
    part.yaml += layer(
        mix, "Conv1d", one,
        std::string("in_channels: 1, out_channels: 3, kernel_size: 1, bias: ") + pick<std::string>({"true", "false"}));
    part.yaml += layer(part.output, "Add", number(0, 1) == 0 ? conv + ", " + mix : mix + ", " + conv, "");
    if (number(0, 2) == 0) return part;
    const std::string last = name();
    const std::string type = pick<std::string>({"ReLU", "LeakyReLU", "PReLU", "Tanh"});
    part.yaml += layer(last, type, part.output, type == "PReLU" ? "num_parameters: 3" : "");
    part.output = last;
    return part;
  }

  // Along the other axis order and back.
  Part recurrent(const std::string& input) {
    Part part;
    const std::string turned = name();
    const std::string state = name();
    part.output = name();
    part.yaml = layer(turned, "Transpose", input, "dim0: 1, dim1: 2") +
                layer(state, pick<std::string>({"LSTM", "GRU"}), turned,
                      "input_size: 3, hidden_size: 3, batch_first: true, num_layers: " + std::to_string(number(1, 2))) +
                layer(part.output, "Transpose", state, "dim0: 1, dim1: 2");
    return part;
  }

  Part part(const std::string& input) {
    const int64_t kind = number(0, 18);
    if (kind < 3) return branches(input);
    if (kind == 3) return recurrent(input);
    if (kind > 16) return mixed_conv(input);
    if (kind > 13) return finished_conv(input);
    const std::string own = name();
    const auto single = [&](const std::string& type, const std::string& fields) {
      return Part{layer(own, type, input, fields), own};
    };
    switch (kind) {
      case 4:
        return single(pick<std::string>({"MaxPool1d", "AvgPool1d"}), pool());
      case 5:
        return single("Pad", "padding: [" + std::to_string(number(0, 6)) + ", " + std::to_string(number(0, 6)) +
                                 "], mode: " + pick<std::string>({"constant", "reflect", "replicate"}));
      case 6:
        return single("Slice",
                      "dim: -1, start: " + std::to_string(number(0, 4)) + ", step: " + std::to_string(number(1, 3)));
      case 7:
      case 8:
        return single("ConvTranspose1d", transposed_conv());
      case 9:
        return single(pick<std::string>({"ReLU", "Tanh", "Identity"}), "");
      case 10:
        return single("Upsample", "scale_factor: " + std::to_string(number(2, 4)) +
                                      ", mode: " + pick<std::string>({"nearest", "linear"}));
      case 11:
        return pick<Part>({single("CumulativeLayerNorm", "channel_size: 3"),
                           single("ChannelLayerNorm", "channel_size: 3"), single("Softmax", "dim: 1"),
                           single("PReLU", "num_parameters: 3"), single("BatchNorm1d", "num_features: 3"),
                           single("Crop", "left: 2, right: 3")});
      default:
        return single("Conv1d", strided_conv());
    }
  }

  std::mt19937 random_;
  int count_ = 0;
};

std::string yaml_of(const std::vector<Part>& parts, int64_t batch) {
  std::string yaml = "strand: 1\nname: random\nweights: {seed: 5}\ninputs:\n  x: {shape: [" + std::to_string(batch) +
                     ", 3, length], defaults: {length: 64}}\nlayers:\n";
  for (const Part& part : parts) yaml += part.yaml;
  return yaml;
}

// Without part `index`: what read it reads what it read.
std::vector<Part> without(const std::vector<Part>& parts, size_t index) {
  std::vector<Part> rest = parts;
  const std::string before = index == 0 ? "x" : parts[index - 1].output;
  rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(index));
  if (index == rest.size()) return rest;
  std::string& yaml = rest[index].yaml;
  const std::string gone = parts[index].output;
  for (size_t at = yaml.find(gone); at != std::string::npos; at = yaml.find(gone, at + before.size())) {
    const char after = yaml[at + gone.size()];
    if (after == ']' || after == ',') yaml.replace(at, gone.size(), before);
  }
  return rest;
}

bool within_bounds(const Network& network, const TensorMap& inputs, const graphs::CompileOptions& compile) {
  graphs::CompareOptions options;
  options.compile = compile;
  const graphs::Truth truth = graphs::find_truth(network, inputs, options);
  return std::ranges::all_of(graphs::compare_device(network, inputs, truth, options).layers,
                             [](const graphs::LayerErrors& layer) { return layer.errors.ok(); });
}

enum class Outcome : uint8_t { kSame, kInvalid, kDifferent };

// Offline, tiled and streamed. `story` tells of the first difference.
Outcome check(const std::vector<Part>& parts, int64_t batch, int64_t length, uint32_t seed, std::string& story,
              int& live_runs) {
  TensorMap inputs;
  Tensor x(TensorType{DType::kFloat32, {batch, 3, length}, 2});
  graphs::fill_normal(x.as<float>(), seed);
  inputs.emplace("x", std::move(x));
  try {
    const Network network = Network::from_memory(yaml_of(parts, batch), {});
    graphs::VerifyOptions options;
    options.compile.dimensions["length"] = length;
    Session session(network.compile(options.compile));
    const std::vector<Tensor> fused = session.run_to_host(std::vector{inputs.find("x")->second.view()});
    graphs::CompileOptions apart = options.compile;
    apart.fuse = false;
    Session other(network.compile(apart));
    const std::vector<Tensor> unfused = other.run_to_host(std::vector{inputs.find("x")->second.view()});
    const auto bytes = static_cast<size_t>(fused[0].type().bytes());
    const graphs::Graph compiled = network.compiled_graph(options.compile);
    const bool folded =
        std::ranges::any_of(compiled.nodes, [](const graphs::Node& node) { return node.folded != nullptr; });
    if (fused[0].type() != unfused[0].type() ||
        (!folded && std::memcmp(fused[0].view().data, unfused[0].view().data, bytes) != 0)) {
      story = "not as without fusion";
      return Outcome::kDifferent;
    }
    if (folded && !within_bounds(network, inputs, options.compile)) {
      story = "further from the layers as described than their bounds";
      return Outcome::kDifferent;
    }
    options.chunks = {1, 7, 64};
    options.tiles = {16, 50};
    options.seed = seed;
    for (const graphs::VerifiedRun& run : graphs::verify(network, inputs, options)) {
      const bool remembers = run.refused.find("its state remembers") != std::string::npos;
      const bool not_live = run.refused.find("can't be computed in live streams") != std::string::npos;
      live_runs += run.refused.empty() && run.way.starts_with("live") ? 1 : 0;
      if (run.ok() || remembers || not_live) continue;
      story = run.way + ": " + run.refused + std::to_string(run.different) + " of " + std::to_string(run.compared) +
              " differ";
      return Outcome::kDifferent;
    }
    return Outcome::kSame;
  } catch (const Error& error) {
    story = error.what();
    if (error.category() != ErrorCategory::kShape) throw;
    return Outcome::kInvalid;  // too short for what it asks
  }
}

TEST_CASE("random networks give the same bits offline, tiled, streamed and live") {
  Generator generator(test_seed());
  int checked = 0;
  int live_runs = 0;  // that were not refused
  for (int tried = 0; checked < kNetworks && tried < 20 * kNetworks; ++tried) {
    std::vector<Part> parts = generator.parts();
    const int64_t batch = generator.number(1, 2);
    int64_t length = generator.number(20, 160);
    const auto seed = static_cast<uint32_t>(tried);
    std::string story;
    const Outcome outcome = check(parts, batch, length, seed, story, live_runs);
    if (outcome == Outcome::kInvalid) continue;
    ++checked;
    if (outcome == Outcome::kSame) continue;
    for (size_t i = 0; i < parts.size();) {
      const std::vector<Part> fewer = without(parts, i);
      if (!fewer.empty() && check(fewer, batch, length, seed, story, live_runs) == Outcome::kDifferent) {
        parts = fewer;
        i = 0;
      } else {
        ++i;
      }
    }
    while (length > 1 && check(parts, batch, length - 1, seed, story, live_runs) == Outcome::kDifferent) --length;
    check(parts, batch, length, seed, story, live_runs);
    FAIL_CHECK(story << " at length " << length << " (seed " << test_seed() << ")\n" << yaml_of(parts, batch));
    return;
  }
  CHECK(checked == kNetworks);
  CHECK(live_runs > kNetworks);
}

}  // namespace
}  // namespace strand::testing
