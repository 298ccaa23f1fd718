// strand bench: how long a network, a layer, or each implementation of Conv1d takes.

#include <algorithm>
#include <cmath>
#include <memory>

#include "engine/error.h"
#include "tools/bench.h"
#include "tools/commands.h"

namespace strand::tools {
namespace {

constexpr const char* kExamples = R"(Examples:
  strand bench net.yaml --set batch=16 --set length=16000
  strand bench net.yaml --device cuda --json
  strand bench --conv1d tools/bench/conv1d_cases.txt --device cuda
  strand bench --conv1d --random 200 --seed 1 --device cuda
  strand bench --layers tools/bench/layers_cases.txt --device cuda --pytorch pytorch_layers.csv
  strand bench --conv1d tools/bench/conv1d_cases.txt --filter wavenet --implementation cuda.direct --check)";

int bench(const BenchOptions& options) {
  const bool layers = !options.layers.empty();
  if (int{!options.network.network.empty()} + int{options.conv1d} + int{layers} != 1) {
    throw Error(ErrorCategory::kSchema, "bench: expected a network, or --conv1d or --layers with a file of cases");
  }
  if (options.conv1d && int{!options.cases.empty()} + int{options.random > 0} + int{options.sweep} != 1) {
    throw Error(ErrorCategory::kSchema, "bench --conv1d: expected a file of cases, or --random, or --sweep");
  }
  if (layers) return bench_layers(options);
  return options.conv1d ? bench_conv1d(options) : bench_network(options);
}

}  // namespace

double percentile(std::vector<double> values, double percent) {
  const double rank = std::ceil(percent / 100 * static_cast<double>(values.size()));
  const auto index = static_cast<std::ptrdiff_t>(std::max(rank, 1.0)) - 1;
  std::ranges::nth_element(values, values.begin() + index);
  return values[static_cast<size_t>(index)];
}

void add_bench(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("bench", "Time a network, single layers, or the Conv1d implementations");
  const auto options = std::make_shared<BenchOptions>();
  command->add_option("NET", options->network.network, "The network's description (YAML)");
  CLI::Option* conv1d = command->add_option("--conv1d", options->cases, "A file of Conv1d cases instead of a network")
                            ->type_name("FILE")
                            ->expected(0, 1);
  command->add_option("--random", options->random, "That many random Conv1d problems, by --seed, instead of a file")
      ->check(CLI::Range(1, 1'000'000))
      ->needs(conv1d);
  command->add_flag("--sweep", options->sweep, "Conv1d problems that grow in one size, instead of a file")
      ->needs(conv1d);
  command
      ->add_flag("--both-alignments", options->both_alignments,
                 "Each Conv1d case a second time, its rows of outputs a multiple of 8 long if they were not, or not")
      ->needs(conv1d);
  command->add_option("--layers", options->layers, "A file of one-layer cases instead of a network");
  command->add_option("--pytorch", options->pytorch, "PyTorch's times on these cases, from tools/bench/pytorch_*.py");
  command->add_option("--repeat", options->repeats, "Measured runs (default: what fits --seconds)")
      ->check(CLI::Range(1, 1'000'000));
  command->add_option("--seconds", options->seconds, "How long to measure a network")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 3600.0));
  command->add_option("--filter", options->filter, "Only the cases whose name has this in it");
  command->add_flag("--check", options->check, "Exit 1 where an implementation's error is past the float32 promise");
  command->add_option("--max-multiply-adds", options->most_multiply_adds,
                      "Shorten larger cases to this, batch first, then length (default: 1e9 on the CPU, none on CUDA)");
  command->add_flag("--json", options->json, "Print JSON");
  add_device_option(*command, options->network);
  add_network_options(*command, options->network);
  command->footer(kExamples);
  command->callback([options, conv1d, &exit_code] {
    options->conv1d = conv1d->count() > 0;
    exit_code = bench(*options);
  });
}

}  // namespace strand::tools
