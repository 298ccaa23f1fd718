#pragma once
// Runs a Plan. Owns the arena and the Context; used by one thread at a time (make one a thread, they share the Plan).

#include <atomic>
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

  // Runs on `inputs`, in the plan's order, of the plan's shapes, on the host or the plan's device; where the plan's
  // dtype differs, a CPU plan converts. Returns views on the plan's device, valid until the next run or a change of the
  // inputs' memory. Throws Error(kShape) before anything is computed. From the second call on it allocates nothing.
  std::span<const TensorView> run(std::span<const TensorView> inputs);
  // The same, with the outputs copied to `outputs`, on the host or the plan's device.
  void run_into(std::span<const TensorView> inputs, std::span<const TensorView> outputs);
  // The same, with copies on the host.
  std::vector<Tensor> run_to_host(std::span<const TensorView> inputs);

  // For measuring: the inputs are put in place once, then the steps are run with nothing else.
  void load_inputs(std::span<const TensorView> inputs);
  void run_loaded();                                    // enqueues on the stream; does not synchronise
  void run_timed(std::span<double> step_milliseconds);  // synchronises after each step

  // A value of the last run, for a plan that keeps it.
  TensorView value(int index) const { return views_[static_cast<size_t>(index)]; }

 private:
  // Where a step's tensors stand in bound_.
  struct Binding {
    size_t begin = 0;
    size_t inputs = 0;
    size_t outputs = 0;
  };

  void check_inputs(std::span<const TensorView> inputs) const;
  void bind(const std::vector<size_t>& views, void* data);
  void place_input(size_t index, const TensorView& input);
  void run_step(size_t index);

  std::shared_ptr<const Plan> plan_;
  std::unique_ptr<Context> context_;
  Buffer arena_;
  // Every view that kernels and callers see: the values, then the steps' inputs and outputs, then the plan's outputs.
  std::vector<TensorView> views_;
  std::vector<Binding> bindings_;
  size_t outputs_begin_ = 0;
  // For each input, the views of its memory: an input that lies well is read in the caller's memory, not copied.
  std::vector<std::vector<size_t>> input_views_;
  std::unique_ptr<std::atomic_flag> busy_ = std::make_unique<std::atomic_flag>();
};

}  // namespace strand
