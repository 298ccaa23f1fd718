#include "engine/live_streams.h"

#include <algorithm>
#include <cstring>

#include "engine/checked.h"
#include "engine/cuda_runtime.h"

namespace strand {
namespace {

std::shared_ptr<const LivePlan> checked(std::shared_ptr<const LivePlan> plan) {
  if (plan == nullptr || plan->plan == nullptr) throw Error(ErrorCategory::kShape, "LiveStreams were given no plan");
  return plan;
}

int64_t placed(int64_t& used, int64_t bytes) {
  const int64_t offset = used;
  used = checked_add(used, round_up(bytes, Buffer::kAlignment));
  return offset;
}

// Rows of `width` bytes, `pitch` of them apart.
struct Rows {
  std::byte* data;
  int64_t pitch;
};

void copy_rows(Rows target, Rows source, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows && width > 0; ++row) {
    std::memcpy(target.data + row * target.pitch, source.data + row * source.pitch, static_cast<size_t>(width));
  }
}

}  // namespace

LiveStreams::LiveStreams(std::shared_ptr<const LivePlan> plan, int threads)
    : plan_(checked(std::move(plan))),
      context_(plan_->plan->device, threads),
      lives_(static_cast<size_t>(plan_->streams)) {
  lay_out();
  prepare();
}

void LiveStreams::lay_out() {
  const Plan& plan = this->plan();
  arena_ = Buffer(plan.device, plan.arena_bytes);
  const auto view_of = [&](int value) {
    if (value < 0) return TensorView{};
    const PlanValue& planned = plan.values[static_cast<size_t>(value)];
    return TensorView{planned.type, arena_.data() + planned.offset, plan.device};
  };
  int64_t bytes = 0;
  std::vector<int64_t> offsets;
  for (const PlanStep& step : plan.steps) offsets.push_back(placed(bytes, step.kernel->state_bytes()));
  state_ = Buffer(plan.device, bytes);
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    Step step;
    for (const int value : plan.steps[i].inputs) step.inputs.push_back(view_of(value));
    for (const int value : plan.steps[i].outputs) step.outputs.push_back(view_of(value));
    step.state = state_.data() + offsets[i];
    steps_.push_back(std::move(step));
  }

  bytes = 0;
  offsets.clear();
  for (size_t i = 0; i < plan.inputs.size(); ++i) offsets.push_back(placed(bytes, plan.input_type(i).bytes()));
  for (size_t i = 0; i < plan.outputs.size(); ++i) offsets.push_back(placed(bytes, plan.output_type(i).bytes()));
  staged_ = Buffer::host_for(plan.device, bytes);
  for (size_t i = 0; i < plan.inputs.size(); ++i) {
    staged_inputs_.push_back({plan.input_type(i), staged_.data() + offsets[i], {}});
  }
  for (size_t i = 0; i < plan.outputs.size(); ++i) {
    staged_outputs_.push_back({plan.output_type(i), staged_.data() + offsets[plan.inputs.size() + i], {}});
  }

  bytes = checked_mul(LiveClock::size(static_cast<int64_t>(plan_->slots.size()), streams()), sizeof(int64_t));
  clock_ = Buffer(plan.device, bytes);
  staged_clock_ = Buffer::host_for(plan.device, bytes);
}

// All that is slow the first time is done before the first push.
void LiveStreams::prepare() {
  std::memset(staged_.data(), 0, static_cast<size_t>(staged_.bytes()));
  if (plan().device.is_cuda()) {
    cuda::zero_async(state_.data(), state_.bytes(), context_.stream());
  } else {
    std::memset(state_.data(), 0, static_cast<size_t>(state_.bytes()));
  }
  words()[0] = plan_->first_tick;
  words()[1] = 1;
  for (int64_t stream = 0; stream < streams(); ++stream) {
    for (size_t slot = 0; slot < plan_->slots.size(); ++slot) {
      set_begin(stream, slot, -LiveClock::kNever);
      set_end(stream, slot, LiveClock::kNever);
    }
  }
  if (plan().device.is_cuda()) {
    cuda::set_device(plan().device.index);
    run();  // loads the kernels and makes cuBLAS's handle, which a capture can't
    cuda::begin_capture(context_.stream());
    try {
      enqueue();
    } catch (...) {
      try {
        cuda::destroy_graph(cuda::end_capture(context_.stream()));
      } catch (const Error&) {  // what broke the capture is told
      }
      throw;
    }
    graph_.reset(cuda::end_capture(context_.stream()));
  }
  for (int64_t i = 0; i < plan_->quiet_pushes; ++i) run();
  words()[1] = 0;
  reset();
}

void LiveStreams::set_begin(int64_t stream, size_t slot, int64_t time) {
  words()[LiveClock::begin_at(static_cast<int64_t>(slot), streams(), stream)] = time;
  clock_is_old_ = true;
}

void LiveStreams::set_end(int64_t stream, size_t slot, int64_t time) {
  words()[LiveClock::end_at(static_cast<int64_t>(slot), streams(), stream)] = time;
  clock_is_old_ = true;
}

int64_t LiveStreams::samples_of(int64_t stream) const {
  return (words()[0] - lives_[static_cast<size_t>(stream)].begun) * chunk();
}

void LiveStreams::check_stream(int64_t stream) const {
  if (stream >= 0 && stream < streams()) return;
  throw Error(ErrorCategory::kShape,
              "no stream " + std::to_string(stream) + ", there are " + std::to_string(streams()) + ", counted from 0");
}

void LiveStreams::reset(int64_t stream) {
  check_stream(stream);
  if (finished_) throw Error(ErrorCategory::kUnsupported, "reset of one stream after finish; reset() begins all anew");
  lives_[static_cast<size_t>(stream)] = {words()[0], false};
  for (size_t slot = 0; slot < plan_->slots.size(); ++slot) {
    set_begin(stream, slot, words()[0] * plan_->slots[slot].fresh + plan_->slots[slot].begin);
    set_end(stream, slot, LiveClock::kNever);
  }
}

void LiveStreams::reset() {
  finished_ = false;
  for (int64_t stream = 0; stream < streams(); ++stream) reset(stream);
}

void LiveStreams::end(int64_t stream) {
  check_stream(stream);
  if (finished_) throw Error(ErrorCategory::kUnsupported, "end after finish; reset() begins anew");
  set_ends(stream, ended_after(samples_of(stream)));
}

// What is known of a stream that ends after so many samples. Error where it can't.
StreamState LiveStreams::ended_after(int64_t samples) const {
  const int64_t silence = plan_->start == StreamStart::kSilence ? times().memory() : 0;
  StreamState state = times().start();
  times().advance(state, checked_add(silence, samples));
  if (plan_->start != StreamStart::kContext) {
    times().check_end(state);
    times().finish(state);
  }
  return state;
}

void LiveStreams::set_ends(int64_t stream, const StreamState& state) {
  const int64_t silence = plan_->start == StreamStart::kSilence ? times().memory() : 0;
  Life& life = lives_[static_cast<size_t>(stream)];
  life.ended = true;
  for (size_t i = 0; i < plan_->slots.size(); ++i) {
    const LivePlan::Slot& slot = plan_->slots[i];
    // Outputs that depend on what comes after the last sample are left out instead.
    if (plan_->start == StreamStart::kContext && slot.output < 0) continue;
    const int64_t before = checked_mul(silence, slot.fresh) / chunk();
    set_end(stream, i, life.begun * slot.fresh + state.ends[slot.value] - before);
  }
}

// Inputs that end the streams may be shorter.
void LiveStreams::check_inputs(std::span<const TensorView> inputs, bool last) const {
  if (finished_) throw Error(ErrorCategory::kUnsupported, "push after finish; reset() begins new signals");
  if (inputs.size() != plan().inputs.size()) {
    throw Error(ErrorCategory::kShape, "network '" + plan().name + "' was given " + std::to_string(inputs.size()) +
                                           " inputs, expected " + std::to_string(plan().inputs.size()));
  }
  int64_t first_count = -1;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorType& expected = plan().input_type(i);
    const TensorView& input = inputs[i];
    const auto what = [&] { return "input '" + plan().inputs[i].name + "' "; };
    if (!timed(expected) && !input.present() && constants_known_) continue;
    Shape shape = expected.shape;
    if (last && timed(expected) && input.shape().rank() == shape.rank()) {
      const int64_t count = input.shape()[expected.time_axis];
      if (count <= chunk()) shape.set(expected.time_axis, count);
      if (first_count >= 0 && count != first_count) {
        throw Error(ErrorCategory::kShape,
                    what() + "has " + std::to_string(count) + " samples, the first has " + std::to_string(first_count));
      }
      first_count = count;
    }
    if (input.shape() != shape) {
      throw Error(ErrorCategory::kShape, what() + "has shape " + to_string(input.shape()) + ", expected " +
                                             to_string(shape) + ": " + std::to_string(streams()) +
                                             (streams() == 1 ? " stream, " : " streams, ") + std::to_string(chunk()) +
                                             (last ? " samples or less" : " samples a push"));
    }
    if (!input.present() && shape.elements() > 0) throw Error(ErrorCategory::kShape, what() + "has no data");
    if (!input.device.is_cpu()) throw Error(ErrorCategory::kDevice, what() + "does not lie on the host");
    if (input.type.dtype != expected.dtype && !is_floating_point(expected.dtype)) {
      throw Error(ErrorCategory::kShape, what() + "is " + std::string(to_string(input.type.dtype)) + ", expected " +
                                             std::string(to_string(expected.dtype)));
    }
  }
}

void LiveStreams::take(std::span<const TensorView> inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].present() && inputs[i].data != staged_inputs_[i].data) convert(inputs[i], staged_inputs_[i]);
  }
  constants_known_ = true;
}

void LiveStreams::copy(void* target, const void* source, int64_t bytes) const {
  if (plan().device.is_cuda()) {
    cuda::copy_async(target, source, bytes, context_.stream());
  } else {
    std::memcpy(target, source, static_cast<size_t>(bytes));
  }
}

// Everything that a push does on the device.
void LiveStreams::enqueue() const {
  const Plan& plan = this->plan();
  const auto place = [&](int value) { return arena_.data() + plan.values[static_cast<size_t>(value)].offset; };
  copy(clock_.data(), words(), LiveClock::kHeader * static_cast<int64_t>(sizeof(int64_t)));
  for (size_t i = 0; i < staged_inputs_.size(); ++i) {
    copy(place(plan.inputs[i].value), staged_inputs_[i].data, staged_inputs_[i].type.bytes());
  }
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    Bindings bindings{step.inputs, step.outputs, arena_.data() + plan.steps[i].workspace_offset, step.state};
    bindings.clock = reinterpret_cast<const int64_t*>(clock_.data());
    try {
      plan.steps[i].kernel->run(context_, bindings);
    } catch (const Error& error) {
      throw error.at(plan.steps[i].where);
    }
  }
  for (size_t i = 0; i < staged_outputs_.size(); ++i) {
    copy(staged_outputs_[i].data, place(plan.outputs[i].value), staged_outputs_[i].type.bytes());
  }
}

void LiveStreams::run() {
  if (plan().device.is_cuda()) cuda::set_device(plan().device.index);
  if (clock_is_old_) copy(clock_.data(), staged_clock_.data(), staged_clock_.bytes());
  clock_is_old_ = false;
  if (graph_ != nullptr) {
    cuda::launch_graph(graph_.get(), context_.stream());
  } else {
    enqueue();
  }
  context_.synchronize();
  ++words()[0];
}

std::span<const TensorView> LiveStreams::push(std::span<const TensorView> inputs) {
  check_inputs(inputs, false);
  take(inputs);
  run();
  return staged_outputs_;
}

std::vector<Tensor> LiveStreams::finish(std::span<const TensorView> last) {
  if (!last.empty()) check_inputs(last, true);
  if (finished_) throw Error(ErrorCategory::kUnsupported, "finish after finish; reset() begins new signals");
  int64_t samples = 0;
  for (size_t i = 0; i < last.size(); ++i) {
    if (!timed(plan().input_type(i)) && last[i].present()) convert(last[i], staged_inputs_[i]);
    if (timed(plan().input_type(i))) samples = last[i].shape()[plan().input_type(i).time_axis];
  }
  std::vector<StreamState> ends;  // so that nothing is changed where one can't end here
  for (int64_t stream = 0; stream < streams(); ++stream) ends.push_back(ended_after(samples_of(stream) + samples));
  for (int64_t stream = 0; stream < streams(); ++stream) {
    const auto index = static_cast<size_t>(stream);
    if (!lives_[index].ended) set_ends(stream, ends[index]);
  }
  // How many times are still to come.
  std::vector<int64_t> left(staged_outputs_.size());
  int64_t pushes = 0;
  for (size_t i = 0; i < plan_->slots.size(); ++i) {
    const LivePlan::Slot& slot = plan_->slots[i];
    if (slot.output < 0) continue;
    const auto output = static_cast<size_t>(slot.output);
    for (int64_t stream = 0; stream < streams(); ++stream) {
      const int64_t last_end = words()[LiveClock::end_at(static_cast<int64_t>(i), streams(), stream)];
      left[output] = std::max(left[output], last_end - (words()[0] * slot.fresh - delay(output)));
    }
    pushes = std::max(pushes, ceil_div(left[output], slot.fresh));
  }
  std::vector<Tensor> tails;
  for (size_t i = 0; i < left.size(); ++i) {
    TensorType type = staged_outputs_[i].type;
    type.shape.set(type.time_axis, left[i]);
    tails.emplace_back(type);
  }
  for (int64_t push = 0; push < pushes; ++push) {
    for (size_t i = 0; i < staged_inputs_.size(); ++i) {
      const TensorView& staged = staged_inputs_[i];
      if (!timed(staged.type)) continue;
      std::memset(staged.data, 0, static_cast<size_t>(staged.type.bytes()));
      if (push > 0 || samples == 0) continue;
      const int64_t rows = staged.shape().elements(0, staged.type.time_axis);
      const int64_t inner = staged.type.bytes() / (rows * chunk());
      Tensor same(TensorType{staged.type.dtype, last[i].shape(), staged.type.time_axis});
      convert(last[i], same.view());
      copy_rows({static_cast<std::byte*>(staged.data), chunk() * inner},
                {static_cast<std::byte*>(same.view().data), samples * inner}, rows, samples * inner);
    }
    run();
    for (size_t i = 0; i < tails.size(); ++i) {
      const TensorView made = staged_outputs_[i];
      const int axis = made.type.time_axis;
      const int64_t fresh = made.shape()[axis];
      const int64_t rows = made.shape().elements(0, axis);
      const int64_t inner = made.type.bytes() / (rows * fresh);
      const int64_t count = std::clamp<int64_t>(left[i] - push * fresh, 0, fresh);
      copy_rows({static_cast<std::byte*>(tails[i].view().data) + push * fresh * inner, left[i] * inner},
                {static_cast<std::byte*>(made.data), fresh * inner}, rows, count * inner);
    }
  }
  finished_ = true;
  return tails;
}

}  // namespace strand
