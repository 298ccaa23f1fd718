#include "engine/session.h"

#include <chrono>

#include "engine/cuda_runtime.h"

namespace strand {
namespace {

constexpr uintptr_t kInputAlignment = 16;  // bytes, as vector loads want

// Refuses a second thread instead of letting it corrupt the first one's run.
class Turn {
 public:
  explicit Turn(std::atomic_flag& busy) : busy_(busy) {
    if (busy_.test_and_set(std::memory_order_acquire)) {
      throw Error(ErrorCategory::kUnsupported, "a Session is used by two threads at once; make one a thread");
    }
  }
  ~Turn() { busy_.clear(std::memory_order_release); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  std::atomic_flag& busy_;
};

class Event {
 public:
  explicit Event(int device) : handle_(cuda::create_event(device)) {}
  ~Event() { cuda::destroy_event(handle_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void* handle() const { return handle_; }

 private:
  void* handle_;
};

// `kind` and `name` are put together only for a message: a run must not allocate.
void check_view(const TensorView& view, const TensorType& expected, const char* kind, const std::string& name,
                Device device) {
  const auto what = [&] { return std::string(kind) + " '" + name + "'"; };
  if (view.shape() != expected.shape) {
    throw Error(ErrorCategory::kShape,
                what() + " has shape " + to_string(view.shape()) + ", expected " + to_string(expected.shape));
  }
  if (!view.present()) throw Error(ErrorCategory::kShape, what() + " has no data");
  if (!view.device.is_cpu() && view.device != device) {
    throw Error(ErrorCategory::kDevice,
                what() + " lies on " + to_string(view.device) + ", expected the host or " + to_string(device));
  }
  const bool converts = device.is_cpu() && is_floating_point(expected.dtype);
  if (view.type.dtype != expected.dtype && !converts) {
    throw Error(ErrorCategory::kShape, what() + " is " + std::string(to_string(view.type.dtype)) + ", expected " +
                                           std::string(to_string(expected.dtype)));
  }
  if (reinterpret_cast<uintptr_t>(view.data) % static_cast<uintptr_t>(size_of(view.type.dtype)) != 0) {
    throw Error(ErrorCategory::kShape, what() + " is not aligned to its elements");
  }
}

std::shared_ptr<const Plan> checked(std::shared_ptr<const Plan> plan) {
  if (plan == nullptr) throw Error(ErrorCategory::kShape, "a Session was given no Plan");
  return plan;
}

// For messages: the network, and the step that sees the most memory at once.
std::string owner_of_memory(const Plan& plan) {
  int64_t most = 0;
  std::string text = "memory of network '" + plan.name + "'";
  std::string_view where;
  for (const PlanStep& step : plan.steps) {
    int64_t bytes = step.kernel->workspace_bytes();
    for (const std::vector<int>* values : {&step.inputs, &step.outputs}) {
      for (const int value : *values) {
        if (value >= 0) bytes += plan.values[static_cast<size_t>(value)].type.bytes();
      }
    }
    if (bytes <= most) continue;
    most = bytes;
    where = step.where;
  }
  return where.empty() ? text : text + ", most of it at " + std::string(where);
}

}  // namespace

Session::Session(std::shared_ptr<const Plan> plan, int threads)
    : plan_(checked(std::move(plan))), context_(std::make_unique<Context>(plan_->device, threads)) {
  try {
    arena_ = Buffer(plan_->device, plan_->arena_bytes);
  } catch (const Error& error) {
    throw error.at(owner_of_memory(*plan_));
  }
  const std::vector<PlanValue>& values = plan_->values;
  const auto view_of = [&](int value) {
    if (value < 0) return TensorView{};
    const PlanValue& planned = values[static_cast<size_t>(value)];
    return TensorView{planned.type, arena_.data() + planned.offset, plan_->device};
  };
  input_views_.resize(plan_->inputs.size());
  const auto add = [&](int value) {
    for (size_t i = 0; value >= 0 && i < plan_->inputs.size(); ++i) {
      if (values[static_cast<size_t>(value)].storage == plan_->inputs[i].value)
        input_views_[i].push_back(views_.size());
    }
    views_.push_back(view_of(value));
  };
  for (size_t value = 0; value < values.size(); ++value) add(static_cast<int>(value));
  for (const PlanStep& step : plan_->steps) {
    bindings_.push_back({views_.size(), step.inputs.size(), step.outputs.size()});
    for (const int value : step.inputs) add(value);
    for (const int value : step.outputs) add(value);
  }
  outputs_begin_ = views_.size();
  for (const PlanPort& output : plan_->outputs) add(output.value);
}

void Session::check_inputs(std::span<const TensorView> inputs) const {
  if (inputs.size() != plan_->inputs.size()) {
    throw Error(ErrorCategory::kShape, "network '" + plan_->name + "' was given " + std::to_string(inputs.size()) +
                                           " inputs, expected " + std::to_string(plan_->inputs.size()));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    check_view(inputs[i], plan_->input_type(i), "input", plan_->inputs[i].name, plan_->device);
  }
}

void Session::bind(const std::vector<size_t>& views, void* data) {
  for (const size_t view : views) views_[view].data = data;
}

void Session::place_input(size_t index, const TensorView& input) {
  const PlanValue& value = plan_->values[static_cast<size_t>(plan_->inputs[index].value)];
  const bool lies_well = input.device == plan_->device && input.type.dtype == value.type.dtype &&
                         reinterpret_cast<uintptr_t>(input.data) % kInputAlignment == 0;
  if (lies_well) {
    bind(input_views_[index], input.data);
    return;
  }
  const TensorView place{value.type, arena_.data() + value.offset, plan_->device};
  bind(input_views_[index], place.data);
  if (plan_->device.is_cpu()) {
    convert(input, place);
  } else {
    cuda::copy_async(place.data, input.data, value.type.bytes(), context_->stream());
  }
}

void Session::run_step(size_t index) {
  const PlanStep& step = plan_->steps[index];
  const Binding& binding = bindings_[index];
  const std::span<const TensorView> views(views_);
  try {
    step.kernel->run(*context_, {views.subspan(binding.begin, binding.inputs),
                                 views.subspan(binding.begin + binding.inputs, binding.outputs),
                                 arena_.data() + step.workspace_offset});
  } catch (const Error& error) {
    throw error.at(step.where);
  }
}

void Session::load_inputs(std::span<const TensorView> inputs) {
  check_inputs(inputs);
  if (plan_->device.is_cuda()) cuda::set_device(plan_->device.index);
  for (size_t i = 0; i < inputs.size(); ++i) place_input(i, inputs[i]);
}

void Session::run_loaded() {
  for (size_t i = 0; i < plan_->steps.size(); ++i) run_step(i);
}

std::span<const TensorView> Session::run(std::span<const TensorView> inputs) {
  const Turn turn(*busy_);
  load_inputs(inputs);
  run_loaded();
  context_->synchronize();
  return std::span<const TensorView>(views_).subspan(outputs_begin_);
}

void Session::run_into(std::span<const TensorView> inputs, std::span<const TensorView> outputs) {
  if (outputs.size() != plan_->outputs.size()) {
    throw Error(ErrorCategory::kShape, "network '" + plan_->name + "' was given memory for " +
                                           std::to_string(outputs.size()) + " outputs, expected " +
                                           std::to_string(plan_->outputs.size()));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    check_view(outputs[i], plan_->output_type(i), "output", plan_->outputs[i].name, plan_->device);
  }
  const std::span<const TensorView> results = run(inputs);
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (plan_->device.is_cpu()) {
      convert(results[i], outputs[i]);
    } else {
      copy_bytes(outputs[i].data, outputs[i].device, results[i].data, results[i].device, results[i].type.bytes());
    }
  }
}

std::vector<Tensor> Session::run_to_host(std::span<const TensorView> inputs) {
  std::vector<Tensor> results;
  for (const TensorView& output : run(inputs)) results.push_back(copy_of(output));
  return results;
}

void Session::run_timed(std::span<double> step_milliseconds) {
  if (step_milliseconds.size() != plan_->steps.size()) {
    throw Error(ErrorCategory::kShape, "run_timed was given room for " + std::to_string(step_milliseconds.size()) +
                                           " times, expected " + std::to_string(plan_->steps.size()));
  }
  for (size_t i = 0; i < plan_->steps.size(); ++i) {
    if (plan_->device.is_cuda()) {
      const Event start(plan_->device.index);
      const Event stop(plan_->device.index);
      cuda::record(start.handle(), context_->stream());
      run_step(i);
      cuda::record(stop.handle(), context_->stream());
      step_milliseconds[i] = cuda::elapsed_ms(start.handle(), stop.handle());
    } else {
      const auto start = std::chrono::steady_clock::now();
      run_step(i);
      step_milliseconds[i] =
          std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    }
  }
}

}  // namespace strand
