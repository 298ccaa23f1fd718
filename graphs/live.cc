#include "graphs/live.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

#include "engine/checked.h"
#include "engine/error.h"
#include "graphs/stream.h"
#include "layers/stream_window/stream_window.h"

namespace strand::graphs {
namespace {

using layers::StreamWindow;
using layers::StreamWindowProblem;
using layers::WindowEnds;

[[noreturn]] void refuse(const std::string& where, const std::string& why) {
  throw Error(ErrorCategory::kUnsupported, where + " can't be computed in live streams: " + why);
}

// Times that a value has a chunk, and by how many it is late.
struct Pace {
  int64_t fresh = 0;
  int64_t lag = 0;
};

// How many times after the signal's last its outputs need.
int64_t reach_past_end(const TimeMap& map) {
  return std::max<int64_t>(0, floor_div(map.length - map.numerator + map.last, map.denominator) + 1);
}

// Whether outputs need times before the signal's first or after its last that the layer treats in a way of its own.
bool pads_by_itself(const TimeMap& map) {
  return map.ends == Ends::kNone && (map.first_needed(0) < 0 || reach_past_end(map) > 0);
}

// The options with the batch's symbol set.
CompileOptions with_batch(const Network& network, const LiveOptions& live, CompileOptions options, int64_t size) {
  options.half_storage = false;  // what is carried from push to push is float32
  for (const GraphInput& input : network.graph().inputs) {
    const InputDescription& described = input.description;
    if (described.shape.size() < 2) continue;
    const Dimension& batch = described.shape[0];
    if (!batch.symbol.empty()) {
      options.dimensions[batch.symbol] = size;
    } else if (batch.size != live.streams) {
      throw Error(ErrorCategory::kShape, network.graph().file + ": input '" + described.name + "' has a batch of " +
                                             std::to_string(batch.size) + ", not of " + std::to_string(live.streams) +
                                             " streams; say [batch, channels, length]");
    }
  }
  return options;
}

class LiveCompiler {
 public:
  LiveCompiler(const Network& network, const CompileOptions& options, const LiveOptions& live)
      : live_(live),
        whole_(compile_stream(network, options, live.chunk)),
        times_(*whole_),
        paces_(whole_->values.size()) {
    if (live.chunk % times_.period() != 0) {
      throw Error(ErrorCategory::kShape, "a chunk of " + std::to_string(live.chunk) + " samples: live streams of '" +
                                             whole_->name + "' take a multiple of " + std::to_string(times_.period()) +
                                             ", the period of its strides");
    }
    CompileOptions same = options;
    const std::string symbol = time_symbol(network.graph());
    for (size_t i = 0; i < whole_->inputs.size(); ++i) {
      const TensorType& type = whole_->input_type(i);
      if (type.time_axis != TensorType::kNoTime) same.dimensions[symbol] = type.shape[type.time_axis];
    }
    graph_ = network.compiled_graph(same);
  }

  std::shared_ptr<const LivePlan> compile(const Network& network, CompileOptions options) {
    for (const GraphInput& input : graph_.inputs) {
      if (timed(input.value)) {
        pace(input.value) = {live_.chunk, 0};
      } else if (live_.start == StreamStart::kSilence) {
        refuse("input '" + input.description.name + "'", "what silence becomes of an input without time is not known");
      }
    }
    const std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.nodes.clear();
    size_t step = 0;
    for (const Node& node : nodes) {
      Node added = node;
      if (!node.layer->is_view()) {
        if (!times_.is_constant(step)) place(added, whole_->steps[step]);
        ++step;
      }
      graph_.nodes.push_back(std::move(added));
    }
    for (size_t i = 0; i < graph_.outputs.size(); ++i) add_output(i);
    options.dimensions[time_symbol(network.graph())] = live_.chunk;
    auto result = std::make_shared<LivePlan>(LivePlan{network.compile(graph_, options), times_, live_.streams,
                                                      live_.chunk, live_.start, slots_, delays_, first_tick_, 0});
    check_types(*result->plan);
    if (live_.start == StreamStart::kSilence) {
      result->quiet_pushes = ceil_div(times_.memory(), live_.chunk) + latest_ + 2;
    }
    return result;
  }

 private:
  size_t root(int value) const { return static_cast<size_t>(whole_->values[static_cast<size_t>(value)].storage); }
  bool timed(int value) const {
    return value >= 0 && whole_->values[root(value)].type.time_axis != TensorType::kNoTime;
  }
  Pace& pace(int value) { return paces_[root(value)]; }

  // The map of the first output that can be had in pieces.
  static const TimeMap& map_of(const PlanStep& step, size_t input) {
    const size_t outputs = step.outputs.size();
    size_t output = 0;
    while (output + 1 < outputs && step.times[input * outputs + output].is_whole()) ++output;
    return step.times[input * outputs + output];
  }

  void check(const std::string& where, const TimeMap& map) const {
    if (map.stateful) refuse(where, "it has a state, which is not carried from chunk to chunk");
    if (live_.start == StreamStart::kContext) return;
    if (map.ends == Ends::kReflect) refuse(where, "it mirrors its input at the ends; start in context can be");
    if (pads_by_itself(map)) {
      refuse(where, "its padding is neither zeros nor a repeated sample; start in context can be");
    }
  }

  // When the node's outputs come, and windows in front of its inputs.
  void place(Node& node, const PlanStep& step) {
    const TimeMap plain = TimeMap::pointwise();
    Pace made;
    int64_t alignment = 1;  // of the outputs' times, so that a stride begins in the same place at each chunk
    int64_t ready = std::numeric_limits<int64_t>::max();
    int64_t wait = 0;  // chunks until the first sample that is repeated before itself is known
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (!timed(node.inputs[i])) continue;
      const TimeMap& map = map_of(step, i);
      check(node.where, map);
      const Pace& from = pace(node.inputs[i]);
      made.fresh = checked_mul(from.fresh, map.denominator) / map.numerator;
      alignment = std::lcm(alignment, map.denominator);
      // Outputs whose last needs are known after the chunk that begins at time 0, and that are there if it is the last.
      const int64_t known = checked_mul(map.denominator, from.fresh - from.lag);
      ready = std::min(
          {ready, floor_div(known - 1 - map.last, map.numerator) + 1, floor_div(known + map.length, map.numerator)});
      if (map.ends == Ends::kReplicate && map.first_needed(0) < 0) wait = std::max(wait, from.lag / from.fresh);
    }
    made.lag = round_up(std::max({made.fresh - ready, checked_mul(wait, made.fresh), int64_t{0}}), alignment);
    std::shared_ptr<const layers::Layer> layer = node.layer;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (!timed(node.inputs[i])) continue;
      const TimeMap& map = map_of(step, i);
      const int64_t begin = map.first_needed(-made.lag);
      const int64_t end = map.last_needed(made.fresh - made.lag - 1) + 1;
      if (map != plain && layer == node.layer) {
        layer = node.layer->in_window({begin, -made.lag}, end - begin, made.fresh);
        if (layer == nullptr) refuse(node.where, "it is not made for windows of a fixed length");
      }
      node.inputs[i] = window(node.inputs[i], begin, end - begin, map, node.where);
    }
    node.layer = layer;
    for (const int output : node.outputs) {
      if (timed(output)) pace(output) = made;
    }
    latest_ = std::max(latest_, ceil_div(made.lag, std::max<int64_t>(made.fresh, 1)));
  }

  // The value that is a window of `value`.
  int window(int value, int64_t begin, int64_t size, const TimeMap& map, const std::string& where) {
    const Pace from = pace(value);
    if (begin == -from.lag && size == from.fresh && map.ends == Ends::kNone) return value;
    StreamWindowProblem problem;
    problem.window = size;
    problem.offset = begin;
    if (map.ends == Ends::kReplicate) {
      problem.ends = WindowEnds::kReplicate;
      problem.skipped = reach_past_end(map);
      problem.offset -= problem.skipped;
    }
    problem.quiet = live_.start == StreamStart::kSilence;
    const auto [found, is_new] = windows_.insert({{value, begin, size, problem.skipped, problem.ends}, graph_.values});
    if (!is_new) return found->second;
    return add(value, problem, {root(value), from.fresh, problem.quiet ? -from.lag : 0, -1}, where);
  }

  // An output is what a chunk made of it, without what is not of the signal.
  void add_output(size_t index) {
    GraphOutput& output = graph_.outputs[index];
    const Pace from = pace(output.value);
    StreamWindowProblem problem;
    problem.window = from.fresh;
    problem.offset = -from.lag;
    const int64_t begin = live_.start == StreamStart::kContext ? times_.clean_from(index) : 0;
    delays_.push_back(from.lag);
    output.value = add(output.value, problem, {root(output.value), from.fresh, begin, static_cast<int64_t>(index)},
                       "output '" + output.name + "'");
  }

  int add(int value, StreamWindowProblem problem, const LivePlan::Slot& slot, const std::string& where) {
    const Pace from = pace(value);
    problem.fresh = from.fresh;
    problem.lag = from.lag;
    problem.slot = static_cast<int64_t>(slots_.size());
    slots_.push_back(slot);
    first_tick_ = std::max(first_tick_, ceil_div(std::max(-problem.offset, from.lag), from.fresh));
    Node node;
    node.path = "window" + std::to_string(problem.slot);
    node.weights_path = node.path;
    node.type = "StreamWindow";
    node.where = where;
    node.layer = std::make_shared<StreamWindow>(problem);
    node.inputs = {value};
    node.outputs = {graph_.values++};
    graph_.nodes.push_back(node);
    return node.outputs[0];
  }

  // A layer that made other lengths than its time map says would be read past its end.
  void check_types(const Plan& plan) {
    for (const PlanStep& step : plan.steps) {
      for (const int value : step.outputs) {
        if (static_cast<size_t>(value) >= whole_->values.size() || !timed(value)) continue;
        const TensorType& type = plan.values[static_cast<size_t>(value)].type;
        if (type.time_axis != TensorType::kNoTime && type.shape[type.time_axis] == pace(value).fresh) continue;
        refuse(step.where,
               "a chunk of it is " + to_string(type) + ", expected " + std::to_string(pace(value).fresh) + " times");
      }
    }
  }

  LiveOptions live_;
  std::shared_ptr<const Plan> whole_;
  StreamTimes times_;
  Graph graph_;
  std::vector<Pace> paces_;  // by value of `whole_` that owns its memory
  std::map<std::tuple<int, int64_t, int64_t, int64_t, WindowEnds>, int> windows_;
  std::vector<LivePlan::Slot> slots_;
  std::vector<int64_t> delays_;
  int64_t first_tick_ = 0;
  int64_t latest_ = 0;  // chunks that a value is late, at most
};

}  // namespace

std::shared_ptr<const LivePlan> compile_live(const Network& network, const CompileOptions& options,
                                             const LiveOptions& live) {
  if (live.streams < 1 || live.chunk < 1) {
    throw Error(ErrorCategory::kShape, std::to_string(live.streams) + " streams in chunks of " +
                                           std::to_string(live.chunk) + " samples, expected at least 1 of either");
  }
  // When what is known is the same for one stream as for many.
  LiveCompiler compiler(network, with_batch(network, live, options, 1), live);
  return compiler.compile(network, with_batch(network, live, options, live.streams));
}

}  // namespace strand::graphs
