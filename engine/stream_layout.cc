// What a StreamSession has in its arena, and where: pasts, states, stretches, and what one step needs at a time.

#include <algorithm>

#include "engine/checked.h"
#include "engine/stream_session.h"

namespace strand {
namespace {

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

}  // namespace

void StreamSession::lay_out() {
  const StreamSizes sizes = times_.sizes(options_.max_chunk);
  if (!stream_fits(*plan_, times_, sizes)) {
    throw Error(ErrorCategory::kShape, "network '" + plan_->name +
                                           "' was compiled for too short a signal for pushes of " +
                                           std::to_string(options_.max_chunk) + " samples");
  }
  size_values(sizes);
  make_steps();
  state_bytes_ = stream_state_bytes(*plan_, sizes);
  arena_ = Buffer({}, place(nullptr, sizes));
  place(arena_.data(), sizes);
  const auto set_data = [&](std::vector<TensorView>& views, const std::vector<int>& values) {
    for (size_t i = 0; i < views.size(); ++i) views[i].data = values[i] < 0 ? nullptr : value_of(values[i]).fresh;
  };
  for (size_t i = 0; i < steps_.size(); ++i) {
    set_data(steps_[i].inputs, plan_->steps[i].inputs);
    set_data(steps_[i].outputs, plan_->steps[i].outputs);
  }
  for (const PlanPort& output : plan_->outputs) {
    output_views_.push_back(
        {plan_->values[static_cast<size_t>(output.value)].type, value_of(output.value).fresh, plan_->device});
  }
}

void StreamSession::size_values(const StreamSizes& sizes) {
  for (size_t i = 0; i < values_.size(); ++i) {
    const TensorType& type = plan_->values[i].type;
    StreamValue& value = values_[i];
    value.outer = timed(type) ? type.shape.elements(0, type.time_axis) : 1;
    const int from = timed(type) ? type.time_axis + 1 : 0;
    value.inner = checked_mul(type.shape.elements(from, type.shape.rank()), size_of(type.dtype));
    value.kept = value.at = sizes.history[i];
    value.ring = checked_add(sizes.history[i], sizes.fresh[i]);
    value.in_band = value.kept > 0;
  }
  // Those that someone makes or reads in one piece are made so, and copied into the band.
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (plan_->steps[i].kernel->takes_rows_apart()) continue;
    for (const int value : plan_->steps[i].outputs) value_of(value).in_band = false;
    for (const int value : plan_->steps[i].inputs) {
      if (value >= 0) value_of(value).in_band = false;
    }
  }
  for (const PlanPort& port : plan_->inputs) value_of(port.value).in_band = false;
  for (const PlanPort& port : plan_->outputs) value_of(port.value).in_band = false;
  for (size_t i = 0; i < values_.size(); ++i) {
    if (values_[i].kept > 0 && plan_->values[i].storage == static_cast<int>(i)) kept_.push_back(&values_[i]);
  }
}

void StreamSession::make_steps() {
  const auto view_of = [&](int i) {
    return i < 0 ? TensorView{} : TensorView{plan_->values[static_cast<size_t>(i)].type, nullptr, plan_->device};
  };
  size_t moved = 0;
  for (size_t i = 0; i < steps_.size(); ++i) {
    const PlanStep& planned = plan_->steps[i];
    Step& step = steps_[i];
    step.kernel = planned.kernel.get();
    step.constant = times_.is_constant(i);
    step.apart = !step.constant && step.kernel->takes_rows_apart();
    if (!step.constant) step.state_bytes = step.kernel->state_bytes();  // else all of it comes at once
    for (const int value : planned.inputs) step.inputs.push_back(view_of(value));
    for (const int value : planned.outputs) step.outputs.push_back(view_of(value));
    if (step.apart) step.rows.resize(planned.inputs.size() + planned.outputs.size());
    for (size_t o = 0; o < planned.outputs.size(); ++o) {
      StreamValue& value = value_of(planned.outputs[o]);
      step.made.push_back({&step.outputs[o], &value});
      step.shows = step.shows || (value.kept > 0 && !value.in_band);
    }
    for (size_t input = 0; input < planned.inputs.size() && !step.constant; ++input) {
      if (!timed(step.inputs[input].type)) continue;
      step.reads.push_back({&step.inputs[input], &value_of(planned.inputs[input]), {}, nullptr});
    }
    moved += step.reads.size() + step.made.size();
    step.bindings = {step.inputs, step.outputs, nullptr, nullptr, {}, step.rows};
  }
  moved_.reserve(moved);  // pushes allocate nothing
  followed_.reserve(values_.size());
  repeated_.reserve(steps_.size());
}

// Lays everything out in the arena, or counts its bytes where there is none yet.
int64_t StreamSession::place(std::byte* arena, const StreamSizes& sizes) {
  const auto bytes_of = [](const StreamValue& value, int64_t times) {
    return checked_mul(checked_mul(value.outer, value.inner), times);
  };
  const auto is_root = [&](size_t value) { return plan_->values[value].storage == static_cast<int>(value); };
  Layout layout(arena);
  for (size_t i = 0; i < values_.size(); ++i) {
    if (is_root(i) && values_[i].kept > 0) values_[i].band = layout.take(bytes_of(values_[i], values_[i].band_row()));
  }
  for (Step& step : steps_) {
    if (!step.constant) step.bindings.state = layout.take(step.state_bytes);
  }
  for (size_t i = 0; i < values_.size(); ++i) {
    if (!is_root(i) || values_[i].in_band) continue;
    values_[i].fresh = layout.take(bytes_of(values_[i], timed(plan_->values[i].type) ? sizes.fresh[i] : 1));
  }
  for (size_t i = 0; i < outputs_.size() && options_.start != StreamStart::kPadding; ++i) {
    const int value = plan_->outputs[i].value;
    const auto root = static_cast<size_t>(plan_->values[static_cast<size_t>(value)].storage);
    Output& output = outputs_[i];
    output.lead = options_.start == StreamStart::kSilence ? times_.lead(i) : 0;
    output.early = layout.take(bytes_of(values_[root], output.lead));
    output.joined = layout.take(bytes_of(values_[root], output.lead + sizes.fresh[root]));
  }
  // Windows that are put together, and workspace, are used by one step at a time.
  const int64_t shared = layout.used();
  int64_t most = 0;
  for (size_t i = 0; i < steps_.size(); ++i) {
    Layout own(arena == nullptr ? nullptr : arena + shared);
    Step& step = steps_[i];
    for (size_t read = 0; read < step.reads.size() && !step.apart; ++read) {
      step.reads[read].gathered = own.take(bytes_of(*step.reads[read].source, sizes.windows[i][read]));
    }
    step.bindings.workspace = own.take(step.kernel->workspace_bytes());
    most = std::max(most, own.used());
  }
  return checked_add(shared, most);
}

}  // namespace strand
