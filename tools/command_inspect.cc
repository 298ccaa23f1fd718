// strand inspect: what a network is made of, what it takes, and which implementations were picked.

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "graphs/inspect.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/table.h"

namespace strand::tools {
namespace {

constexpr const char* kExamples = R"(Examples:
  strand inspect net.yaml
  strand inspect net.yaml --device cuda --set batch=16 --set length=16000
  strand inspect net.yaml --json)";
constexpr size_t kNamedLayers = 3;

struct InspectOptions {
  NetworkOptions network;
  bool json = false;
};

// Where the weights file can't be read, random ones do: nothing that is shown depends on their values.
graphs::Network load_for_inspection(const NetworkOptions& options) {
  try {
    return load_network(options);
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::kIo || !options.weights.empty()) throw;
    NetworkOptions random = options;
    random.weights = "random";
    graphs::Network network = load_network(random);
    fmt::print(stderr, "strand: warning: {}; inspected without its weights\n", error.what());
    return network;
  }
}

std::string shapes_of(const std::vector<TensorType>& types) {
  std::string text;
  for (const TensorType& type : types) {
    const bool is_half = type.dtype == DType::kFloat16 || type.dtype == DType::kBFloat16;
    text += (text.empty() ? "" : ", ") + (is_half ? to_string(type) : to_string(type.shape));
  }
  return text;
}

void print_layers(const graphs::NetworkSummary& summary) {
  Table table({{"layer", Align::kLeft},
               {"type", Align::kLeft},
               {"output", Align::kLeft},
               {"parameters"},
               {"multiply-adds"},
               {"implementation", Align::kLeft}});
  for (const graphs::LayerSummary& layer : summary.layers) {
    const bool tuned = std::ranges::any_of(layer.candidates, &graphs::Candidate::tuned);
    const std::string implementation =
        layer.candidates.empty() ? "(view)" : layer.implementation() + (tuned ? " (tuned)" : "");
    table.add({layer.path, layer.type, shapes_of(layer.outputs), format_count(layer.parameters),
               format_count(layer.multiply_adds), implementation});
  }
  table.add_rule();
  table.add({"total", "", "", format_count(summary.parameters), format_count(summary.multiply_adds), ""});
  fmt::print("{}", table.text());
}

std::string describe(const graphs::TimeExtent& extent) {
  if (!extent.whole.empty()) return "the whole input (" + extent.whole + ")";
  std::string text =
      fmt::format("{} samples, {} before and {} after an output's own time", format_count(extent.receptive_field),
                  format_count(extent.left), format_count(extent.right));
  if (extent.step_numerator != 1 || extent.step_denominator != 1) {
    text += fmt::format("; {} input samples an output sample",
                        extent.step_denominator == 1
                            ? std::to_string(extent.step_numerator)
                            : fmt::format("{}/{}", extent.step_numerator, extent.step_denominator));
  }
  return text;
}

std::string describe(const graphs::StreamSummary& stream, int64_t rate) {
  if (!stream.refused.empty()) return "not possible: " + stream.refused;
  std::string text = fmt::format("{} samples of latency", format_count(stream.latency));
  if (rate > 0) {
    text += fmt::format(" ({:.3g} ms at {} Hz)", 1e3 * static_cast<double>(stream.latency) / static_cast<double>(rate),
                        format_count(rate));
  }
  text += fmt::format(", {} of state", format_bytes(stream.state_bytes));
  if (stream.period > 1) text += fmt::format(", strides repeat every {} samples", format_count(stream.period));
  return text;
}

// Each reason once, with the layers that it holds for.
void print_declined(const graphs::NetworkSummary& summary) {
  std::map<std::string, std::vector<std::string>> layers_by_reason;
  for (const graphs::LayerSummary& layer : summary.layers) {
    for (const graphs::Candidate& candidate : layer.candidates) {
      if (candidate.declined.empty()) continue;
      layers_by_reason[candidate.name + ": " + candidate.declined].push_back(layer.path);
    }
  }
  if (layers_by_reason.empty()) return;
  fmt::print("\nDeclined:\n");
  for (const auto& [reason, layers] : layers_by_reason) {
    std::string names;
    for (size_t i = 0; i < layers.size() && i < kNamedLayers; ++i) names += (i == 0 ? "" : ", ") + layers[i];
    if (layers.size() > kNamedLayers) names += fmt::format(" and {} more", layers.size() - kNamedLayers);
    fmt::print("  {} ({})\n", reason, names);
  }
}

void print_fused(const graphs::NetworkSummary& summary) {
  std::string lines;
  for (const graphs::LayerSummary& layer : summary.layers) {
    for (size_t i = 0; i < layer.fused.size(); ++i) lines += (i == 0 ? "  " : " + ") + layer.fused[i];
    if (!layer.fused.empty()) lines += "\n";
  }
  if (!lines.empty()) fmt::print("\nFused, each under its last name (--no-fuse computes them apart):\n{}", lines);
}

void print_summary(const graphs::NetworkSummary& summary) {
  fmt::print("{} on {}, {}\n", summary.name, to_string(summary.device), to_string(summary.precision));
  for (const graphs::PortSummary& port : summary.inputs)
    fmt::print("input   {}  {}\n", port.name, to_string(port.type));
  for (const graphs::PortSummary& port : summary.outputs) {
    fmt::print("output  {}  {}\n", port.name, to_string(port.type));
  }
  fmt::print("\n");
  print_layers(summary);
  fmt::print("\n");
  for (const graphs::ExtentSummary& extent : summary.extents) {
    fmt::print("receptive field  {} -> {}: {}\n", extent.input, extent.output, describe(extent.extent));
  }
  fmt::print("stream           {}\n", describe(summary.stream, summary.rate));
  fmt::print("peak memory      {}: {} of weights, {} of activations and workspaces\n",
             format_bytes(summary.peak_bytes()), format_bytes(summary.weight_bytes), format_bytes(summary.arena_bytes));
  print_fused(summary);
  print_declined(summary);
}

nlohmann::ordered_json to_json(const TensorType& type) {
  nlohmann::ordered_json shape = nlohmann::ordered_json::array();
  for (const int64_t size : type.shape.sizes()) shape.push_back(size);
  return {{"dtype", to_string(type.dtype)}, {"shape", shape}};
}

nlohmann::ordered_json to_json(const std::vector<graphs::PortSummary>& ports) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const graphs::PortSummary& port : ports) {
    nlohmann::ordered_json entry = {{"name", port.name}};
    entry.update(to_json(port.type));
    list.push_back(entry);
  }
  return list;
}

nlohmann::ordered_json to_json(const graphs::LayerSummary& layer) {
  nlohmann::ordered_json outputs = nlohmann::ordered_json::array();
  for (const TensorType& type : layer.outputs) outputs.push_back(to_json(type));
  nlohmann::ordered_json candidates = nlohmann::ordered_json::array();
  for (const graphs::Candidate& candidate : layer.candidates) {
    candidates.push_back({{"name", candidate.name},
                          {"picked", candidate.picked},
                          {"tuned", candidate.tuned},
                          {"declined", candidate.declined}});
  }
  return {{"layer", layer.path},
          {"type", layer.type},
          {"fused", layer.fused},
          {"outputs", outputs},
          {"parameters", layer.parameters},
          {"multiply_adds", layer.multiply_adds},
          {"implementation", layer.implementation()},
          {"candidates", candidates}};
}

nlohmann::ordered_json to_json(const graphs::ExtentSummary& extent) {
  nlohmann::ordered_json json = {{"input", extent.input}, {"output", extent.output}};
  if (!extent.extent.whole.empty()) {
    json["whole"] = extent.extent.whole;
    return json;
  }
  json["receptive_field"] = extent.extent.receptive_field;
  json["left"] = extent.extent.left;
  json["right"] = extent.extent.right;
  json["step"] = {extent.extent.step_numerator, extent.extent.step_denominator};
  return json;
}

nlohmann::ordered_json to_json(const graphs::StreamSummary& stream, int64_t rate) {
  if (!stream.refused.empty()) return {{"refused", stream.refused}};
  nlohmann::ordered_json json = {
      {"latency_samples", stream.latency}, {"period_samples", stream.period}, {"state_bytes", stream.state_bytes}};
  if (rate > 0) json["latency_ms"] = 1e3 * static_cast<double>(stream.latency) / static_cast<double>(rate);
  return json;
}

nlohmann::ordered_json to_json(const graphs::NetworkSummary& summary) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const graphs::LayerSummary& layer : summary.layers) layers.push_back(to_json(layer));
  nlohmann::ordered_json extents = nlohmann::ordered_json::array();
  for (const graphs::ExtentSummary& extent : summary.extents) extents.push_back(to_json(extent));
  return {{"name", summary.name},
          {"device", to_string(summary.device)},
          {"precision", to_string(summary.precision)},
          {"inputs", to_json(summary.inputs)},
          {"outputs", to_json(summary.outputs)},
          {"layers", layers},
          {"parameters", summary.parameters},
          {"multiply_adds", summary.multiply_adds},
          {"receptive_fields", extents},
          {"stream", to_json(summary.stream, summary.rate)},
          {"weight_bytes", summary.weight_bytes},
          {"arena_bytes", summary.arena_bytes},
          {"peak_bytes", summary.peak_bytes()}};
}

int inspect(const InspectOptions& options) {
  Progress progress("strand inspect:");
  const graphs::CompileOptions compile = compile_options(options.network);
  const graphs::NetworkSummary summary = graphs::summarise(load_for_inspection(options.network), compile);
  progress.finish();
  if (options.json) {
    fmt::print("{}\n", to_json(summary).dump(2));
  } else {
    print_summary(summary);
  }
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, int& exit_code) {
  CLI::App* command =
      app.add_subcommand("inspect", "Show a network's layers, shapes, work, memory and implementations");
  const auto options = std::make_shared<InspectOptions>();
  add_network_argument(*command, options->network);
  add_device_option(*command, options->network);
  add_network_options(*command, options->network);
  command->add_flag("--json", options->json, "Print JSON");
  command->footer(kExamples);
  command->callback([options, &exit_code] { exit_code = inspect(*options); });
}

}  // namespace strand::tools
