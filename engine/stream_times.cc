#include "engine/stream_times.h"

#include <numeric>

#include "engine/checked.h"
#include "engine/error.h"

namespace strand {
namespace {

constexpr int64_t kMostTrials = int64_t{1} << 20;  // input samples until a stream has settled

[[noreturn]] void refuse(const std::string& where, const std::string& why) {
  throw Error(ErrorCategory::kUnsupported, where + " can't be computed piece by piece: " + why);
}

// How far to the right of the last input the outputs of a whole signal reach, at most.
int64_t reach_past_end(const TimeMap& map) {
  return std::max<int64_t>(0, floor_div(map.length - map.numerator + map.last, map.denominator) + 1);
}

// The map's own formulas, without their divisions where nothing is strided: a short push has many of them.
int64_t first_needed(const TimeMap& map, int64_t t) {
  return map.numerator == 1 && map.denominator == 1 ? checked_add(t, map.first) : map.first_needed(t);
}
int64_t last_needed(const TimeMap& map, int64_t t) {
  return map.numerator == 1 && map.denominator == 1 ? checked_add(t, map.last) : map.last_needed(t);
}
int64_t output_length(const TimeMap& map, int64_t inputs) {
  if (map.numerator != 1) return map.output_length(inputs);
  return std::clamp<int64_t>(checked_add(checked_mul(map.denominator, inputs), map.length), 0, map.most);
}
// The outputs whose needs are known: last_needed(t) <= known - 1.
int64_t satisfied(const TimeMap& map, int64_t known) {
  const int64_t last = checked_mul(map.denominator, known) - 1 - map.last;
  return std::max<int64_t>((map.numerator == 1 ? last : floor_div(last, map.numerator)) + 1, 0);
}

// Why a used output can't be had in pieces; empty where it can.
std::string obstacle(const TimeMap& map) {
  if (map.is_whole()) return map.whole;
  if (map.ends == Ends::kCircular) return "circular padding needs both ends of the signal";
  if (map.most != std::numeric_limits<int64_t>::max()) return "it ends at a fixed time";
  return "";
}

}  // namespace

StreamTimes::StreamTimes(const Plan& plan) : consumers_(plan.values.size()), rates_(plan.values.size()) {
  for (const PlanValue& value : plan.values) storage_.push_back(value.storage);
  std::vector<bool> used(plan.values.size());
  for (const PlanStep& step : plan.steps) {
    for (const int value : step.inputs) {
      if (value >= 0) used[root(value)] = true;
    }
  }
  for (const PlanPort& output : plan.outputs) used[root(output.value)] = true;
  for (const PlanValue& value : plan.values) {
    const bool timed = plan.values[static_cast<size_t>(value.storage)].type.time_axis != TensorType::kNoTime;
    if (timed && !value.whole.empty()) throw Error(ErrorCategory::kUnsupported, value.whole);
  }
  for (const PlanStep& step : plan.steps) add_step(plan, step, used);
  check_ports(plan);
  find_rates();
}

void StreamTimes::add_step(const Plan& plan, const PlanStep& step, const std::vector<bool>& used) {
  Step added{{}, {}, step.where};
  for (size_t o = 0; o < step.outputs.size(); ++o) {
    const size_t value = root(step.outputs[o]);
    if (!used[value]) continue;
    const bool first = added.outputs.empty();
    added.outputs.push_back(value);
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      if (step.inputs[i] < 0) continue;
      const PlanValue& input = plan.values[static_cast<size_t>(step.inputs[i])];
      if (input.type.time_axis == TensorType::kNoTime) continue;
      const TimeMap& map = step.times[i * step.outputs.size() + o];
      if (const std::string why = obstacle(map); !why.empty()) refuse(step.where, why);
      if (plan.values[value].type.time_axis == TensorType::kNoTime) refuse(step.where, "its output has no time axis");
      if (first) added.inputs.push_back({i, root(step.inputs[i]), map});
      const bool same =
          std::ranges::any_of(added.inputs, [&](const Input& known) { return known.index == i && known.map == map; });
      if (!same) refuse(step.where, "its outputs need different times");
    }
  }
  if (added.inputs.empty() && !added.outputs.empty() &&
      plan.values[added.outputs[0]].type.time_axis != TensorType::kNoTime) {
    refuse(step.where, "it makes a signal of its own");
  }
  for (const int output : step.outputs) {  // what is made beside and not used needs its memory too
    const size_t value = root(output);
    const bool is_timed = plan.values[value].type.time_axis != TensorType::kNoTime;
    if (!added.outputs.empty() && !used[value] && is_timed) added.outputs.push_back(value);
  }
  for (size_t i = 0; i < added.inputs.size(); ++i) {
    consumers_[added.inputs[i].value].push_back({steps_.size(), i});
  }
  steps_.push_back(std::move(added));
}

void StreamTimes::check_ports(const Plan& plan) {
  int64_t length = -1;
  for (const PlanPort& input : plan.inputs) {
    const TensorType& type = plan.values[static_cast<size_t>(input.value)].type;
    if (type.time_axis == TensorType::kNoTime) continue;
    if (length >= 0 && type.shape[type.time_axis] != length) {
      refuse("network '" + plan.name + "'", "input '" + input.name + "' runs at another rate than the first");
    }
    length = type.shape[type.time_axis];
    inputs_.push_back(root(input.value));
  }
  if (inputs_.empty()) refuse("network '" + plan.name + "'", "no input has a time axis");
  for (const PlanPort& output : plan.outputs) {
    if (plan.values[static_cast<size_t>(output.value)].type.time_axis == TensorType::kNoTime) {
      refuse("network '" + plan.name + "'", "output '" + output.name + "' has no time axis");
    }
    plan_outputs_.push_back(output.value);
  }
}

void StreamTimes::find_rates() {
  for (const Step& step : steps_) {
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      const Rate from = rates_[step.inputs[i].value];
      const TimeMap& map = step.inputs[i].map;
      Rate rate{checked_mul(from.outputs, map.denominator), checked_mul(from.inputs, map.numerator)};
      const int64_t divisor = std::gcd(rate.outputs, rate.inputs);
      rate = {rate.outputs / divisor, rate.inputs / divisor};
      if (i > 0 && rate != rates_[step.outputs[0]]) refuse(step.where, "its inputs run at different rates");
      for (const size_t value : step.outputs) rates_[value] = rate;
      period_ = checked_mul(period_ / std::gcd(period_, rate.inputs), rate.inputs);
      if (period_ > kMostTrials) refuse(step.where, "the strides so far repeat after more than 2^20 samples only");
    }
  }
}

Stretch StreamTimes::next(size_t step, const StreamState& state) const {
  const Step& s = steps_[step];
  const int64_t begin = state.ends[s.outputs[0]];
  int64_t end = std::numeric_limits<int64_t>::max();
  for (const Input& input : s.inputs) {
    const TimeMap& map = input.map;
    const int64_t known = state.ends[input.value];
    int64_t ready = output_length(map, known);
    if (!state.finished) {
      ready = std::min(ready, satisfied(map, known));
      // The times before 0 mirror those after it.
      if (map.ends == Ends::kReflect) {
        const int64_t mirrored = -first_needed(map, begin);
        if (mirrored > 0 && known <= mirrored) ready = begin;
      }
    }
    if (map.ends == Ends::kReplicate && known < 1) ready = begin;
    end = std::min(end, ready);
  }
  return {begin, std::max(begin, end)};
}

Stretch StreamTimes::window(size_t step, size_t input, const Stretch& outputs, const StreamState& state) const {
  const Input& in = steps_[step].inputs[input];
  const int64_t known = state.ends[in.value];
  int64_t first = first_needed(in.map, outputs.begin);
  int64_t last = last_needed(in.map, outputs.end - 1);
  if (in.map.ends == Ends::kReflect) {
    if (last > known - 1) first = std::min(first, 2 * (known - 1) - last);
    if (first < 0) last = std::max(last, -in.map.first_needed(outputs.begin));
  } else if (in.map.ends == Ends::kReplicate) {
    first = std::min(first, known - 1);
    last = std::max<int64_t>(last, 0);
  }
  const int64_t begin = std::clamp<int64_t>(first, 0, known);
  return {begin, std::clamp<int64_t>(last + 1, begin, known)};
}

void StreamTimes::run_all(StreamState& state) const {
  for (size_t step = 0; step < steps_.size(); ++step) {
    if (!is_constant(step)) set_end(step, state, next(step, state).end);
  }
}

void StreamTimes::advance(StreamState& state, int64_t count) const {
  for (const size_t input : inputs_) state.ends[input] = checked_add(state.ends[input], count);
  run_all(state);
}

void StreamTimes::finish(StreamState& state) const {
  state.finished = true;
  run_all(state);
}

void StreamTimes::check_end(const StreamState& state) const {
  StreamState ended = state;
  finish(ended);
  for (const Step& step : steps_) {
    for (const Input& input : step.inputs) {
      const int64_t length = ended.ends[input.value];
      const TimeMap& map = input.map;
      if ((length - map.remainder) % map.period != 0) {
        throw Error(ErrorCategory::kShape, step.where + ": the signal ends after " + std::to_string(length) +
                                               " samples here; its padding was prepared for lengths of a multiple of " +
                                               std::to_string(map.period) + " plus " + std::to_string(map.remainder));
      }
      const int64_t padding = std::max(-map.first_needed(0), reach_past_end(map));
      if (map.ends == Ends::kReflect && length > 0 && length <= padding) {
        throw Error(ErrorCategory::kShape, step.where + ": the signal ends after " + std::to_string(length) +
                                               " samples here, too few to mirror " + std::to_string(padding));
      }
    }
  }
}

int64_t StreamTimes::kept_from(size_t value, const StreamState& state) const {
  const int64_t known = state.ends[value];
  int64_t kept = known;
  for (const Consumer& consumer : consumers_[value]) {
    const Step& step = steps_[consumer.step];
    const TimeMap& map = step.inputs[consumer.input].map;
    kept = std::min(kept, map.first_needed(state.ends[step.outputs[0]]));
    if (map.ends == Ends::kReflect) kept = std::min(kept, known - 1 - reach_past_end(map));
    if (map.ends == Ends::kReplicate) kept = std::min(kept, known - 1);
  }
  return std::max<int64_t>(kept, 0);
}

bool StreamTimes::settled(const StreamState& state) const {
  for (const Step& step : steps_) {
    for (const Input& input : step.inputs) {
      const int64_t next = state.ends[step.outputs[0]];
      if (next == 0 || input.map.first_needed(next) < 0) return false;
      // What is kept for the end's mirror image grows until it is whole.
      if (input.map.ends == Ends::kReflect && state.ends[input.value] <= reach_past_end(input.map)) return false;
    }
  }
  return true;
}

// Calls body(pushed, state) after 0, 1, 2, ... samples, until all that can happen has happened once.
template <class Body>
void StreamTimes::until_repeats(Body body) const {
  StreamState state = start();
  int64_t rest = -1;  // of one more period, once settled
  for (int64_t pushed = 0; rest != 0; ++pushed) {
    if (pushed > kMostTrials) throw Error(ErrorCategory::kLimit, "the stream has not settled after 2^20 samples");
    body(pushed, state);
    if (rest < 0 && settled(state)) rest = period_ + 1;
    rest -= rest > 0 ? 1 : 0;
    advance(state, 1);
  }
}

StreamSizes StreamTimes::sizes(int64_t max_chunk) const {
  const size_t values = consumers_.size();
  StreamSizes sizes{std::vector<int64_t>(values), std::vector<int64_t>(values), {}};
  for (const Step& step : steps_) sizes.windows.emplace_back(step.inputs.size());
  const auto raise = [](int64_t& size, int64_t to) { size = std::max(size, to); };
  // What it takes to come from one state to another.
  const auto measure = [&](const StreamState& from, const StreamState& to) {
    for (size_t value = 0; value < values; ++value) raise(sizes.fresh[value], to.ends[value] - from.ends[value]);
    for (size_t step = 0; step < steps_.size(); ++step) {
      if (is_constant(step)) continue;
      const size_t output = steps_[step].outputs[0];
      const Stretch made{from.ends[output], to.ends[output]};
      if (made.size() == 0) continue;
      for (size_t i = 0; i < steps_[step].inputs.size(); ++i) {
        raise(sizes.windows[step][i], window(step, i, made, to).size());
      }
    }
  };
  const auto keep = [&](const StreamState& now) {
    for (size_t value = 0; value < values; ++value) {
      raise(sizes.history[value], now.ends[value] - kept_from(value, now));
    }
  };
  StreamState begun = start();  // by a push of nothing, which makes what padding alone is enough for
  advance(begun, 0);
  keep(begun);
  StreamState later = start();  // by one push of the largest size
  advance(later, max_chunk);
  StreamState ended;
  until_repeats([&](int64_t, const StreamState& now) {
    keep(now);
    measure(now, later);
    advance(later, 1);
    ended = now;
    finish(ended);
    measure(now, ended);
  });
  return sizes;
}

int64_t StreamTimes::latency(size_t output) const {
  const Rate rate = this->rate(output);
  int64_t latency = 0;
  until_repeats([&](int64_t pushed, const StreamState& state) {
    latency = std::max(latency, ceil_div(pushed * rate.outputs - known(output, state) * rate.inputs, rate.outputs));
  });
  return latency;
}

int64_t StreamTimes::lead(size_t output) const {
  const Rate rate = this->rate(output);
  int64_t lead = 0;
  until_repeats([&](int64_t pushed, const StreamState& state) {
    lead = std::max(lead, known(output, state) - floor_div(pushed * rate.outputs, rate.inputs));
  });
  return lead;
}

int64_t StreamTimes::clean_from(size_t output) const {
  std::vector<int64_t> clean(consumers_.size(), 0);
  for (const Step& step : steps_) {
    int64_t from = 0;
    for (const Input& input : step.inputs) {
      // The first t with first_needed(t) >= the input's.
      const int64_t wanted = checked_mul(clean[input.value], input.map.denominator);
      from = std::max(from, ceil_div(wanted - input.map.first, input.map.numerator));
    }
    for (const size_t value : step.outputs) clean[value] = from;
  }
  return clean[root(plan_outputs_[output])];
}

int64_t StreamTimes::memory() const {
  int64_t samples = 0;
  for (size_t i = 0; i < plan_outputs_.size(); ++i) {
    samples = std::max(samples, ceil_div(checked_mul(clean_from(i), rate(i).inputs), rate(i).outputs));
  }
  return round_up(samples, period_);
}

bool stream_fits(const Plan& plan, const StreamTimes& times, const StreamSizes& sizes) {
  const auto length = [&](int value) {
    const TensorType& type = plan.values[static_cast<size_t>(value)].type;
    return type.time_axis == TensorType::kNoTime ? std::numeric_limits<int64_t>::max() : type.shape[type.time_axis];
  };
  for (size_t step = 0; step < plan.steps.size(); ++step) {
    if (times.is_constant(step)) continue;
    size_t input = 0;
    for (const int value : plan.steps[step].inputs) {
      if (value < 0 || plan.values[static_cast<size_t>(value)].type.time_axis == TensorType::kNoTime) continue;
      if (sizes.windows[step][input++] > length(value)) return false;
    }
    for (const int value : plan.steps[step].outputs) {
      const auto root = static_cast<size_t>(plan.values[static_cast<size_t>(value)].storage);
      if (sizes.fresh[root] > length(value)) return false;
    }
  }
  return true;
}

int64_t stream_state_bytes(const Plan& plan, const StreamSizes& sizes) {
  int64_t bytes = 0;
  for (size_t value = 0; value < plan.values.size(); ++value) {
    TensorType kept = plan.values[value].type;
    if (kept.time_axis == TensorType::kNoTime) continue;
    kept.shape.set(kept.time_axis, sizes.history[value]);
    bytes = checked_add(bytes, kept.bytes());
  }
  for (const PlanStep& step : plan.steps) bytes = checked_add(bytes, step.kernel->state_bytes());
  return bytes;
}

}  // namespace strand
