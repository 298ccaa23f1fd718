// strand bench NET: latency, throughput and where the time goes. Times are from the call until the device is done, with
// the inputs in place.

#include <fmt/core.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/session.h"
#include "tools/bench.h"
#include "tools/machine.h"
#include "tools/progress.h"
#include "tools/table.h"
#include "tools/tensor_files.h"

namespace strand::tools {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kWarmupRuns = 3;
constexpr double kWarmupSeconds = 0.2;
constexpr size_t kFewestRuns = 10;
constexpr size_t kMostRuns = 100'000;
constexpr size_t kLayerRuns = 50;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct LayerTime {
  double milliseconds = 0;
  int64_t bytes = 0;  // inputs, outputs and weights, each once
  int64_t multiply_adds = 0;
};

struct Measured {
  std::vector<double> milliseconds;
  std::vector<LayerTime> layers;  // as the plan's steps
};

double run_once(Session& session) {
  const auto start = Clock::now();
  session.run_loaded();
  session.context().synchronize();
  return seconds_since(start) * 1e3;
}

std::vector<double> measure_runs(Session& session, const BenchOptions& options, Progress& progress) {
  const auto warmup = Clock::now();
  for (int i = 0; i < kWarmupRuns || seconds_since(warmup) < kWarmupSeconds; ++i) run_once(session);
  const size_t asked = static_cast<size_t>(options.repeats);
  std::vector<double> times;
  const auto start = Clock::now();
  const auto enough = [&] {
    if (asked > 0) return times.size() >= asked;
    return times.size() >= kMostRuns || (times.size() >= kFewestRuns && seconds_since(start) >= options.seconds);
  };
  while (!enough()) {
    times.push_back(run_once(session));
    progress.say(fmt::format("run {}", times.size()));
  }
  return times;
}

int64_t bytes_of(const Plan& plan, const PlanStep& step) {
  int64_t bytes = step.weight_bytes;
  for (const std::vector<int>* values : {&step.inputs, &step.outputs}) {
    for (const int value : *values) bytes += value < 0 ? 0 : plan.values[static_cast<size_t>(value)].type.bytes();
  }
  return bytes;
}

std::vector<LayerTime> measure_layers(Session& session, size_t runs, Progress& progress) {
  const Plan& plan = session.plan();
  std::vector<std::vector<double>> times(plan.steps.size());
  std::vector<double> run(plan.steps.size());
  for (size_t i = 0; i < runs; ++i) {
    progress.say(fmt::format("layer by layer, run {} of {}", i + 1, runs));
    session.run_timed(run);
    for (size_t step = 0; step < run.size(); ++step) times[step].push_back(run[step]);
  }
  std::vector<LayerTime> layers;
  for (size_t i = 0; i < times.size(); ++i) {
    layers.push_back({percentile(times[i], 50), bytes_of(plan, plan.steps[i]), plan.steps[i].multiply_adds});
  }
  return layers;
}

// Of the first input: how many samples a run takes in, and their rate.
struct Throughput {
  double samples_per_second = 0;
  std::optional<double> times_real_time;
};

Throughput throughput_of(const graphs::Graph& graph, const Plan& plan, double milliseconds) {
  const TensorType& type = plan.input_type(0);
  const int64_t length = type.time_axis == TensorType::kNoTime ? 1 : type.shape[type.time_axis];
  const int64_t batch = type.shape.rank() > 1 ? type.shape[0] : 1;
  Throughput result;
  result.samples_per_second = static_cast<double>(batch * length) / (milliseconds / 1e3);
  const int64_t rate = graph.inputs[0].description.rate;
  if (rate > 0) result.times_real_time = result.samples_per_second / static_cast<double>(rate);
  return result;
}

void print_text(const graphs::Graph& graph, const Session& session, const Measured& measured) {
  const Plan& plan = session.plan();
  fmt::print("{} on {}, {}: {}\n", plan.name, to_string(plan.device), to_string(plan.precision),
             to_string(describe_machine(plan.device)));
  for (size_t i = 0; i < plan.inputs.size(); ++i) {
    fmt::print("input       {}  {}, random\n", plan.inputs[i].name, to_string(plan.input_type(i)));
  }
  const double median = percentile(measured.milliseconds, 50);
  fmt::print("latency     median {}, p95 {}, p99 {} over {} runs{}\n", format_ms(median),
             format_ms(percentile(measured.milliseconds, 95)), format_ms(percentile(measured.milliseconds, 99)),
             measured.milliseconds.size(),
             plan.device.is_cpu() ? fmt::format(", {} thread{}", session.context().threads(),
                                                session.context().threads() == 1 ? "" : "s")
                                  : "");
  const Throughput throughput = throughput_of(graph, plan, median);
  fmt::print("throughput  {}", format_rate(throughput.samples_per_second, "samples/s"));
  if (throughput.times_real_time) fmt::print(", {:.1f} times real time", *throughput.times_real_time);
  fmt::print("\n\n");

  double total = 0;
  for (const LayerTime& layer : measured.layers) total += layer.milliseconds;
  Table table({{"layer", Align::kLeft},
               {"type", Align::kLeft},
               {"implementation", Align::kLeft},
               {"median"},
               {"share"},
               {"memory"},
               {"arithmetic"}});
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const LayerTime& layer = measured.layers[i];
    const double seconds = layer.milliseconds / 1e3;
    table.add({plan.steps[i].name, plan.steps[i].type, plan.steps[i].implementation, format_ms(layer.milliseconds),
               fmt::format("{:.1f} %", 100 * layer.milliseconds / total),
               format_rate(static_cast<double>(layer.bytes) / seconds, "B/s"),
               format_rate(2 * static_cast<double>(layer.multiply_adds) / seconds, "FLOP/s")});
  }
  table.add_rule();
  table.add({"all layers, each waited for", "", "", format_ms(total)});
  fmt::print("{}", table.text());
}

void print_json(const graphs::Graph& graph, const Session& session, const Measured& measured) {
  const Plan& plan = session.plan();
  const double median = percentile(measured.milliseconds, 50);
  const Throughput throughput = throughput_of(graph, plan, median);
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const LayerTime& layer = measured.layers[i];
    layers.push_back({{"layer", plan.steps[i].name},
                      {"type", plan.steps[i].type},
                      {"implementation", plan.steps[i].implementation},
                      {"median_ms", layer.milliseconds},
                      {"bytes", layer.bytes},
                      {"multiply_adds", layer.multiply_adds}});
  }
  nlohmann::ordered_json inputs = nlohmann::ordered_json::object();
  for (size_t i = 0; i < plan.inputs.size(); ++i) inputs[plan.inputs[i].name] = plan.input_type(i).shape.sizes();
  nlohmann::ordered_json json = {{"network", plan.name},
                                 {"device", to_string(plan.device)},
                                 {"machine", to_json(describe_machine(plan.device))},
                                 {"precision", to_string(plan.precision)},
                                 {"threads", session.context().threads()},
                                 {"inputs", inputs},
                                 {"runs", measured.milliseconds.size()},
                                 {"median_ms", median},
                                 {"p95_ms", percentile(measured.milliseconds, 95)},
                                 {"p99_ms", percentile(measured.milliseconds, 99)},
                                 {"samples_per_second", throughput.samples_per_second}};
  if (throughput.times_real_time) json["times_real_time"] = *throughput.times_real_time;
  json["layers"] = layers;
  fmt::print("{}\n", json.dump(2));
}

}  // namespace

int bench_network(const BenchOptions& options) {
  Progress progress("strand bench:");
  const graphs::CompileOptions compile = compile_options(options.network);
  const graphs::Network network = load_network(options.network);
  Inputs inputs;
  fill_missing(network.graph(), compile.dimensions, options.network.seed, inputs);
  Session session(network.compile(compile), options.network.threads);
  // On the device already: inputs that lie in the arena would be overwritten by the first run.
  std::vector<Tensor> placed;
  std::vector<TensorView> views;
  for (const PlanPort& input : session.plan().inputs) {
    placed.push_back(inputs.tensors.find(input.name)->second.to(compile.device));
    views.push_back(placed.back().view());
  }
  session.load_inputs(views);
  Measured measured;
  measured.milliseconds = measure_runs(session, options, progress);
  measured.layers = measure_layers(session, std::min(kLayerRuns, measured.milliseconds.size()), progress);
  progress.finish();
  if (options.json) {
    print_json(network.graph(), session, measured);
  } else {
    print_text(network.graph(), session, measured);
  }
  return 0;
}

}  // namespace strand::tools
