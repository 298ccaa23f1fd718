#include "graphs/tile.h"

#include <algorithm>

#include "engine/checked.h"
#include "engine/stream_times.h"
#include "graphs/signal.h"
#include "graphs/stream.h"

namespace strand::graphs {
namespace {

// Whether the shortest window is a signal that the network takes.
bool can_end(const StreamTimes& times, const Tiling& tiling) {
  StreamState state = times.start();
  times.advance(state, tiling.left + tiling.period + tiling.right);
  try {
    times.check_end(state);
  } catch (const Error&) {
    return false;
  }
  return true;
}

// The signal's own length, its halos and period: all but the tile.
Tiling measure(const Plan& whole) {
  for (const PlanStep& step : whole.steps) {
    for (const TimeMap& map : step.times) {
      if (map.stateful) {
        throw Error(ErrorCategory::kUnsupported,
                    step.where + " can't be computed in tiles: its state remembers all times before");
      }
    }
  }
  const StreamTimes times(whole);
  Tiling tiling;
  tiling.period = times.period();
  for (size_t i = 0; i < whole.inputs.size(); ++i) {
    const TensorType& type = whole.input_type(i);
    if (type.time_axis != TensorType::kNoTime) tiling.length = type.shape[type.time_axis];
  }
  // A window is a short signal: what of it depends on padding on the left, and what waits for more on the right.
  tiling.left = times.memory();
  for (size_t i = 0; i < whole.outputs.size(); ++i) tiling.right = std::max(tiling.right, times.latency(i));
  // The window's length leaves the signal's remainder, so that padding by strides lies alike.
  tiling.right = checked_add(round_up(tiling.right, tiling.period), tiling.length % tiling.period);
  // A window must be long enough for what its padding mirrors.
  while (tiling.left + tiling.period + tiling.right < tiling.length && !can_end(times, tiling)) {
    tiling.right = checked_add(tiling.right, round_up(tiling.right + 1, tiling.period));
  }
  return tiling;
}

Tiling cut(Tiling tiling, int64_t tile) {
  tiling.tile = round_up(std::max<int64_t>(tile, 1), tiling.period);
  tiling.window = checked_add(checked_add(tiling.left, tiling.tile), tiling.right);
  if (tiling.window >= tiling.length) {
    tiling.window = tiling.length;
    tiling.tile = std::max<int64_t>(tiling.length, 1);
  }
  tiling.count = std::max<int64_t>(ceil_div(tiling.length, tiling.tile), 1);
  return tiling;
}

// Windows are cut and joined as float32.
std::shared_ptr<const Plan> compile_in_floats(const Network& network, CompileOptions options) {
  options.half_storage = false;
  return network.compile(options);
}

std::shared_ptr<const Plan> compile_at(const Network& network, CompileOptions options, int64_t length) {
  options.dimensions[time_symbol(network.graph())] = length;
  return compile_in_floats(network, std::move(options));
}

int64_t weights_of(const Plan& plan) {
  int64_t bytes = 0;
  for (const PlanStep& step : plan.steps) bytes = checked_add(bytes, step.weight_bytes);
  return bytes;
}

}  // namespace

int64_t Tiling::window_begin(int64_t index) const {
  return std::clamp<int64_t>(index * tile - left, 0, length - window);
}

// The window's inputs, the stretches of outputs that are handed on, and what runs it.
int64_t window_bytes(const Plan& plan) {
  int64_t bytes = plan.arena_bytes;
  for (size_t i = 0; i < plan.inputs.size(); ++i) bytes = checked_add(bytes, plan.input_type(i).bytes());
  for (size_t i = 0; i < plan.outputs.size(); ++i) bytes = checked_add(bytes, plan.output_type(i).bytes());
  return bytes;
}

TiledSession::TiledSession(const Network& network, const CompileOptions& options, int64_t tile, int threads) {
  const std::shared_ptr<const Plan> whole = compile_in_floats(network, options);
  tiling_ = cut(measure(*whole), tile);
  const StreamTimes times(*whole);
  for (size_t i = 0; i < whole->outputs.size(); ++i) {
    outputs_.push_back({whole->output_type(i), times.rate(i).outputs, times.rate(i).inputs});
  }
  session_ = std::make_unique<Session>(compile_at(network, options, tiling_.window), threads);
  for (size_t i = 0; i < whole->inputs.size(); ++i) windows_.emplace_back(session_->plan().input_type(i));
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const TensorType& type = session_->plan().output_type(i);
    stretches_.emplace_back(type);
    if (session_->plan().device.is_cuda()) results_.emplace_back(type);
  }
}

int64_t TiledSession::bytes() const { return window_bytes(session_->plan()); }

void TiledSession::run(const Read& read, const Write& write) {
  for (int64_t index = 0; index < tiling_.count; ++index) run_tile(index, read, write);
}

void TiledSession::run_tile(int64_t index, const Read& read, const Write& write) {
  const int64_t begin = tiling_.window_begin(index);
  std::vector<TensorView> inputs;
  for (size_t i = 0; i < windows_.size(); ++i) {
    read(i, begin, windows_[i].view());
    inputs.push_back(windows_[i].view());
  }
  const std::span<const TensorView> results = session_->run(inputs);
  for (size_t i = 0; i < results.size(); ++i) {
    const Output& output = outputs_[i];
    const auto at = [&](int64_t sample) { return sample / output.rate_inputs * output.rate_outputs; };
    const int64_t whole = output.type.shape[output.type.time_axis];
    const int64_t first = std::min(at(index * tiling_.tile), whole);
    const bool last = index + 1 == tiling_.count;
    const int64_t end = last ? whole : std::min(at((index + 1) * tiling_.tile), whole);
    const int64_t shift = at(begin);
    TensorView result = results[i];
    if (!result.device.is_cpu()) {
      result = results_[i].view();
      copy_bytes(result.data, result.device, results[i].data, results[i].device, result.type.bytes());
    }
    TensorView stretch = stretches_[i].view();
    stretch.type.shape.set(stretch.type.time_axis, end - first);
    cut_times(result, first - shift, stretch);
    write(i, first, stretch);
  }
}

int64_t tile_for_memory(const Network& network, const CompileOptions& options, int64_t bytes, const MemoryNeed& need) {
  const std::shared_ptr<const Plan> whole = compile_in_floats(network, options);
  const Tiling tiling = measure(*whole);
  const auto need_of = [&](int64_t periods) {
    const std::shared_ptr<const Plan> plan = compile_at(network, options, cut(tiling, periods * tiling.period).window);
    return need ? need(*plan) : checked_add(weights_of(*plan), window_bytes(*plan));
  };
  const int64_t smallest = need_of(1);
  if (smallest > bytes) {
    throw Error(ErrorCategory::kLimit, "network '" + whole->name + "' needs at least " + std::to_string(smallest) +
                                           " bytes, for the smallest tile; at most " + std::to_string(bytes) +
                                           " were allowed");
  }
  int64_t least = 1;
  int64_t most = std::max<int64_t>(ceil_div(tiling.length, tiling.period), 1);
  while (least < most) {
    const int64_t middle = least + (most - least + 1) / 2;
    if (need_of(middle) <= bytes) {
      least = middle;
    } else {
      most = middle - 1;
    }
  }
  return least * tiling.period;
}

}  // namespace strand::graphs
