#include "tools/stream_live.h"

#include <fmt/core.h>

#include <chrono>
#include <cmath>

#include "engine/error.h"
#include "graphs/normal.h"
#include "tools/table.h"
#include "tools/time_histogram.h"

namespace strand::tools {
namespace {

constexpr int64_t kWarmUps = 20;

struct Measured {
  TimeHistogram pushes;
  int64_t delay = 0;
  int64_t state_bytes = 0;
};

Measured measure(const graphs::Network& network, const graphs::CompileOptions& options, const LiveArguments& arguments,
                 int64_t streams) {
  using Clock = std::chrono::steady_clock;
  LiveStreams live(graphs::compile_live(network, options, {streams, arguments.chunk, arguments.start}),
                   arguments.threads);
  std::vector<TensorView> inputs;
  for (size_t i = 0; i < live.plan().inputs.size(); ++i) {
    inputs.push_back(live.input(i));
    if (inputs[i].type.dtype == DType::kFloat32) graphs::fill_normal(inputs[i].as<float>(), i);
  }
  Measured measured{{}, live.delay(0), live.state_bytes()};
  const double pushes = arguments.seconds * static_cast<double>(arguments.rate) / static_cast<double>(arguments.chunk);
  const int64_t count = std::max<int64_t>(1, std::llround(pushes));
  for (int64_t i = -kWarmUps; i < count; ++i) {
    const auto start = Clock::now();
    live.push(inputs);
    const auto taken = Clock::now() - start;
    if (i >= 0) measured.pushes.add(std::chrono::nanoseconds(taken).count());
  }
  return measured;
}

std::string time_of(int64_t nanoseconds) { return format_ms(1e-6 * static_cast<double>(nanoseconds)); }

}  // namespace

void time_live_streams(const graphs::Network& network, const graphs::CompileOptions& options,
                       const LiveArguments& arguments) {
  const double chunk_ms = 1000.0 * static_cast<double>(arguments.chunk) / static_cast<double>(arguments.rate);
  fmt::print(
      "network    {} on {}, {}\nchunk      {} samples at {} Hz, {}; pushes from and to host memory, one after "
      "another\n",
      network.graph().name, to_string(options.device), to_string(options.precision), format_count(arguments.chunk),
      arguments.rate, format_ms(chunk_ms));
  Table table({{"streams"},
               {"median push"},
               {"p99"},
               {"worst"},
               {"p99 of a chunk"},
               {"real time x streams"},
               {"state"},
               {"in real time", Align::kLeft}});
  int64_t delay = -1;
  std::string failures;
  for (const int64_t streams : arguments.streams) {
    try {
      const Measured measured = measure(network, options, arguments, streams);
      delay = measured.delay;
      const auto mean = static_cast<double>(measured.pushes.total()) / static_cast<double>(measured.pushes.count());
      const double p99 = 1e-6 * static_cast<double>(measured.pushes.quantile(0.99));
      table.add({format_count(streams), time_of(measured.pushes.quantile(0.5)), time_of(measured.pushes.quantile(0.99)),
                 time_of(measured.pushes.worst()), fmt::format("{:.2f} %", 100 * p99 / chunk_ms),
                 fmt::format("{:.4g}", static_cast<double>(streams) * chunk_ms / (1e-6 * mean)),
                 format_bytes(measured.state_bytes), p99 <= chunk_ms ? "yes" : "no"});
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::kLimit) throw;
      table.add({format_count(streams), "-", "-", "-", "-", "-", "-", "no memory"});
      failures += fmt::format("{} streams: {}\n", streams, error.what());
    }
  }
  if (delay >= 0) {
    fmt::print("latency    look-ahead {} of the first output's samples, and the chunk\n", format_count(delay));
  }
  fmt::print("{}{}", table.text(), failures);
}

}  // namespace strand::tools
