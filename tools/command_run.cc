// strand run: a network on inputs from files, outputs to files.

#include <fmt/core.h>

#include <chrono>
#include <map>
#include <memory>

#include "engine/error.h"
#include "engine/session.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/run_tiled.h"
#include "tools/table.h"
#include "tools/tensor_files.h"

namespace strand::tools {
namespace {

constexpr const char* kExamples = R"(Examples:
  strand run net.yaml --input call.wav --output probabilities.npy
  strand run net.yaml --input audio=a.npy --input condition=c.npy --output all.npz --device cuda
  strand run net.yaml --random --set length=16000 --weights random --seed 7
  strand run net.yaml --input hour.wav --output out.wav --max-memory 500MB
Without --output the outputs' ranges are printed and nothing is written.)";

struct RunOptions {
  NetworkOptions network;
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  bool random = false;
  int rate = 0;
  int64_t tile = 0;        // samples; 0: the whole signal at once
  std::string max_memory;  // "2GiB"
};

std::string count_implementations(const Plan& plan) {
  std::map<std::string, int> counts;
  for (const PlanStep& step : plan.steps) ++counts[step.implementation];
  std::string text;
  for (const auto& [name, count] : counts) text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", name, count);
  return text.empty() ? "none" : text;
}

// The rate of audio outputs, which must be known before anything is computed: --rate, or the input's where an output
// is as long as that.
int output_rate(const RunOptions& options, const graphs::Graph& graph, const Inputs& inputs, const Plan& plan,
                const OutputFiles& files) {
  if (!files.wants_rate()) return 0;
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    const Shape& shape = plan.output_type(i).shape;
    if (!files.wants_rate(plan.outputs[i].name)) continue;
    const std::string target = files.target_of(plan.outputs[i].name);
    if (shape.rank() != 3 || shape[0] != 1) {
      throw Error(ErrorCategory::kShape, fmt::format("{}: output '{}' has shape {}, audio is [1, channels, frames]",
                                                     target, plan.outputs[i].name, to_string(shape)));
    }
    const Shape& input = plan.input_type(0).shape;
    if (options.rate == 0 && shape[-1] != input[-1]) {
      throw Error(ErrorCategory::kShape,
                  fmt::format("{}: output '{}' has {} samples for {} of the input; say its rate with --rate", target,
                              plan.outputs[i].name, shape[-1], input[-1]));
    }
  }
  if (options.rate != 0) return options.rate;
  if (inputs.rate != 0) return inputs.rate;
  if (graph.inputs[0].description.rate != 0) return static_cast<int>(graph.inputs[0].description.rate);
  throw Error(ErrorCategory::kShape, "audio output: no rate is known; say it with --rate");
}

RunResult compute(Session& session, const Inputs& inputs) {
  const Plan& plan = session.plan();
  std::vector<TensorView> views;
  for (const PlanPort& input : plan.inputs) views.push_back(inputs.tensors.find(input.name)->second.view());
  RunResult result;
  const auto start = std::chrono::steady_clock::now();
  std::vector<Tensor> outputs = session.run_to_host(views);
  result.run_ms = milliseconds_since(start);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string& name = plan.outputs[i].name;
    result.types.emplace(name, outputs[i].type());
    result.ranges[name].add(outputs[i].view());
    result.outputs.emplace(name, std::move(outputs[i]));
  }
  return result;
}

void report(const Plan& plan, size_t layers, int used_threads, const Inputs& inputs, const OutputFiles& files,
            const RunResult& result) {
  const std::string threads =
      plan.device.is_cpu() ? fmt::format(", {} thread{}", used_threads, used_threads == 1 ? "" : "s") : std::string();
  fmt::print("network  {} ({} layers) on {}{}, {}\n", plan.name, layers, to_string(plan.device), threads,
             to_string(plan.precision));
  for (const PlanPort& input : plan.inputs) {
    fmt::print("input    {}  {}  from {}\n", input.name, to_string(inputs.types.find(input.name)->second),
               inputs.origins.find(input.name)->second);
  }
  fmt::print("kernels  {}\n", count_implementations(plan));
  for (const PlanPort& output : plan.outputs) {
    const std::string target = files.target_of(output.name);
    fmt::print("output   {}  {}  {}{}\n", output.name, to_string(result.types.find(output.name)->second),
               result.ranges.find(output.name)->second.text(),
               target.empty() ? ", not written (no --output)" : ", to " + target);
  }
  if (!result.tiles.empty()) fmt::print("tiles    {}\n", result.tiles);
  fmt::print("time     {} for this first run, {} to prepare\n", format_ms(result.run_ms), format_ms(result.prepare_ms));
}

int run(const RunOptions& options) {
  Progress progress("strand run:");
  progress.say("reading");
  graphs::CompileOptions compile = compile_options(options.network);
  const graphs::Network network = load_network(options.network);
  const OutputFiles files(network.graph(), options.outputs);
  const bool tiled = options.tile > 0 || !options.max_memory.empty();
  Inputs inputs = read_inputs(network.graph(), options.inputs, tiled ? Reading::kPieces : Reading::kWhole);
  match_sizes(network.graph(), inputs.shapes(), compile);
  if (options.random) fill_missing(network.graph(), compile.dimensions, options.network.seed, inputs);
  require_all(network.graph(), inputs);

  progress.say("preparing");
  const auto start = std::chrono::steady_clock::now();
  const std::shared_ptr<const Plan> plan = network.compile(compile);
  const int rate = output_rate(options, network.graph(), inputs, *plan, files);
  const int threads = Context(Device{}, options.network.threads).threads();
  RunResult result;
  double prepare_ms = 0;
  if (tiled) {
    const int64_t tile =
        options.tile > 0 ? options.tile : choose_tile(network, compile, parse_bytes(options.max_memory), *plan, files);
    graphs::TiledSession session(network, compile, tile, threads);
    prepare_ms = milliseconds_since(start);
    result = compute_tiled(session, inputs, files, rate, progress);
  } else {
    Session session(plan, threads);
    prepare_ms = milliseconds_since(start);
    progress.say("computing");
    result = compute(session, inputs);
    progress.say("writing");
    files.write(result.outputs, rate);
  }
  result.prepare_ms = prepare_ms;
  progress.finish();
  report(*plan, network.graph().nodes.size(), threads, inputs, files, result);
  return 0;
}

}  // namespace

void add_run(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("run", "Run a network on files");
  const auto options = std::make_shared<RunOptions>();
  add_network_argument(*command, options->network);
  add_list(
      *command, "--input", options->inputs,
      "FILE, or NAME=FILE with several inputs: .npy, .npz, .safetensors (by name) or .wav as [1, channels, frames]");
  add_list(*command, "--output", options->outputs, "FILE, or NAME=FILE: .npy, .npz, .safetensors or .wav");
  command->add_flag("--random", options->random, "Fill inputs that no file is given for with N(0, 1) from --seed");
  command->add_option("--rate", options->rate, "Rate of audio outputs in Hz, where it is not the input's")
      ->check(CLI::Range(1, 100'000'000));
  CLI::Option* tile = command->add_option("--tile", options->tile, "Compute in tiles of so many input samples")
                          ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  command
      ->add_option("--max-memory", options->max_memory,
                   "Compute in the largest tiles that take at most so much, such as 2GiB: on the CPU all that the "
                   "process has resident; on CUDA weights, activations, and a tile's inputs and outputs")
      ->excludes(tile);
  add_device_option(*command, options->network);
  add_network_options(*command, options->network);
  command->footer(kExamples);
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace strand::tools
