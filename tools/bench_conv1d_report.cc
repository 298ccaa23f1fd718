#include "tools/bench_conv1d_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace strand::tools {
namespace {

constexpr size_t kWorst = 10;
constexpr double kMuchSlower = 1.2;  // than cuDNN's float32
constexpr double kCliff = 1.5;       // the step from a problem to a slightly larger one

nlohmann::ordered_json to_json(const ConvTiming& timing) {
  if (!timing.declined.empty()) return {{"implementation", timing.implementation}, {"declined", timing.declined}};
  return {{"implementation", timing.implementation},
          {"ms", timing.milliseconds},
          {"error_over_eps_sum", timing.error},
          {"promise", timing.promise},
          {"checked_outputs", timing.checked}};
}

std::string format_error(const ConvTiming& timing) {
  if (timing.checked == 0) return "-";
  return fmt::format("{:.3g}{}", timing.error, timing.kept_promise() ? "" : " FAILED");
}

// Its name without the algorithm or storage that may stand behind it.
std::string kind_of(const ConvTiming& timing) {
  return timing.implementation.substr(0, timing.implementation.find(" ("));
}

// What stands beside ours.
std::vector<std::string> others_of(const std::vector<CaseResult>& results) {
  std::vector<std::string> others;
  for (const CaseResult& result : results) {
    for (const ConvTiming& timing : result.timings) {
      if (is_ours(timing)) continue;
      const std::string name = kind_of(timing);
      if (std::ranges::find(others, name) == others.end()) others.push_back(name);
    }
  }
  return others;
}

class GeometricMean {
 public:
  void add(double value) {
    log_ += std::log(value);
    ++count_;
  }
  int count() const { return count_; }
  double value() const { return std::exp(log_ / count_); }

 private:
  double log_ = 0;
  int count_ = 0;
};

const ConvTiming* fastest_of_ours(const CaseResult& result) {
  const ConvTiming* cpu = result.fastest("cpu.");
  return cpu != nullptr ? cpu : result.fastest("cuda.");
}

// `choose` picks ours.
template <class Choose>
void print_means(const std::vector<CaseResult>& results, const char* which, Choose choose) {
  GeometricMean share;
  for (const CaseResult& result : results) {
    if (const ConvTiming* ours = choose(result)) share.add(result.floor.ms() / ours->milliseconds);
  }
  if (share.count() == 0) return;
  fmt::print("Geometric means of the {} of ours: {:.1f} % of the floor over {} cases", which, 100 * share.value(),
             share.count());
  for (const std::string& other : others_of(results)) {
    GeometricMean ratio;
    for (const CaseResult& result : results) {
      const ConvTiming* ours = choose(result);
      const ConvTiming* theirs = result.fastest(other);
      if (ours != nullptr && theirs != nullptr) ratio.add(theirs->milliseconds / ours->milliseconds);
    }
    if (ratio.count() > 0) {
      fmt::print(", {:.2f} times as fast as {} over {}", ratio.value(), other, ratio.count());
    }
  }
  fmt::print("\n");
}

// How far below its peers: the time over that of cuDNN's float32, or of the floor where that is missing.
double slowness(const CaseResult& result) {
  const ConvTiming* ours = result.picked();
  if (ours == nullptr) return 0;
  const ConvTiming* cudnn = result.fastest("cudnn float32");
  return ours->milliseconds / (cudnn != nullptr ? cudnn->milliseconds : result.floor.ms());
}

bool is_right(const CaseResult& result) {
  if (!result.skipped.empty()) return true;
  return result.picked() != nullptr && std::ranges::all_of(result.timings, &ConvTiming::kept_promise);
}

// The cells of make_random_table.
std::vector<std::string> random_row(const CaseResult& result) {
  const ConvTiming* ours = result.picked();
  const ConvTiming* cudnn = result.fastest("cudnn float32");
  std::vector<std::string> row = {result.conv_case.name, to_string(result.conv_case.sizes)};
  if (ours == nullptr) return row;
  for (std::string cell : {ours->implementation, format_ms(ours->milliseconds),
                           fmt::format("{:.1f} %", 100 * result.floor.ms() / ours->milliseconds),
                           cudnn == nullptr ? "-" : format_ms(cudnn->milliseconds),
                           cudnn == nullptr ? "-" : fmt::format("{:.2f}", slowness(result)), format_error(*ours)}) {
    row.push_back(std::move(cell));
  }
  return row;
}

}  // namespace

bool is_ours(const ConvTiming& timing) {
  return timing.implementation.starts_with("cpu.") || timing.implementation.starts_with("cuda.");
}

const ConvTiming* CaseResult::picked() const {
  const auto first =
      std::ranges::find_if(timings, [](const ConvTiming& timing) { return is_ours(timing) && timing.ran(); });
  return first == timings.end() ? nullptr : &*first;
}

const ConvTiming* CaseResult::fastest(const std::string& kind) const {
  const ConvTiming* best = nullptr;
  for (const ConvTiming& timing : timings) {
    const bool matches = kind.ends_with('.') ? timing.implementation.starts_with(kind) : kind_of(timing) == kind;
    if (timing.milliseconds == 0 || !timing.declined.empty() || !matches) continue;
    if (best == nullptr || timing.milliseconds < best->milliseconds) best = &timing;
  }
  return best;
}

Floor floor_of(const ConvSizes& sizes, const Peaks& peaks, DType stored, Precision precision) {
  const double flops = 2 * static_cast<double>(sizes.multiply_adds());
  Floor floor;
  floor.bytes = sizes.bytes(size_of(stored));
  floor.half_products = precision == Precision::kFloat32 ? 3 : 1;
  floor.bytes_ms = static_cast<double>(floor.bytes) / peaks.copy_bytes * 1e3;
  if (peaks.half_flops > 0) floor.half_ms = floor.half_products * flops / peaks.half_flops * 1e3;
  if (peaks.float_flops > 0) floor.ffma_ms = flops / peaks.float_flops * 1e3;
  return floor;
}

Table make_case_table() {
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
  fmt::print("; cuDNN {}; all with a bias\n\n",
             built_with_cudnn() ? cudnn_version() : std::string("was not found when this was built"));
}

void print_case(const Table& table, const CaseResult& result) {
  const ConvSizes& sizes = result.conv_case.sizes;
  std::string floors = fmt::format("bytes {}", format_ms(result.floor.bytes_ms));
  if (result.floor.half_ms > 0)
    floors += fmt::format(", {} half product{} {}", result.floor.half_products,
                          result.floor.half_products == 1 ? "" : "s", format_ms(result.floor.half_ms));
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
    if (timing.milliseconds == 0) continue;
    const double seconds = timing.milliseconds / 1e3;
    fmt::print("{}", table.line({"  " + timing.implementation, format_ms(timing.milliseconds),
                                 fmt::format("{:.1f} %", 100 * result.floor.ms() / timing.milliseconds),
                                 format_rate(static_cast<double>(result.floor.bytes) / seconds, "B/s"),
                                 format_rate(2 * static_cast<double>(sizes.multiply_adds()) / seconds, "FLOP/s"),
                                 format_error(timing)}));
  }
  std::fflush(stdout);
}

void print_summary(const std::vector<CaseResult>& results) {
  const std::vector<std::string> others = others_of(results);
  std::vector<Column> columns = {
      {"case", Align::kLeft}, {"picked", Align::kLeft}, {"time"}, {"of floor"}, {"fastest", Align::kLeft}};
  for (const std::string& other : others) {
    columns.push_back({other});
    columns.push_back({"of ours"});
  }
  Table table(columns);
  for (const CaseResult& result : results) {
    const ConvTiming* ours = result.picked();
    if (ours == nullptr) continue;
    const ConvTiming* fastest = fastest_of_ours(result);
    std::vector<std::string> row = {
        result.conv_case.name, ours->implementation, format_ms(ours->milliseconds),
        fmt::format("{:.1f} %", 100 * result.floor.ms() / ours->milliseconds),
        fastest == ours ? "" : fmt::format("{} {}", fastest->implementation, format_ms(fastest->milliseconds))};
    for (const std::string& other : others) {
      const ConvTiming* theirs = result.fastest(other);
      row.push_back(theirs == nullptr ? "-" : format_ms(theirs->milliseconds));
      row.push_back(theirs == nullptr ? "-" : fmt::format("{:.2f}", theirs->milliseconds / ours->milliseconds));
    }
    table.add(std::move(row));
  }
  fmt::print("\n{}\n", table.text());
  print_means(results, "picked", [](const CaseResult& result) { return result.picked(); });
  print_means(results, "fastest", fastest_of_ours);
}

Table make_random_table() {
  return Table({{"problem", Align::kLeft, 9},
                {"sizes", Align::kLeft, 52},
                {"picked", Align::kLeft, 17},
                {"time", Align::kRight, 10},
                {"of floor"},
                {"cuDNN float32", Align::kRight, 10},
                {"ours / cuDNN"},
                {"error"}});
}

void print_random(const Table& table, const CaseResult& result) {
  if (result.skipped.empty()) {
    fmt::print("{}", table.line(random_row(result)));
  } else {
    fmt::print("{}: skipped: {}\n", result.conv_case.name, result.skipped);
  }
}

void print_worst(const std::vector<CaseResult>& results) {
  std::vector<const CaseResult*> order;
  int64_t skipped = 0;
  int64_t wrong = 0;
  int64_t slow = 0;
  fmt::print("\n");
  for (const CaseResult& result : results) {
    if (!result.skipped.empty()) {
      ++skipped;
      continue;
    }
    order.push_back(&result);
    if (result.fastest("cudnn float32") != nullptr && slowness(result) > kMuchSlower) ++slow;
    if (is_right(result)) continue;
    ++wrong;
    fmt::print("WRONG  {}: {}\n", result.conv_case.name, to_string(result.conv_case.sizes));
    for (const ConvTiming& timing : result.timings) {
      fmt::print("  {}: {}\n", timing.implementation, timing.declined.empty() ? format_error(timing) : timing.declined);
    }
  }
  std::ranges::sort(order, [](const CaseResult* a, const CaseResult* b) { return slowness(*a) > slowness(*b); });
  fmt::print("The slowest:\n");
  Table table = make_random_table();
  for (const CaseResult* result : order) {
    if (table.rows() == kWorst) break;
    if (result->picked() != nullptr) table.add(random_row(*result));
  }
  fmt::print("{}\n", table.text());
  print_means(results, "picked", [](const CaseResult& result) { return result.picked(); });
  fmt::print(
      "{} problems: {} right, {} wrong, {} skipped for memory; {} slower than cuDNN's float32 by more than {:.0f} %\n",
      results.size(), static_cast<int64_t>(results.size()) - wrong - skipped, wrong, skipped, slow,
      100 * (kMuchSlower - 1));
}

void print_sweep(const std::vector<CaseResult>& results) {
  Table table({{"size", Align::kLeft},
               {"problem", Align::kLeft},
               {"picked", Align::kLeft},
               {"time"},
               {"of floor"},
               {"1 % larger"},
               {"picked", Align::kLeft},
               {"time"},
               {"step"},
               {"", Align::kLeft}});
  int cliffs = 0;
  for (size_t i = 0; i + 1 < results.size(); i += 2) {
    const CaseResult& now = results[i];
    const CaseResult& larger = results[i + 1];
    const ConvTiming* here = now.picked();
    const ConvTiming* there = larger.picked();
    if (here == nullptr || there == nullptr) continue;
    // Small sizes grow by more than 1 %: the work's own growth is no cliff.
    const double work = static_cast<double>(larger.conv_case.sizes.multiply_adds()) /
                        static_cast<double>(now.conv_case.sizes.multiply_adds());
    const double step = there->milliseconds / here->milliseconds / work;
    if (step > kCliff) ++cliffs;
    table.add({now.conv_case.name, to_string(now.conv_case.sizes), here->implementation, format_ms(here->milliseconds),
               fmt::format("{:.1f} %", 100 * now.floor.ms() / here->milliseconds), larger.conv_case.name,
               there->implementation, format_ms(there->milliseconds), fmt::format("{:.2f}", step),
               step > kCliff ? "CLIFF" : ""});
  }
  fmt::print("{}\nstep: the time's growth over the work's. Steps above {}: {}\n", table.text(), kCliff, cliffs);
}

bool all_right(const std::vector<CaseResult>& results) { return std::ranges::all_of(results, is_right); }

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

}  // namespace strand::tools
