#pragma once
// Runs a Plan. Owns the arena and the Context; used by one thread at a time (make one a thread, they share the Plan).

#include <memory>
#include <span>
#include <vector>

#include "engine/plan.h"

namespace strand {

class Session {
 public:
  // `threads` for CPU kernels; 0 takes one a core. Allocates all that a run needs.
  explicit Session(std::shared_ptr<const Plan> plan, int threads = 1);

  const Plan& plan() const { return *plan_; }
  const Context& context() const { return *context_; }

  // Runs on `inputs` (in the plan's order, on the host or the plan's device, of the plan's shapes; float32 and float64
  // are converted where the plan's dtype differs). Returns views on the plan's device, valid until the next run.
  // Throws Error(kShape) before anything is computed. From the second call on it allocates nothing.
  std::span<const TensorView> run(std::span<const TensorView> inputs);
  // The same, with the outputs copied to `outputs`, on the host or the plan's device.
  void run_into(std::span<const TensorView> inputs, std::span<const TensorView> outputs);
  // The same, with copies on the host.
  std::vector<Tensor> run_to_host(std::span<const TensorView> inputs);

  // For measuring: the inputs are put in place once, then the steps are run with nothing else.
  void load_inputs(std::span<const TensorView> inputs);
  void run_loaded();                                    // enqueues on the stream; does not synchronise
  void run_timed(std::span<double> step_milliseconds);  // synchronises after each step

  // A value of the last run, for a plan that keeps its values.
  TensorView value(int index) const { return values_[static_cast<size_t>(index)]; }

 private:
  void check(std::span<const TensorView> views, bool inputs) const;
  void run_step(size_t index);

  std::shared_ptr<const Plan> plan_;
  std::unique_ptr<Context> context_;
  Buffer arena_;
  std::vector<TensorView> values_;  // where each value lies; an input may lie in the caller's memory
  std::vector<TensorView> outputs_;
  std::vector<TensorView> bound_;  // the steps' inputs and outputs, one after another
  struct Binding {
    size_t begin = 0;
    size_t inputs = 0;
    size_t outputs = 0;
  };
  std::vector<Binding> bindings_;
};

}  // namespace strand
