// strand tune: measures what a network's layers may choose from, and keeps the fastest for later runs on this machine.

#include <fmt/core.h>

#include <memory>

#include "engine/error.h"
#include "graphs/tune.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/table.h"
#include "tools/tensor_files.h"

namespace strand::tools {
namespace {

constexpr const char* kExamples = R"(Examples:
  strand tune net.yaml --device cuda --set batch=16 --set length=16000
  strand tune net.yaml --tune-cache choices.txt && strand inspect net.yaml --tune-cache choices.txt

The choices hold for this network's problems (layers, batch and length), this device and this version of strand. Every
command reads them; --tune-cache none does not.)";

void print(const std::vector<graphs::TunedProblem>& problems) {
  Table table({{"problem", Align::kLeft},
               {"layers"},
               {"before", Align::kLeft},
               {""},
               {"tuned", Align::kLeft},
               {""},
               {"others", Align::kLeft}});
  for (const graphs::TunedProblem& problem : problems) {
    std::string others;
    for (size_t i = 1; i < problem.implementations.size(); ++i) {
      const graphs::MeasuredImplementation& other = problem.implementations[i];
      if (i == problem.best) continue;
      others += (others.empty() ? "" : ", ") + other.name + " " + format_ms(other.milliseconds);
    }
    const graphs::MeasuredImplementation& before = problem.implementations[0];
    const graphs::MeasuredImplementation& best = problem.implementations[problem.best];
    const bool same = problem.best == 0;
    table.add({problem.key, std::to_string(problem.layers.size()), before.name, format_ms(before.milliseconds),
               same ? "the same" : best.name, same ? "" : format_ms(best.milliseconds), others});
  }
  fmt::print("{}", table.text());
}

int tune(const NetworkOptions& network_options) {
  NetworkOptions without = network_options;
  without.tuning = "none";  // what was measured before does not matter
  graphs::TuneOptions options;
  options.compile = compile_options(without);
  options.threads = network_options.threads;
  if (!network_options.implementation.empty() || options.compile.precision == Precision::kFloat64) {
    throw Error(ErrorCategory::kUnsupported,
                "tune chooses among implementations; --implementation and float64 name one");
  }
  const std::filesystem::path path =
      network_options.tuning.empty() ? graphs::default_tuning_path() : std::filesystem::path(network_options.tuning);
  if (path.empty() || path == "none")
    throw Error(ErrorCategory::kIo, "tune: no file for the choices; --tune-cache names one");
  Progress progress("strand tune:");
  options.progress = [&](std::string_view implementation) { progress.say(implementation); };
  const graphs::Network network = load_network(network_options);
  Inputs inputs;
  fill_missing(network.graph(), options.compile.dimensions, network_options.seed, inputs);
  const std::vector<graphs::TunedProblem> problems = graphs::tune(network, inputs.tensors, options);
  progress.finish();
  if (problems.empty()) {
    fmt::print("{} has no layer to choose for\n", network.graph().name);
    return 0;
  }
  graphs::write_tuning(path, options.compile.device, graphs::choices(problems));
  print(problems);
  fmt::print("{} choices for {} in {}\n", problems.size(), processor_name(options.compile.device), path.string());
  return 0;
}

}  // namespace

void add_tune(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("tune", "Measure a network's implementations and keep the fastest choices");
  const auto options = std::make_shared<NetworkOptions>();
  add_network_argument(*command, *options);
  add_device_option(*command, *options);
  add_network_options(*command, *options);
  command->footer(kExamples);
  command->callback([options, &exit_code] { exit_code = tune(*options); });
}

}  // namespace strand::tools
