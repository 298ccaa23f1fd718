// strand verify: the same numbers offline, in tiles and as a stream.

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <memory>

#include "engine/cuda_runtime.h"
#include "engine/error.h"
#include "graphs/verify.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/table.h"
#include "tools/tensor_files.h"

namespace strand::tools {
namespace {

constexpr const char* kExamples = R"(Examples:
  strand verify net.yaml                        random input of the described length
  strand verify net.yaml --input speech.wav
  strand verify net.yaml --set length=48000 --tile 4096 --chunk 64 --chunk 480
A stream starts with each layer's own padding as offline, after silence, or in its own context (no output that depends on
padding). On the CPU every bit must be that of the offline run; tiles and live streams on CUDA must be within its allowance.
Exits 1 where a way differs.)";

struct VerifyArguments {
  NetworkOptions network;
  std::vector<std::string> inputs;
  std::vector<int64_t> chunks;
  std::vector<int64_t> tiles;
};

void print(const std::vector<graphs::VerifiedRun>& runs) {
  Table table({{"device", Align::kLeft},
               {"way", Align::kLeft},
               {"compared"},
               {"other bits"},
               {"largest difference"},
               {"allowed"},
               {"", Align::kLeft}});
  std::map<std::string, int> refusals;
  for (const graphs::VerifiedRun& run : runs) {
    if (!run.refused.empty()) {
      ++refusals[run.refused];
      table.add({to_string(run.device), run.way, "-", "-", "-", "-", "not possible"});
      continue;
    }
    table.add({to_string(run.device), run.way, format_count(run.compared), format_count(run.different),
               fmt::format("{:.2e}", run.largest), run.bound > 0 ? fmt::format("{:.2e}", run.bound) : "same bits",
               run.ok() ? "" : "FAILED"});
  }
  fmt::print("{}", table.text());
  for (const auto& [why, times] : refusals) fmt::print("not possible: {}\n", why);
}

int verify(const VerifyArguments& arguments) {
  Progress progress("strand verify:");
  graphs::VerifyOptions options;
  options.compile = compile_options(arguments.network);
  options.seed = arguments.network.seed;
  options.threads = arguments.network.threads;
  options.progress = [&](std::string_view way) { progress.say(way); };
  if (!arguments.chunks.empty()) options.chunks = arguments.chunks;
  if (!arguments.tiles.empty()) options.tiles = arguments.tiles;
  if (options.compile.precision == Precision::kFloat32 && cuda::device_count() > 0) {
    options.devices.push_back({DeviceType::kCuda, 0});
  }
  const graphs::Network network = load_network(arguments.network);
  Inputs inputs = read_inputs(network.graph(), arguments.inputs);
  match_sizes(network.graph(), inputs.shapes(), options.compile);
  fill_missing(network.graph(), options.compile.dimensions, arguments.network.seed, inputs);
  const std::vector<graphs::VerifiedRun> runs = graphs::verify(network, inputs.tensors, options);
  progress.finish();

  for (const graphs::GraphInput& input : network.graph().inputs) {
    const auto origin = inputs.origins.find(input.description.name);
    fmt::print("input  {}  {}  from {}\n", input.description.name,
               to_string(inputs.tensors.find(input.description.name)->second.type()), origin->second);
  }
  print(runs);
  const auto possible = std::ranges::count(runs, std::string(), &graphs::VerifiedRun::refused);
  const auto good = std::ranges::count_if(runs, &graphs::VerifiedRun::ok);
  if (possible == 0) throw Error(ErrorCategory::kUnsupported, network.graph().name + " runs on whole signals only");
  fmt::print("{} of {} ways agree with the offline run{}\n", good, possible, good < possible ? ": FAILED" : "");
  return good < possible ? 1 : 0;
}

}  // namespace

void add_verify(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("verify", "Hold tiled and streamed runs against the offline one");
  const auto arguments = std::make_shared<VerifyArguments>();
  add_network_argument(*command, arguments->network);
  add_list(*command, "--input", arguments->inputs, "FILE, or NAME=FILE; N(0, 1) from --seed where none is given");
  command
      ->add_option("--chunk", arguments->chunks, "Samples a push, in place of 1, 7, 64, 480 and 4096; may be repeated")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->take_all();
  command->add_option("--tile", arguments->tiles, "Samples a tile, in place of 100, 1000 and 10000; may be repeated")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->take_all();
  add_network_options(*command, arguments->network);
  command->footer(kExamples);
  command->callback([arguments, &exit_code] { exit_code = verify(*arguments); });
}

}  // namespace strand::tools
