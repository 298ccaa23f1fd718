// strand bench --conv1d: every implementation of Conv1d on a file of cases, or on random problems, beside cuDNN's best
// and PyTorch's times.

#include <fmt/core.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "tools/bench.h"
#include "tools/bench_conv1d_report.h"
#include "tools/bench_times.h"
#include "tools/progress.h"
#include "tools/stop_signals.h"

namespace strand::tools {
namespace {

constexpr double kCpuMultiplyAdds = 1e9;        // a case, unless told
constexpr double kRandomMultiplyAdds = 1.6e10;  // a random problem: some milliseconds on a GPU, and 250 MB
constexpr double kCpuRandomMultiplyAdds = 1e7;
constexpr int kRandomRepeats = 5;

std::vector<ConvCase> make_random_cases(const BenchOptions& options, Device device) {
  const double usual = device.is_cpu() ? kCpuRandomMultiplyAdds : kRandomMultiplyAdds;
  return random_cases(options.random, options.network.seed,
                      options.most_multiply_adds > 0 ? options.most_multiply_adds : usual);
}

std::vector<ConvCase> choose_cases(const BenchOptions& options, Device device) {
  const double most =
      options.most_multiply_adds > 0 ? options.most_multiply_adds : (device.is_cpu() ? kCpuMultiplyAdds : 0);
  std::vector<ConvCase> chosen;
  for (ConvCase& conv_case : read_cases(options.cases)) {
    if (conv_case.name.find(options.filter) == std::string::npos) continue;
    shorten(conv_case, most);
    chosen.push_back(conv_case);
    if (options.both_alignments) chosen.push_back(other_alignment(conv_case));
  }
  if (chosen.empty()) {
    throw Error(ErrorCategory::kSchema, fmt::format("{}: no case has '{}' in its name", options.cases, options.filter));
  }
  return chosen;
}

std::vector<ConvCase> make_cases(const BenchOptions& options, Device device) {
  if (options.random > 0) return make_random_cases(options, device);
  if (!options.sweep) return choose_cases(options, device);
  const double usual = device.is_cpu() ? kCpuMultiplyAdds : 0;
  return sweep_cases(options.most_multiply_adds > 0 ? options.most_multiply_adds : usual);
}

ConvRequest request_of(const BenchOptions& options) {
  ConvRequest request{options.network.implementation, kDefaultRepeats, Scope::kAll};
  if (options.random > 0) {
    request.repeats = kRandomRepeats;
    request.scope = Scope::kPickedAndChecks;
  } else if (options.sweep) {
    request.scope = Scope::kPicked;
  }
  if (options.repeats > 0) request.repeats = options.repeats;
  request.precision = parse_precision(options.network.precision);
  request.half_storage = !options.network.no_half_storage;
  return request;
}

CaseResult run_case(const BenchDevice& device, ConvCase conv_case, const Peaks& peaks, const BenchOptions& options) {
  Progress progress("strand bench:");
  CaseResult result{std::move(conv_case), {}, "", {}};
  const ConvRequest request = request_of(options);
  const DType stored = request.stored(device.context().device());
  result.floor = floor_of(result.conv_case.sizes, peaks, stored, request.precision);
  try {
    ConvProblem problem(device, result.conv_case.sizes, request, options.network.seed);
    result.timings = problem.time_all([&](std::string_view implementation) {
      progress.say(fmt::format("{} {}", result.conv_case.name, implementation));
    });
  } catch (const Error& error) {
    // One case that does not fit the memory is no reason to lose the others.
    if (error.category() != ErrorCategory::kLimit) {
      throw error.at(fmt::format("{} ({})", result.conv_case.name, to_string(result.conv_case.sizes)));
    }
    result.skipped = error.what();
  }
  return result;
}

// As if they had been measured here; a shortened case is another one than PyTorch's.
void add_times(const OtherTimes& others, CaseResult& result) {
  if (!result.conv_case.shortened.empty()) return;
  for (size_t i = 0; i < others.titles.size(); ++i) {
    const std::optional<double> ms = others.find(result.conv_case.name, i);
    if (ms) result.timings.push_back({"pytorch " + others.titles[i], "", *ms, 0, 0, 0});
  }
}

void print_json(const Machine& machine, const Peaks& peaks, const std::vector<CaseResult>& results) {
  nlohmann::ordered_json json = {{"machine", to_json(machine)},
                                 {"copy_bytes_per_second", peaks.copy_bytes},
                                 {"float32_flops", peaks.float_flops},
                                 {"float16_flops", peaks.half_flops},
                                 {"cudnn", cudnn_version()}};
  for (const CaseResult& result : results) json["cases"].push_back(to_json(result));
  fmt::print("{}\n", json.dump(2));
}

}  // namespace

int bench_conv1d(const BenchOptions& options) {
  const Device device = parse_device(options.network.device);
  const bool random = options.random > 0;
  const bool one_by_one = !options.json && !options.sweep;
  std::vector<ConvCase> cases = make_cases(options, device);
  const OtherTimes others = read_times(options.pytorch);
  const auto bench_device = make_bench_device(device, options.network.threads);
  const Machine machine = describe_machine(device);
  const Peaks peaks = bench_device->measure_peaks(options.repeats > 0 ? options.repeats : kDefaultRepeats);
  const Table table = random ? make_random_table() : make_case_table();
  const Precision precision = request_of(options).precision;
  if (precision == Precision::kFloat64) {
    throw Error(ErrorCategory::kUnsupported, "precision float64 is the reference's, which is not timed here");
  }
  if (!options.json) print_head(machine, peaks);
  if (!options.json && precision != Precision::kFloat32) {
    fmt::print("precision {} (eps {}), stored as {}\n", to_string(precision), eps_of(precision),
               to_string(request_of(options).stored(device)));
  }
  if (one_by_one) fmt::print("{}", table.header());
  // Many cases take minutes: what was measured by then is told.
  stop_on_signals();
  std::vector<CaseResult> results;
  for (ConvCase& conv_case : cases) {
    if (stopped()) break;
    results.push_back(run_case(*bench_device, std::move(conv_case), peaks, options));
    add_times(others, results.back());
    if (!one_by_one) continue;
    (random ? print_random : print_case)(table, results.back());
    std::fflush(stdout);  // whatever ends the next one
  }
  if (options.json) {
    print_json(machine, peaks, results);
  } else if (random) {
    print_worst(results);
  } else if (options.sweep) {
    print_sweep(results);
  } else {
    print_summary(results);
  }
  if (results.size() < cases.size()) {
    fmt::print(stderr, "strand bench: stopped by a signal after {} of {} cases\n", results.size(), cases.size());
    return 1;
  }
  return (options.check || random) && !all_right(results) ? 1 : 0;
}

}  // namespace strand::tools
