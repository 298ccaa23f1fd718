// strand compare: each device's numbers against a float64 run, layer by layer and end to end.

#include <fmt/core.h>

#include <algorithm>
#include <memory>

#include "engine/cuda_runtime.h"
#include "engine/error.h"
#include "graphs/compare.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/table.h"
#include "tools/tensor_files.h"

namespace strand::tools {
namespace {

constexpr const char* kExamples = R"(Examples:
  strand compare net.yaml                                random input, on the CPU, and on CUDA where there is a device
  strand compare net.yaml --devices cuda --input x.npy
  strand compare net.yaml --against reference.npz        stored inputs and outputs, by their names
Exits 1 where an error is past its bound. A layer's error is held against the layer's own bound (for a convolution
c * 2^-24 * sum |w*x|); an output's against four times the error of a sequential float32 run.)";

struct CompareArguments {
  NetworkOptions network;
  std::string devices;
  std::string against;
  std::vector<std::string> inputs;
};

// Those that were asked for, or all that are here.
std::vector<std::string> choose_devices(const CompareArguments& arguments) {
  if (!arguments.devices.empty()) return split(arguments.devices, ',');
  if (cuda::device_count() > 0) return {"cpu", "cuda"};
  fmt::print(stderr, "strand: comparing on the CPU only: {}\n", cuda::why_no_device());
  return {"cpu"};
}

// Splits what is stored into inputs (joined with those given) and expected outputs.
TensorMap read_expected(const CompareArguments& arguments, const graphs::Graph& graph, Inputs& inputs) {
  TensorMap expected;
  if (arguments.against.empty()) return expected;
  for (auto& [name, tensor] : read_tensors(arguments.against)) {
    const auto input = std::ranges::find(
        graph.inputs, name, [](const graphs::GraphInput& i) -> const std::string& { return i.description.name; });
    if (name.empty() && graph.outputs.size() == 1) {
      expected.emplace(graph.outputs[0].name, std::move(tensor));
    } else if (std::ranges::count(graph.outputs, name, &graphs::GraphOutput::name) > 0) {
      expected.emplace(name, std::move(tensor));
    } else if (input != graph.inputs.end()) {
      inputs.origins[name] = arguments.against;
      inputs.tensors.emplace(name, std::move(tensor));
    } else {
      throw Error(ErrorCategory::kSchema, fmt::format("{}: its array '{}' is neither an input nor an output of {}",
                                                      arguments.against, name, graph.file));
    }
  }
  if (expected.empty()) throw Error(ErrorCategory::kSchema, arguments.against + ": holds no output of the network");
  for (const graphs::GraphInput& input : graph.inputs) {
    if (inputs.tensors.contains(input.description.name)) continue;
    throw Error(ErrorCategory::kSchema,
                fmt::format("{}: holds outputs, but not the input '{}' that they are of; give it with --input",
                            arguments.against, input.description.name));
  }
  return expected;
}

std::string share(const graphs::ElementErrors& errors) {
  return fmt::format("{:.3f}{}", errors.of_bound, errors.ok() ? "" : " FAILED");
}

void print_layers(const std::vector<graphs::LayerErrors>& layers) {
  Table table({{"layer", Align::kLeft},
               {"type", Align::kLeft},
               {"implementation", Align::kLeft},
               {"largest error"},
               {"relative"},
               {"of bound"}});
  for (const graphs::LayerErrors& layer : layers) {
    table.add({layer.path, layer.type, layer.implementation, fmt::format("{:.2e}", layer.errors.largest),
               fmt::format("{:.2e}", layer.errors.relative), share(layer.errors)});
  }
  fmt::print("{}\n", table.text());
}

void print_outputs(const char* against, const std::vector<graphs::OutputErrors>& outputs) {
  Table table({{std::string("output, against ") + against, Align::kLeft},
               {"largest error"},
               {"relative"},
               {"allowance"},
               {"of bound"}});
  for (const graphs::OutputErrors& output : outputs) {
    table.add({output.name, fmt::format("{:.2e}", output.errors.largest), fmt::format("{:.2e}", output.errors.relative),
               fmt::format("{:.2e}", output.allowance), share(output.errors)});
  }
  fmt::print("{}\n", table.text());
}

bool all_ok(const std::vector<graphs::OutputErrors>& outputs) {
  return std::ranges::all_of(outputs, [](const graphs::OutputErrors& output) { return output.errors.ok(); });
}

int compare(const CompareArguments& arguments) {
  Progress progress("strand compare:");
  std::vector<Device> devices;
  for (const std::string& name : choose_devices(arguments)) {
    NetworkOptions options = arguments.network;
    options.device = name;
    devices.push_back(compile_options(options).device);
  }
  graphs::CompareOptions options{compile_options(arguments.network), arguments.network.threads,
                                 [&](std::string_view layer) { progress.say(layer); }};
  const graphs::Network network = load_network(arguments.network);
  Inputs inputs = read_inputs(network.graph(), arguments.inputs);
  const TensorMap expected = read_expected(arguments, network.graph(), inputs);
  match_sizes(network.graph(), inputs.shapes(), options.compile);
  fill_missing(network.graph(), options.compile.dimensions, arguments.network.seed, inputs);
  const graphs::Truth truth = graphs::find_truth(network, inputs.tensors, options);
  std::vector<graphs::DeviceErrors> results;
  for (const Device device : devices) {
    options.compile.device = device;
    results.push_back(graphs::compare_device(network, inputs.tensors, truth, options));
  }
  progress.finish();

  for (const auto& [name, origin] : inputs.origins) {
    fmt::print("input  {}  {}  from {}\n", name, to_string(inputs.tensors.find(name)->second.type()), origin);
  }
  bool ok = true;
  for (size_t i = 0; i < devices.size(); ++i) {
    fmt::print("\n{}, {}\n", to_string(devices[i]), to_string(options.compile.precision));
    print_layers(results[i].layers);
    print_outputs("float64", results[i].outputs);
    ok = ok && results[i].ok();
    if (expected.empty()) continue;
    const auto stored = graphs::compare_outputs(results[i].values, expected, truth);
    print_outputs(arguments.against.c_str(), stored);
    ok = ok && all_ok(stored);
  }
  fmt::print("{}\n", ok ? "every error is within its bound" : "FAILED: an error is past its bound");
  return ok ? 0 : 1;
}

}  // namespace

void add_compare(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("compare", "Hold each device's numbers against a float64 run");
  const auto arguments = std::make_shared<CompareArguments>();
  add_network_argument(*command, arguments->network);
  command->add_option("--devices", arguments->devices, "Such as cpu,cuda; by default all that are here");
  command->add_option("--against", arguments->against,
                      "Stored inputs and outputs by name (.npz, .safetensors), or one output (.npy)");
  add_list(*command, "--input", arguments->inputs, "FILE, or NAME=FILE; N(0, 1) from --seed where none is given");
  add_network_options(*command, arguments->network);
  command->footer(kExamples);
  command->callback([arguments, &exit_code] { exit_code = compare(*arguments); });
}

}  // namespace strand::tools
