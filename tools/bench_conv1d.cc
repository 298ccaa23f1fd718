// strand bench --conv1d: every implementation of Conv1d on a file of cases, beside cuDNN's best and the machine's
// floor. The floor of a case is the time to read every input and write every output once at the rate of a device copy
// measured in the same run, or to form three float16 products for each float32 one, whichever is longer.

#include <fmt/core.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/error.h"
#include "tools/bench.h"
#include "tools/bench_cases.h"
#include "tools/bench_problem.h"
#include "tools/machine.h"
#include "tools/progress.h"
#include "tools/table.h"

namespace strand::tools {
namespace {

constexpr double kCpuMultiplyAdds = 1e9;  // a case, unless told
constexpr double kHalfProducts = 3;       // for one float32 product on tensor cores

struct Floor {
  double bytes_ms = 0;
  double half_ms = 0;  // 0: not known
  double ffma_ms = 0;  // 0: not known
  double ms() const { return std::max(bytes_ms, half_ms); }
};

Floor floor_of(const ConvSizes& sizes, const Peaks& peaks) {
  const double flops = 2 * static_cast<double>(sizes.multiply_adds());
  Floor floor;
  floor.bytes_ms = static_cast<double>(sizes.bytes()) / peaks.copy_bytes * 1e3;
  if (peaks.half_flops > 0) floor.half_ms = kHalfProducts * flops / peaks.half_flops * 1e3;
  if (peaks.float_flops > 0) floor.ffma_ms = flops / peaks.float_flops * 1e3;
  return floor;
}

struct CaseResult {
  ConvCase conv_case;
  Floor floor;
  std::string skipped;  // why; empty where it ran
  std::vector<ConvTiming> timings;
};

Table make_table() {
  return Table({{"case, implementation", Align::kLeft, 46},
                {"time", Align::kRight, 10},
                {"of floor", Align::kRight, 9},
                {"memory", Align::kRight, 9},
                {"arithmetic", Align::kRight, 12},
                {"error / (eps sum |wx|)", Align::kRight}});
}

void print_head(const Machine& machine, const Peaks& peaks) {
  fmt::print("{}\n", to_string(machine));
  fmt::print("copy {} (read and written)", format_rate(peaks.copy_bytes, "B/s"));
  if (peaks.float_flops > 0) {
    fmt::print(", products of 8192^3: float32 {}, float16 {}", format_rate(peaks.float_flops, "FLOP/s"),
               format_rate(peaks.half_flops, "FLOP/s"));
  }
  fmt::print("; cuDNN {}, no bias; ours with bias\n\n",
             built_with_cudnn() ? cudnn_version() : std::string("was not found when this was built"));
}

void print_case(const Table& table, const CaseResult& result) {
  const ConvSizes& sizes = result.conv_case.sizes;
  std::string floors = fmt::format("bytes {}", format_ms(result.floor.bytes_ms));
  if (result.floor.half_ms > 0) floors += fmt::format(", 3 half products {}", format_ms(result.floor.half_ms));
  if (result.floor.ffma_ms > 0) floors += fmt::format(", FFMA {}", format_ms(result.floor.ffma_ms));
  fmt::print("{}: {}; floors: {}", result.conv_case.name, to_string(sizes), floors);
  // Goals are for the whole case on the GPU that the file names.
  for (const auto& [title, value] : result.conv_case.figures) {
    const bool shown = title.starts_with("goal") && !std::isnan(value) && result.conv_case.shortened.empty();
    if (shown && result.floor.half_ms > 0) fmt::print(", {} {}", title, format_ms(value));
  }
  fmt::print("{}\n", result.conv_case.shortened.empty() ? "" : " (shortened: " + result.conv_case.shortened + ")");
  if (!result.skipped.empty()) fmt::print("  skipped: {}\n", result.skipped);
  for (const ConvTiming& timing : result.timings) {
    if (!timing.declined.empty()) {
      fmt::print("  {}: {}\n", timing.implementation, timing.declined);
      continue;
    }
    const double seconds = timing.milliseconds / 1e3;
    fmt::print("{}", table.line({"  " + timing.implementation, format_ms(timing.milliseconds),
                                 fmt::format("{:.1f} %", 100 * result.floor.ms() / timing.milliseconds),
                                 format_rate(static_cast<double>(sizes.bytes()) / seconds, "B/s"),
                                 format_rate(2 * static_cast<double>(sizes.multiply_adds()) / seconds, "FLOP/s"),
                                 fmt::format("{:.3g}{}", timing.error, timing.kept_promise() ? "" : " FAILED")}));
  }
  std::fflush(stdout);
}

nlohmann::ordered_json to_json(const ConvTiming& timing) {
  if (!timing.declined.empty()) return {{"implementation", timing.implementation}, {"declined", timing.declined}};
  return {{"implementation", timing.implementation},
          {"ms", timing.milliseconds},
          {"error_over_eps_sum", timing.error},
          {"promise", timing.promise},
          {"checked_outputs", timing.checked}};
}

nlohmann::ordered_json to_json(const CaseResult& result) {
  const ConvSizes& sizes = result.conv_case.sizes;
  nlohmann::ordered_json json = {{"name", result.conv_case.name},
                                 {"N", sizes.batch},
                                 {"Cin", sizes.in_channels},
                                 {"Cout", sizes.out_channels},
                                 {"L", sizes.length},
                                 {"K", sizes.kernel_size},
                                 {"s", sizes.stride},
                                 {"d", sizes.dilation},
                                 {"pad", sizes.padding},
                                 {"groups", sizes.groups},
                                 {"shortened", result.conv_case.shortened},
                                 {"floor_bytes_ms", result.floor.bytes_ms},
                                 {"floor_half_products_ms", result.floor.half_ms},
                                 {"floor_ffma_ms", result.floor.ffma_ms}};
  for (const auto& [title, value] : result.conv_case.figures) json["figures"][title] = value;
  if (!result.skipped.empty()) json["skipped"] = result.skipped;
  json["results"] = nlohmann::ordered_json::array();
  for (const ConvTiming& timing : result.timings) json["results"].push_back(to_json(timing));
  return json;
}

// The fastest of those timings whose names begin so.
std::optional<double> fastest(const CaseResult& result, const std::string& prefix) {
  std::optional<double> best;
  for (const ConvTiming& timing : result.timings) {
    if (!timing.declined.empty() || !timing.implementation.starts_with(prefix)) continue;
    if (!best || timing.milliseconds < *best) best = timing.milliseconds;
  }
  return best;
}

// Geometric means over the cases that have both sides.
void print_means(const std::vector<CaseResult>& results, const std::string& device) {
  double floor_log = 0;
  int ran = 0;
  for (const CaseResult& result : results) {
    if (const auto ours = fastest(result, device + ".")) {
      floor_log += std::log(result.floor.ms() / *ours);
      ++ran;
    }
  }
  if (ran == 0) return;
  fmt::print("\nGeometric means of the fastest of ours: {:.1f} % of the floor over {} cases",
             100 * std::exp(floor_log / ran), ran);
  for (const char* other : {"cudnn float32", "cudnn tf32"}) {
    double log = 0;
    int cases = 0;
    for (const CaseResult& result : results) {
      const auto ours = fastest(result, device + ".");
      const auto theirs = fastest(result, other);
      if (!ours || !theirs) continue;
      log += std::log(*theirs / *ours);
      ++cases;
    }
    if (cases > 0) fmt::print(", {:.2f} times as fast as {} over {}", std::exp(log / cases), other, cases);
  }
  fmt::print("\n");
}

std::vector<ConvCase> choose_cases(const BenchOptions& options, Device device) {
  const double most =
      options.most_multiply_adds > 0 ? options.most_multiply_adds : (device.is_cpu() ? kCpuMultiplyAdds : 0);
  std::vector<ConvCase> chosen;
  for (ConvCase& conv_case : read_cases(options.cases)) {
    if (conv_case.name.find(options.filter) == std::string::npos) continue;
    shorten(conv_case, most);
    chosen.push_back(std::move(conv_case));
  }
  if (chosen.empty()) {
    throw Error(ErrorCategory::kSchema, fmt::format("{}: no case has '{}' in its name", options.cases, options.filter));
  }
  return chosen;
}

CaseResult run_case(const BenchDevice& device, ConvCase conv_case, const Peaks& peaks, const BenchOptions& options) {
  Progress progress("strand bench:");
  CaseResult result{std::move(conv_case), {}, "", {}};
  result.floor = floor_of(result.conv_case.sizes, peaks);
  const int repeats = options.repeats > 0 ? options.repeats : kDefaultRepeats;
  try {
    ConvProblem problem(device, result.conv_case.sizes, options.network.seed);
    result.timings = problem.time_all(options.network.implementation, repeats, [&](std::string_view implementation) {
      progress.say(fmt::format("{} {}", result.conv_case.name, implementation));
    });
  } catch (const Error& error) {
    // One case that does not fit the memory is no reason to lose the others.
    if (error.category() != ErrorCategory::kLimit) throw error.at(result.conv_case.name);
    result.skipped = error.what();
  }
  return result;
}

}  // namespace

int bench_conv1d(const BenchOptions& options) {
  const Device device = parse_device(options.network.device);
  std::vector<ConvCase> cases = choose_cases(options, device);
  const auto bench_device = make_bench_device(device, options.network.threads);
  const Machine machine = describe_machine(device);
  const Peaks peaks = bench_device->measure_peaks(options.repeats > 0 ? options.repeats : kDefaultRepeats);
  const Table table = make_table();
  if (!options.json) {
    print_head(machine, peaks);
    fmt::print("{}", table.header());
  }
  std::vector<CaseResult> results;
  bool kept = true;
  for (ConvCase& conv_case : cases) {
    results.push_back(run_case(*bench_device, std::move(conv_case), peaks, options));
    if (!options.json) print_case(table, results.back());
    for (const ConvTiming& timing : results.back().timings) kept = kept && timing.kept_promise();
  }
  if (options.json) {
    nlohmann::ordered_json json = {{"machine", to_json(machine)},
                                   {"copy_bytes_per_second", peaks.copy_bytes},
                                   {"float32_flops", peaks.float_flops},
                                   {"float16_flops", peaks.half_flops},
                                   {"cudnn", cudnn_version()}};
    for (const CaseResult& result : results) json["cases"].push_back(to_json(result));
    fmt::print("{}\n", json.dump(2));
  } else {
    print_means(results, std::string(to_string(device.type)));
  }
  return options.check && !kept ? 1 : 0;
}

}  // namespace strand::tools
