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

void StreamSession::begin() {
  state_ = times_.start();
  constants_known_ = settled_ = false;
  last_count_ = -1;
  for (StreamValue& value : values_) value.begin_signal();
  repeats_ = 0;
  for (Step& step : steps_) {
    step.stretch = {};
    if (step.state_bytes > 0) std::memset(step.bindings.state, 0, static_cast<size_t>(step.state_bytes));
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
  if (state_.finished)
    throw Error(ErrorCategory::kUnsupported, "push after finish or a failure; reset() begins a new signal");
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
    StreamValue& value = values_[root];
    set_length(place, count);
    if (inputs.empty()) {
      std::memset(value.fresh, 0, static_cast<size_t>(value.outer * value.inner * count));
    } else if (count > 0) {
      convert(inputs[i], place);
    }
    value.stretch.end = value.stretch.begin + count;
    state_.ends[root] = value.stretch.end;
    value.show();
  }
  if (!constants_known_) run_constants();
}

void StreamSession::run_constants() {
  for (const Step& step : steps_) {
    if (step.constant) run_kernel(step);
  }
  constants_known_ = true;
}

// What the step can compute now, and from what.
void StreamSession::set_stretch(size_t index) {
  Step& step = steps_[index];
  step.stretch = times_.next(index, state_);
  if (step.stretch.size() == 0) return;
  times_.set_end(index, state_, step.stretch.end);
  for (size_t i = 0; i < step.reads.size(); ++i) {
    Read& read = step.reads[i];
    read.window = times_.window(index, i, step.stretch, state_);
    set_length(*read.view, read.window.size());
    if (step.apart) step.rows[static_cast<size_t>(read.view - step.inputs.data())] = read.source->window_row();
  }
  for (size_t i = 0; i < step.made.size(); ++i) {
    const StreamValue& value = *step.made[i].value;
    set_length(*step.made[i].view, step.stretch.size());
    if (step.apart) step.rows[step.inputs.size() + i] = value.in_band ? value.band_row() : step.stretch.size();
  }
}

// Where the step finds the window.
void StreamSession::bind(const Step& step, const Read& read) {
  const StreamValue& value = *read.source;
  if (step.apart) {
    read.view->data = value.window(read.window.begin);
  } else if (read.window == value.stretch) {
    read.view->data = value.fresh;
  } else {
    read.view->data = read.gathered;
    value.gather(read.window, read.gathered);
  }
}

void StreamSession::run_step(Step& step) {
  for (const Read& read : step.reads) bind(step, read);
  for (const Made& made : step.made) {
    made.value->stretch = step.stretch;
    made.view->data = made.value->made();
  }
  step.bindings.window = {step.reads[0].window.begin, step.stretch.begin};
  run_kernel(step);
  if (step.shows) show(step);
}

// What was not made in the band can be read there.
void StreamSession::show(const Step& step) {
  for (const Made& made : step.made) made.value->show();
}

void StreamSession::run_kernel(const Step& step) const {
  try {
    step.kernel->run(context_, step.bindings);
  } catch (const Error& error) {
    fail(step, error);
  }
}

void StreamSession::fail(const Step& step, const Error& error) const {
  throw error.at(plan_->steps[static_cast<size_t>(&step - steps_.data())].where);
}

void StreamSession::run_steps() {
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (steps_[i].constant) continue;
    set_stretch(i);
    if (steps_[i].stretch.size() > 0) run_step(steps_[i]);
  }
  for (size_t i = 0; i < values_.size(); ++i) state_.ends[i] = values_[i].stretch.end;
}

// For pushes as the last, whose stretches still stand in the values and steps: what they will change.
void StreamSession::prepare_repeats() {
  moved_.clear();
  repeated_.clear();
  followed_.clear();
  for (StreamValue& value : values_) value.followed = value.kept > 0;
  for (const PlanPort& port : plan_->inputs) value_of(port.value).followed = true;
  for (const PlanPort& port : plan_->outputs) value_of(port.value).followed = true;
  for (Step& step : steps_) {
    if (step.constant || step.stretch.size() == 0) continue;
    step.gathers = !step.apart && std::ranges::any_of(
                                      step.reads, [](const Read& read) { return read.window != read.source->stretch; });
    for (const Read& read : step.reads) {
      StreamValue& value = *read.source;
      value.followed = value.followed || step.gathers;
      if (!step.apart || value.kept == 0) continue;
      moved_.push_back({read.view, &value, (read.window.begin - value.stretch.begin) * value.inner});
    }
    for (const Made& made : step.made) {
      if (made.value->in_band) moved_.push_back({made.view, made.value, 0});
    }
    repeated_.push_back({&step, step.reads[0].source->stretch.size(), step.stretch.size()});
  }
  for (StreamValue& value : values_) {
    if (value.followed) followed_.push_back(&value);
  }
}

// The stretches of followed values are this push's already.
void StreamSession::repeat_steps() {
  for (const Moved& moved : moved_) moved.view->data = moved.value->place + moved.offset;
  const Step* now = nullptr;
  try {
    for (const Repeated& repeated : repeated_) {
      Step& step = *repeated.step;
      now = &step;
      step.bindings.window.input += repeated.inputs;
      step.bindings.window.output += repeated.outputs;
      if (step.gathers) {
        for (Read& read : step.reads) {
          const int64_t later = read.source->stretch.size();
          read.window = {read.window.begin + later, read.window.end + later};
          bind(step, read);
        }
      }
      step.kernel->run(context_, step.bindings);
      if (step.shows) show(step);
    }
  } catch (const Error& error) {
    fail(*now, error);
  }
  ++repeats_;
}

// Values that were not followed come to the time of the others.
void StreamSession::end_repeats() {
  for (size_t i = 0; i < values_.size() && repeats_ > 0; ++i) {
    StreamValue& value = values_[i];
    const int64_t later = value.followed ? 0 : repeats_ * value.stretch.size();
    value.stretch = {value.stretch.begin + later, value.stretch.end + later};
    state_.ends[i] = value.stretch.end;
  }
  repeats_ = 0;
}

std::span<const TensorView> StreamSession::collect() {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const StreamValue& value = value_of(plan_->outputs[i].value);
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
    const StreamValue& value = value_of(plan_->outputs[i].value);
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
  const bool settled = settled_ || times_.settled(state_);
  const bool repeats = settled_ && count == last_count_ && count % times_.period() == 0;
  advance(inputs, count, repeats);
  settled_ = settled;
  last_count_ = count;
  return collect();
}

void StreamSession::advance(std::span<const TensorView> inputs, int64_t count, bool repeats) {
  try {
    if (repeats) {
      if (repeats_ == 0) prepare_repeats();
      for (StreamValue* value : followed_) value->begin_push(true);
      take_inputs(inputs, count);
      repeat_steps();
    } else {
      end_repeats();
      for (StreamValue& value : values_) value.begin_push(false);
      take_inputs(inputs, count);
      run_steps();
    }
    for (const StreamValue* value : kept_) value->keep();  // only now: what was just stored is slow to load again
  } catch (...) {
    state_.finished = true;  // values stand at different times now: only reset() helps
    throw;
  }
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
    advance({}, count, false);
    hold_early();
    silence_left_ -= count;
  }
}

std::span<const TensorView> StreamSession::finish() {
  if (state_.finished)
    throw Error(ErrorCategory::kUnsupported, "finish after finish or a failure; reset() begins a new signal");
  end_repeats();
  times_.check_end(state_);
  for (StreamValue& value : values_) value.begin_push(false);
  state_.finished = true;
  if (constants_known_) run_steps();
  return collect();
}

}  // namespace strand
