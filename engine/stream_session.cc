#include "engine/stream_session.h"

#include <cstring>
#include <utility>

#include "engine/checked.h"

namespace strand {
namespace {

std::shared_ptr<const Plan> checked(std::shared_ptr<const Plan> plan, const StreamOptions& options) {
  if (plan == nullptr) throw Error(ErrorCategory::kShape, "a StreamSession was given no Plan");
  if (!plan->device.is_cpu()) throw Error(ErrorCategory::kUnsupported, "streams run on the CPU so far");
  if (options.max_chunk < 1) {
    throw Error(ErrorCategory::kShape, "max_chunk is " + std::to_string(options.max_chunk) + ", expected at least 1");
  }
  return plan;
}

// A window of up to as many bytes has memory of its own, and as much again to slide in.
constexpr int64_t kLargestSliding = int64_t{1} << 20;

bool timed(const TensorType& type) { return type.time_axis != TensorType::kNoTime; }

// Gives out memory of an arena that is counted first and then made.
class Layout {
 public:
  explicit Layout(std::byte* base) : base_(base) {}
  std::byte* take(int64_t bytes) {
    std::byte* const place = base_ == nullptr ? nullptr : base_ + used_;
    used_ = checked_add(used_, round_up(bytes, Buffer::kAlignment));
    return place;
  }
  int64_t used() const { return used_; }

 private:
  std::byte* base_;
  int64_t used_ = 0;
};

void set_length(TensorView& view, int64_t length) {
  if (timed(view.type)) view.type.shape.set(view.type.time_axis, length);
}

}  // namespace

StreamSession::StreamSession(std::shared_ptr<const Plan> plan, const StreamOptions& options)
    : plan_(checked(std::move(plan), options)),
      options_(options),
      times_(*plan_),
      context_(plan_->device, options.threads),
      values_(plan_->values.size()),
      steps_(plan_->steps.size()),
      outputs_(plan_->outputs.size()) {
  lay_out();
  begin();
}

void StreamSession::lay_out() {
  const StreamSizes sizes = times_.sizes(options_.max_chunk);
  if (!stream_fits(*plan_, times_, sizes)) {
    throw Error(ErrorCategory::kShape, "network '" + plan_->name +
                                           "' was compiled for too short a signal for pushes of " +
                                           std::to_string(options_.max_chunk) + " samples");
  }
  for (size_t i = 0; i < values_.size(); ++i) {
    const TensorType& type = plan_->values[i].type;
    values_[i].outer = timed(type) ? type.shape.elements(0, type.time_axis) : 1;
    const int from = timed(type) ? type.time_axis + 1 : 0;
    values_[i].inner = checked_mul(type.shape.elements(from, type.shape.rank()), size_of(type.dtype));
    values_[i].capacity = sizes.history[i];
  }
  state_bytes_ = stream_state_bytes(*plan_, sizes);
  const auto bytes_of = [](const Value& value, int64_t times) {
    return checked_mul(checked_mul(value.outer, value.inner), times);
  };
  const auto place = [&](Layout& layout) {
    for (size_t i = 0; i < values_.size(); ++i) {
      if (plan_->values[i].storage != static_cast<int>(i)) continue;
      values_[i].history = layout.take(bytes_of(values_[i], values_[i].capacity));
    }
    for (size_t i = 0; i < steps_.size(); ++i) {
      steps_[i].state_bytes = plan_->steps[i].kernel->state_bytes();
      steps_[i].state = layout.take(steps_[i].state_bytes);
    }
    for (size_t i = 0; i < values_.size(); ++i) {
      if (plan_->values[i].storage != static_cast<int>(i)) continue;
      values_[i].fresh = layout.take(bytes_of(values_[i], timed(plan_->values[i].type) ? sizes.fresh[i] : 1));
    }
    for (size_t i = 0; i < outputs_.size(); ++i) {
      const int value = plan_->outputs[i].value;
      const auto root = static_cast<size_t>(plan_->values[static_cast<size_t>(value)].storage);
      if (options_.start == StreamStart::kPadding) continue;
      Output& output = outputs_[i];
      output.lead = options_.start == StreamStart::kSilence ? times_.lead(i) : 0;
      output.early = layout.take(bytes_of(values_[root], output.lead));
      output.joined = layout.take(bytes_of(values_[root], output.lead + sizes.fresh[root]));
    }
    for (size_t i = 0; i < steps_.size(); ++i) {
      Step& step = steps_[i];
      step.gathered.clear();
      step.timed.clear();
      for (size_t input = 0; input < plan_->steps[i].inputs.size() && !times_.is_constant(i); ++input) {
        const int value = plan_->steps[i].inputs[input];
        if (value < 0 || !timed(plan_->values[static_cast<size_t>(value)].type)) continue;
        const int64_t bytes = bytes_of(value_of(value), sizes.windows[i][step.timed.size()]);
        step.timed.push_back(input);
        // No window reaches back where nothing is kept.
        const bool slides = bytes <= kLargestSliding && value_of(value).capacity > 0;
        step.gathered.push_back({nullptr, slides ? 2 * bytes : 0, 0, {}, &value_of(value)});
        if (slides) step.gathered.back().memory = layout.take(2 * bytes);
      }
    }
    // Larger windows, and workspace, are used by one step at a time.
    const int64_t shared = layout.used();
    int64_t most = 0;
    for (size_t i = 0; i < steps_.size(); ++i) {
      Layout own(arena_.data() == nullptr ? nullptr : arena_.data() + shared);
      Step& step = steps_[i];
      for (size_t input = 0; input < step.timed.size(); ++input) {
        if (step.gathered[input].room > 0) continue;
        const Value& value = value_of(plan_->steps[i].inputs[step.timed[input]]);
        step.gathered[input].memory = own.take(bytes_of(value, sizes.windows[i][input]));
      }
      step.workspace = own.take(plan_->steps[i].kernel->workspace_bytes());
      most = std::max(most, own.used());
    }
    layout.take(most);
  };
  Layout count(nullptr);
  place(count);
  arena_ = Buffer({}, count.used());
  Layout layout(arena_.data());
  place(layout);

  const auto view_of = [&](int i) {
    return i < 0 ? TensorView{}
                 : TensorView{plan_->values[static_cast<size_t>(i)].type, value_of(i).fresh, plan_->device};
  };
  for (size_t i = 0; i < steps_.size(); ++i) {
    for (const int value : plan_->steps[i].inputs) steps_[i].inputs.push_back(view_of(value));
    for (const int value : plan_->steps[i].outputs) steps_[i].outputs.push_back(view_of(value));
    for (const int value : plan_->steps[i].outputs) steps_[i].made.push_back(&value_of(value));
  }
  for (const PlanPort& output : plan_->outputs) output_views_.push_back(view_of(output.value));
}

void StreamSession::begin() {
  state_ = times_.start();
  constants_known_ = false;
  for (Step& step : steps_) {
    for (Gathered& gathered : step.gathered) gathered.held = {};
    if (step.state_bytes > 0) std::memset(step.state, 0, static_cast<size_t>(step.state_bytes));
  }
  silence_left_ = 0;
  for (Output& output : outputs_) output.next = output.held = 0;
  if (options_.start == StreamStart::kContext) {
    for (size_t i = 0; i < outputs_.size(); ++i) outputs_[i].next = times_.clean_from(i);
  }
  if (options_.start != StreamStart::kSilence) return;
  silence_left_ = std::max(times_.memory(), round_up(options_.silence, times_.period()));
  for (size_t i = 0; i < outputs_.size(); ++i) {
    outputs_[i].next = silence_left_ / times_.rate(i).inputs * times_.rate(i).outputs;
  }
}

void StreamSession::reset() { begin(); }

void StreamSession::check_inputs(std::span<const TensorView> inputs) const {
  if (state_.finished) throw Error(ErrorCategory::kUnsupported, "push after finish; reset() begins a new signal");
  if (inputs.size() != plan_->inputs.size()) {
    throw Error(ErrorCategory::kShape, "network '" + plan_->name + "' was given " + std::to_string(inputs.size()) +
                                           " inputs, expected " + std::to_string(plan_->inputs.size()));
  }
  int64_t first_count = -1;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorType& expected = plan_->input_type(i);
    const TensorView& input = inputs[i];
    const auto what = [&] { return "input '" + plan_->inputs[i].name + "' "; };
    if (!timed(expected) && !input.present() && constants_known_) continue;
    Shape shape = expected.shape;
    if (timed(expected) && input.shape().rank() == shape.rank()) {
      const int64_t count = input.shape()[expected.time_axis];
      shape.set(expected.time_axis, count);
      if (count > options_.max_chunk) {
        throw Error(ErrorCategory::kShape, what() + "has " + std::to_string(count) + " samples, a push takes at most " +
                                               std::to_string(options_.max_chunk));
      }
      if (first_count >= 0 && count != first_count) {
        throw Error(ErrorCategory::kShape,
                    what() + "has " + std::to_string(count) + " samples, the first has " + std::to_string(first_count));
      }
      first_count = count;
    }
    if (input.shape() != shape) {
      throw Error(ErrorCategory::kShape, what() + "has shape " + to_string(input.shape()) + ", expected " +
                                             to_string(expected.shape) + " but for the time axis");
    }
    if (!input.present() && shape.elements() > 0) throw Error(ErrorCategory::kShape, what() + "has no data");
    if (!input.device.is_cpu()) throw Error(ErrorCategory::kDevice, what() + "does not lie on the host");
    if (input.type.dtype != expected.dtype && !is_floating_point(expected.dtype)) {
      throw Error(ErrorCategory::kShape, what() + "is " + std::string(to_string(input.type.dtype)) + ", expected " +
                                             std::string(to_string(expected.dtype)));
    }
  }
}

// Puts the next samples in place, or as many zeros where `inputs` is empty.
void StreamSession::take_inputs(std::span<const TensorView> inputs, int64_t count) {
  for (size_t i = 0; i < values_.size(); ++i) values_[i].stretch = {state_.ends[i], state_.ends[i]};
  for (size_t i = 0; i < plan_->inputs.size(); ++i) {
    TensorView place{plan_->input_type(i), value_of(plan_->inputs[i].value).fresh, plan_->device};
    if (!timed(place.type)) {
      if (!inputs.empty() && inputs[i].present()) {
        convert(inputs[i], place);
        constants_known_ = false;
      }
      continue;
    }
    const auto root = static_cast<size_t>(plan_->values[static_cast<size_t>(plan_->inputs[i].value)].storage);
    Value& value = values_[root];
    set_length(place, count);
    if (inputs.empty()) {
      std::memset(value.fresh, 0, static_cast<size_t>(value.outer * value.inner * count));
    } else if (count > 0) {
      convert(inputs[i], place);
    }
    state_.ends[root] += count;
    value.stretch.end = state_.ends[root];
  }
  if (!constants_known_) run_constants();
}

void StreamSession::run_constants() {
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (!times_.is_constant(i)) continue;
    plan_->steps[i].kernel->run(context_, {steps_[i].inputs, steps_[i].outputs, steps_[i].workspace});
  }
  constants_known_ = true;
}

// A stretch of an input, contiguous: as it was just made, or put together from what was kept; while pushes are of one
// length that keeps tensors at multiples of 16 bytes, only what is new is copied.
std::byte* StreamSession::window_data(size_t index, size_t input, const Stretch& window) {
  Gathered& gathered = steps_[index].gathered[input];
  const Value& value = *gathered.source;
  if (window == value.stretch || window.size() == 0) return value.fresh;
  const int64_t row = window.size() * value.inner;
  const int64_t shift = window.end - gathered.held.end;
  const int64_t next = gathered.at + shift * value.inner;
  const bool slides = gathered.held.size() == window.size() && shift > 0 && shift < window.size() &&
                      gathered.held.end >= value.stretch.begin && shift * value.inner % 16 == 0 &&
                      next + value.outer * row <= gathered.room;
  const Stretch missing{slides ? gathered.held.end : window.begin, window.end};
  gathered.at = slides ? next : 0;
  gathered.held = window;
  std::byte* const target = gathered.memory + gathered.at;
  const auto copy = [&](Stretch part, const std::byte* source, int64_t source_row, int64_t source_begin) {
    if (part.size() <= 0) return;
    for (int64_t o = 0; o < value.outer; ++o) {
      std::memcpy(target + o * row + (part.begin - window.begin) * value.inner,
                  source + o * source_row + (part.begin - source_begin) * value.inner,
                  static_cast<size_t>(part.size() * value.inner));
    }
  };
  // The ring from its beginning to its end, and from its beginning again.
  Stretch old{missing.begin, std::min(window.end, value.stretch.begin)};
  while (old.size() > 0) {
    const int64_t round = old.begin / value.capacity * value.capacity;
    const Stretch part{old.begin, std::min(old.end, round + value.capacity)};
    copy(part, value.history, value.capacity * value.inner, round);
    old.begin = part.end;
  }
  copy({std::max(missing.begin, value.stretch.begin), window.end}, value.fresh, value.stretch.size() * value.inner,
       value.stretch.begin);
  return target;
}

void StreamSession::run_step(size_t index, const Stretch& outputs) {
  Step& step = steps_[index];
  Window window{0, outputs.begin};
  for (size_t i = 0; i < step.timed.size(); ++i) {
    const Stretch needed = times_.window(index, i, outputs, state_);
    TensorView& view = step.inputs[step.timed[i]];
    set_length(view, needed.size());
    view.data = window_data(index, i, needed);
    if (i == 0) window.input = needed.begin;
  }
  for (TensorView& view : step.outputs) set_length(view, outputs.size());
  try {
    plan_->steps[index].kernel->run(context_, {step.inputs, step.outputs, step.workspace, step.state, window});
  } catch (const Error& error) {
    throw error.at(plan_->steps[index].where);
  }
  times_.set_end(index, state_, outputs.end);
  for (Value* value : step.made) value->stretch = outputs;
}

void StreamSession::run_steps() {
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (times_.is_constant(i)) continue;
    const Stretch outputs = times_.next(i, state_);
    if (outputs.size() > 0) run_step(i, outputs);
  }
  for (Value& value : values_) keep(value);
}

// The last times of this push go over the oldest ones.
void StreamSession::keep(Value& value) {
  const int64_t fresh = value.stretch.size();
  for (int64_t left = std::min(value.capacity, fresh); left > 0;) {
    const int64_t time = value.stretch.end - left;
    const int64_t at = time % value.capacity;
    const int64_t count = std::min(left, value.capacity - at);
    for (int64_t o = 0; o < value.outer; ++o) {
      std::memcpy(value.history + (o * value.capacity + at) * value.inner,
                  value.fresh + (o * fresh + time - value.stretch.begin) * value.inner,
                  static_cast<size_t>(count * value.inner));
    }
    left -= count;
  }
}

std::span<const TensorView> StreamSession::collect() {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const Value& value = value_of(plan_->outputs[i].value);
    Output& output = outputs_[i];
    const int64_t made = value.stretch.size();
    int64_t skipped = std::clamp<int64_t>(output.next - value.stretch.begin, 0, made);
    if (options_.start == StreamStart::kContext && state_.finished) skipped = made;
    const int64_t held = std::exchange(output.held, 0);
    const int64_t wanted = held + made - skipped;
    set_length(output_views_[i], wanted);
    output_views_[i].data = value.fresh;
    if ((held == 0 && skipped == 0) || wanted == 0) continue;
    for (int64_t o = 0; o < value.outer; ++o) {
      std::byte* const row = output.joined + o * wanted * value.inner;
      std::memcpy(row, output.early + o * output.lead * value.inner, static_cast<size_t>(held * value.inner));
      std::memcpy(row + held * value.inner, value.fresh + (o * made + skipped) * value.inner,
                  static_cast<size_t>((made - skipped) * value.inner));
    }
    output_views_[i].data = output.joined;
  }
  return output_views_;
}

// What was made of the silence but stands at times of the signal waits for the first push's outputs.
void StreamSession::hold_early() {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const Value& value = value_of(plan_->outputs[i].value);
    Output& output = outputs_[i];
    const int64_t made = value.stretch.size();
    const int64_t skipped = std::clamp<int64_t>(output.next - value.stretch.begin, 0, made);
    for (int64_t o = 0; o < value.outer && made > skipped; ++o) {
      std::memcpy(output.early + (o * output.lead + output.held) * value.inner,
                  value.fresh + (o * made + skipped) * value.inner,
                  static_cast<size_t>((made - skipped) * value.inner));
    }
    output.held += made - skipped;
  }
}

std::span<const TensorView> StreamSession::push(std::span<const TensorView> inputs) {
  check_inputs(inputs);
  int64_t count = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (timed(plan_->input_type(i))) count = inputs[i].shape()[plan_->input_type(i).time_axis];
  }
  feed_silence(inputs);
  take_inputs(inputs, count);
  run_steps();
  return collect();
}

// Before the first push: constants must be known.
void StreamSession::feed_silence(std::span<const TensorView> inputs) {
  while (silence_left_ > 0) {
    const int64_t count = std::min(silence_left_, options_.max_chunk);
    for (size_t i = 0; i < inputs.size() && !constants_known_; ++i) {
      if (!timed(plan_->input_type(i))) {
        convert(inputs[i], {plan_->input_type(i), value_of(plan_->inputs[i].value).fresh, plan_->device});
      }
    }
    take_inputs({}, count);
    run_steps();
    hold_early();
    silence_left_ -= count;
  }
}

std::span<const TensorView> StreamSession::finish() {
  if (state_.finished) throw Error(ErrorCategory::kUnsupported, "finish after finish; reset() begins a new signal");
  times_.check_end(state_);
  for (size_t i = 0; i < values_.size(); ++i) values_[i].stretch = {state_.ends[i], state_.ends[i]};
  state_.finished = true;
  if (constants_known_) run_steps();
  return collect();
}

}  // namespace strand
