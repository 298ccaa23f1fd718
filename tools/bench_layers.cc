// strand bench --layers: one layer a case, as a network picks it, beside what the bytes cost. Bytes are those of every
// input read once and every output written once; the share is of the rate that a copy reached in the same run.

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

#include "engine/checked.h"
#include "engine/error.h"
#include "tools/bench.h"
#include "tools/bench_device.h"
#include "tools/bench_layer_cases.h"
#include "tools/bench_times.h"
#include "tools/machine.h"
#include "tools/progress.h"
#include "tools/table.h"

namespace strand::tools {
namespace {

constexpr int64_t kCacheMultiple = 4;  // inputs and outputs together, of the cache
constexpr int64_t kMaxRotations = 1024;
constexpr int64_t kWindows = 64;  // of an output, whose values are looked at
constexpr int64_t kWindow = 4096;

struct LayerResult {
  LayerCase layer_case;
  std::string skipped;  // why; empty where it ran
  std::string implementation;
  double milliseconds = 0;
  int64_t bytes = 0;
  bool written = true;  // all values looked at were
};

// Tensors of a plan of one step, several sets of them where one would stay in the cache.
class LayerProblem {
 public:
  LayerProblem(const BenchDevice& device, const Plan& plan, uint64_t seed) : device_(device), step_(plan.steps.at(0)) {
    for (const int value : step_.inputs) add(plan, value, inputs_);
    for (const int value : step_.outputs) add(plan, value, outputs_);
    const int64_t multiple = checked_mul(kCacheMultiple, device.cache_bytes());
    rotations_ = std::clamp<int64_t>(ceil_div(multiple, std::max<int64_t>(bytes_, 1)), 1, kMaxRotations);
    const int64_t needed = checked_add(checked_mul(rotations_, set_bytes_), step_.kernel->workspace_bytes());
    if (needed > device.free_bytes()) {
      throw Error(ErrorCategory::kLimit, fmt::format("needs {} of memory, {} are free", format_bytes(needed),
                                                     format_bytes(device.free_bytes())));
    }
    const Device where = device.context().device();
    memory_ = Buffer(where, rotations_ * set_bytes_);
    workspace_ = Buffer(where, step_.kernel->workspace_bytes());
    device.fill_normal(reinterpret_cast<float*>(memory_.data()), memory_.bytes() / 4, seed);
  }

  int64_t bytes() const { return bytes_; }

  double time(int repeats) const {
    return device_.time([this](int64_t turn) { run(turn); }, rotations_, repeats);
  }

  // Runs once on poisoned outputs and says whether the poison is gone from a part of each.
  bool writes_all() const {
    for (const Place& place : outputs_) {
      device_.poison(reinterpret_cast<float*>(memory_.data() + place.offset), place.type.shape.elements());
    }
    run(0);
    device_.context().synchronize();
    return std::ranges::all_of(outputs_, [&](const Place& place) { return is_written(place); });
  }

 private:
  struct Place {
    TensorType type;
    int64_t offset = -1;  // into a set; -1: an optional input that is absent
  };

  void add(const Plan& plan, int value, std::vector<Place>& places) {
    if (value < 0) {
      places.emplace_back();
      return;
    }
    const TensorType& type = plan.values[static_cast<size_t>(value)].type;
    places.push_back({type, set_bytes_});
    bytes_ = checked_add(bytes_, type.bytes());
    set_bytes_ = checked_add(set_bytes_, round_up(type.bytes(), Buffer::kAlignment));
  }

  std::vector<TensorView> views(const std::vector<Place>& places, int64_t turn) const {
    std::byte* set = memory_.data() + turn % rotations_ * set_bytes_;
    std::vector<TensorView> views;
    for (const Place& place : places) {
      views.push_back({place.type, place.offset < 0 ? nullptr : set + place.offset, memory_.device()});
    }
    return views;
  }

  void run(int64_t turn) const {
    const std::vector<TensorView> inputs = views(inputs_, turn);
    const std::vector<TensorView> outputs = views(outputs_, turn);
    step_.kernel->run(device_.context(), {inputs, outputs, workspace_.data()});
  }

  bool is_written(const Place& place) const {
    const int64_t count = place.type.shape.elements();
    std::vector<float> values(static_cast<size_t>(std::min(kWindow, count)));
    const auto size = static_cast<int64_t>(values.size());
    for (int64_t window = 0; window < kWindows; ++window) {
      const int64_t begin = (count - size) / (kWindows - 1) * window;
      const int64_t first = window + 1 == kWindows ? count - size : begin;
      copy_bytes(values.data(), {}, memory_.data() + place.offset + 4 * first, memory_.device(), 4 * size);
      const auto poisoned = [](float value) { return std::bit_cast<uint32_t>(value) == BenchDevice::kPoison; };
      if (std::ranges::any_of(values, poisoned)) return false;
    }
    return true;
  }

  const BenchDevice& device_;
  const PlanStep& step_;
  std::vector<Place> inputs_;
  std::vector<Place> outputs_;
  int64_t bytes_ = 0;      // of a run's inputs and outputs
  int64_t set_bytes_ = 0;  // the same with the gaps between them
  int64_t rotations_ = 1;
  Buffer memory_;
  Buffer workspace_;
};

std::vector<LayerCase> choose_cases(const BenchOptions& options) {
  std::vector<LayerCase> cases = read_layer_cases(options.layers);
  std::erase_if(cases, [&](const LayerCase& each) { return each.name.find(options.filter) == std::string::npos; });
  if (cases.empty()) {
    throw Error(ErrorCategory::kSchema,
                fmt::format("{}: no case has '{}' in its name", options.layers, options.filter));
  }
  return cases;
}

LayerResult run_case(const BenchDevice& device, const LayerCase& layer_case, const BenchOptions& options,
                     const graphs::CompileOptions& compile) {
  Progress progress("strand bench:");
  progress.say(layer_case.name);
  LayerResult result;
  result.layer_case = layer_case;
  try {
    const graphs::Network network = graphs::Network::from_memory(layer_case.description, {});
    const std::shared_ptr<const Plan> plan = network.compile(compile);
    if (plan->steps.size() != 1) throw Error(ErrorCategory::kSchema, "expected a layer that computes something");
    result.implementation = plan->steps[0].implementation;
    const LayerProblem problem(device, *plan, options.network.seed);
    result.bytes = problem.bytes();
    result.written = problem.writes_all();
    result.milliseconds = problem.time(options.repeats > 0 ? options.repeats : kDefaultRepeats);
  } catch (const Error& error) {
    // One case that does not fit the memory is no reason to lose the others.
    if (error.category() != ErrorCategory::kLimit) throw error.at(options.layers + ": " + layer_case.name);
    result.skipped = error.what();
  }
  return result;
}

double bytes_per_second(const LayerResult& result) {
  return static_cast<double>(result.bytes) / (result.milliseconds / 1e3);
}

// The time of the case that this one is held against, over this one's; 0 where there is none.
double ratio_to_other(const LayerResult& result, const std::vector<LayerResult>& results) {
  const auto other = std::ranges::find_if(
      results, [&](const LayerResult& each) { return each.layer_case.name == result.layer_case.against; });
  return other == results.end() || other->milliseconds == 0 ? 0 : result.milliseconds / other->milliseconds;
}

Table make_table(const OtherTimes& others) {
  std::vector<Column> columns = {{"case", Align::kLeft, 18},
                                 {"implementation", Align::kLeft, 16},
                                 {"time", Align::kRight, 10},
                                 {"memory", Align::kRight, 10},
                                 {"of the copy", Align::kRight}};
  for (const std::string& title : others.titles) {
    columns.push_back({"PyTorch " + title, Align::kRight, 10});
    columns.push_back({"of ours", Align::kRight});
  }
  columns.push_back({"", Align::kLeft});
  return Table(std::move(columns));
}

void print_case(const Table& table, const LayerResult& result, const std::vector<LayerResult>& results,
                const OtherTimes& others, double copy_rate) {
  if (!result.skipped.empty()) {
    fmt::print("{}  skipped: {}\n", result.layer_case.name, result.skipped);
    return;
  }
  const double rate = bytes_per_second(result);
  std::vector<std::string> row = {result.layer_case.name, result.implementation, format_ms(result.milliseconds),
                                  format_rate(rate, "B/s"), fmt::format("{:.1f} %", 100 * rate / copy_rate)};
  for (size_t i = 0; i < others.titles.size(); ++i) {
    const std::optional<double> ms = others.find(result.layer_case.name, i);
    row.push_back(ms ? format_ms(*ms) : "-");
    row.push_back(ms ? fmt::format("{:.2f}", *ms / result.milliseconds) : "-");
  }
  const double ratio = ratio_to_other(result, results);
  std::string note = ratio == 0 ? "" : fmt::format("{:.2f} times {}", ratio, result.layer_case.against);
  if (!result.written) note += " FAILED: outputs that were not written";
  row.push_back(note);
  fmt::print("{}", table.line(row));
  std::fflush(stdout);
}

nlohmann::ordered_json to_json(const LayerResult& result, const OtherTimes& others, double copy_rate) {
  nlohmann::ordered_json json = {{"name", result.layer_case.name}, {"layer", result.layer_case.layer}};
  if (!result.skipped.empty()) {
    json["skipped"] = result.skipped;
    return json;
  }
  json["implementation"] = result.implementation;
  json["ms"] = result.milliseconds;
  json["bytes"] = result.bytes;
  json["share_of_copy"] = bytes_per_second(result) / copy_rate;
  json["written"] = result.written;
  if (!result.layer_case.against.empty()) json["against"] = result.layer_case.against;
  for (size_t i = 0; i < others.titles.size(); ++i) {
    if (const auto ms = others.find(result.layer_case.name, i)) json["pytorch_ms"][others.titles[i]] = *ms;
  }
  return json;
}

}  // namespace

int bench_layers(const BenchOptions& options) {
  const std::vector<LayerCase> cases = choose_cases(options);
  const OtherTimes others = read_times(options.pytorch);
  const Device device = parse_device(options.network.device);
  const auto bench_device = make_bench_device(device, options.network.threads);
  const Machine machine = describe_machine(device);
  const double copy_rate = bench_device->measure_copy(options.repeats > 0 ? options.repeats : kDefaultRepeats);
  const Table table = make_table(others);
  if (!options.json) {
    fmt::print("{}\ncopy {} (read and written); memory: each input read once, each output written once\n\n{}",
               to_string(machine), format_rate(copy_rate, "B/s"), table.header());
  }
  const graphs::CompileOptions compile = compile_options(options.network);
  std::vector<LayerResult> results;
  for (const LayerCase& layer_case : cases) {
    results.push_back(run_case(*bench_device, layer_case, options, compile));
    if (!options.json) print_case(table, results.back(), results, others, copy_rate);
  }
  if (options.json) {
    nlohmann::ordered_json json = {{"machine", to_json(machine)}, {"copy_bytes_per_second", copy_rate}};
    for (const LayerResult& result : results) json["cases"].push_back(to_json(result, others, copy_rate));
    fmt::print("{}\n", json.dump(2));
  }
  return std::ranges::all_of(results, &LayerResult::written) ? 0 : 1;
}

}  // namespace strand::tools
