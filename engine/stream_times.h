#pragma once
// When what of a Plan can be computed if its inputs come piece by piece: whole numbers only, no data. Immutable. How
// far a value has come depends on how many samples were pushed, and not on how they were cut.

#include <cstdint>
#include <string>
#include <vector>

#include "engine/plan.h"

namespace strand {

// Times [begin, end) of a value.
struct Stretch {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  Stretch next(int64_t times) const { return {end, end + times}; }  // the one after it
  friend bool operator==(const Stretch&, const Stretch&) = default;
};

struct StreamState {
  std::vector<int64_t> ends;  // by value that owns its memory: it is known up to here
  bool finished = false;      // no more comes, so that what lies beyond the ends is padding
};

// What a stream with pushes of at most some length takes.
struct StreamSizes {
  std::vector<int64_t> fresh;                 // by value: times that one push makes, at most
  std::vector<int64_t> history;               // by value: times that are kept from earlier pushes, at most
  std::vector<std::vector<int64_t>> windows;  // by step and input: times that one run reads, at most
};

class StreamTimes {
 public:
  // Error(kUnsupported) naming a layer that can't be computed piece by piece, and why.
  explicit StreamTimes(const Plan& plan);

  // Steps that depend on no time run once; their values never change.
  bool is_constant(size_t step) const { return steps_[step].inputs.empty(); }

  StreamState start() const { return {std::vector<int64_t>(consumers_.size(), 0), false}; }
  // `count` further samples of each input, and everything that can be computed from them.
  void advance(StreamState& state, int64_t count) const;
  void finish(StreamState& state) const;

  // The step's outputs that can be computed now, and what of an input they are computed from.
  Stretch next(size_t step, const StreamState& state) const;
  Stretch window(size_t step, size_t input, const Stretch& outputs, const StreamState& state) const;
  void set_end(size_t step, StreamState& state, int64_t end) const {
    for (const size_t value : steps_[step].outputs) state.ends[value] = end;
  }
  // Whether nothing at the signal's start matters any more: from here on pushes of as many samples, a multiple of
  // period(), make and read stretches of the same size, each where the last one ended.
  bool settled(const StreamState& state) const;

  // Error(kShape) where a signal that ends here pads in a way that was not prepared for or can't be.
  void check_end(const StreamState& state) const;

  StreamSizes sizes(int64_t max_chunk) const;

  // Input samples after which all strides are where they began.
  int64_t period() const { return period_; }
  // For an output: input samples that can have come before the output at their time has, at most.
  int64_t latency(size_t output) const;
  // For an output: times of it that can be known before their own time has come (padding moves them), at most.
  int64_t lead(size_t output) const;
  // The first time of an output that depends on no padding before the input's start.
  int64_t clean_from(size_t output) const;
  // Output times an input sample, as a fraction.
  struct Rate {
    int64_t outputs = 1;
    int64_t inputs = 1;
    friend bool operator==(const Rate&, const Rate&) = default;
  };
  // Input samples that the outputs can remember: as many in front make them free of padding. Whole periods.
  int64_t memory() const;
  // How many times of an output are known.
  int64_t known(size_t output, const StreamState& state) const { return state.ends[root(plan_outputs_[output])]; }
  Rate rate(size_t output) const { return rates_[root(plan_outputs_[output])]; }

 private:
  struct Input {
    size_t index;  // among the step's
    size_t value;
    TimeMap map;
  };
  struct Step {
    std::vector<Input> inputs;    // those that have time
    std::vector<size_t> outputs;  // values
    std::string where;
  };
  struct Consumer {
    size_t step;
    size_t input;  // into Step::inputs
  };

  size_t root(int value) const { return static_cast<size_t>(storage_[static_cast<size_t>(value)]); }
  void add_step(const Plan& plan, const PlanStep& step, const std::vector<bool>& used);
  void check_ports(const Plan& plan);
  void find_rates();
  int64_t kept_from(size_t value, const StreamState& state) const;
  void run_all(StreamState& state) const;
  template <class Body>
  void until_repeats(Body body) const;

  std::vector<int> storage_;  // by value
  std::vector<size_t> inputs_;
  std::vector<int> plan_outputs_;
  std::vector<Step> steps_;
  std::vector<std::vector<Consumer>> consumers_;  // by value
  std::vector<Rate> rates_;                       // by value
  int64_t period_ = 1;
};

// Whether all stretches are within what the plan's kernels were prepared for.
bool stream_fits(const Plan& plan, const StreamTimes& times, const StreamSizes& sizes);

// Bytes that live from push to push: the history of each value, and the kernels' states.
int64_t stream_state_bytes(const Plan& plan, const StreamSizes& sizes);

}  // namespace strand
