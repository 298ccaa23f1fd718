#pragma once
// LSTM and GRU, PyTorch's, as layers over a sequence and as cells of one step. With gates i, f, g, o and s the sigmoid
//   LSTM   c' = s(f) * c + s(i) * tanh(g),   h' = s(o) * tanh(c')
//   GRU    h' = (1 - s(z)) * tanh(n_x + s(r) * n_h) + s(z) * h,   gates r, z, n
// each gate being weight_ih x + bias_ih + weight_hh h + bias_hh (n_x and n_h: GRU's n from x and from h). Immutable.
//
// As a stream, h and c go on in the kernel's state. h_0 and c_0, where given, begin the signal: they are read in the
// stretch that has its first sample, and by every run without a state.

#include <string>
#include <vector>

#include "layers/layer.h"

namespace strand::layers {

struct RecurrentProblem {
  bool lstm = true;  // else GRU
  bool cell = false;
  int64_t input_size = 0;
  int64_t hidden_size = 0;
  int64_t layers = 1;
  int64_t directions = 1;
  bool bias = true;
  int64_t batch = 1;
  int64_t length = 1;  // of what was prepared; a run's is length_of()
  int axis = -1;       // the sequence's in input and output; none in a cell
  bool batch_first = false;

  int64_t gates() const { return lstm ? 4 : 3; }
  int64_t states() const { return lstm ? 2 : 1; }  // h, and c
  int64_t width(int64_t layer) const { return layer == 0 ? input_size : directions * hidden_size; }
  int64_t rows() const { return batch * length; }
  // Where a step's features lie among the rows of a sequence of that length.
  int64_t row(int64_t t, int64_t n, int64_t steps) const { return batch_first ? n * steps + t : t * batch + n; }
  int64_t length_of(const Bindings& bindings) const { return axis < 0 ? 1 : bindings.outputs[0].shape()[axis]; }
  // "weight_hh_l1_reverse"; a cell's have no suffix.
  std::string parameter(const std::string& name, int64_t layer, int64_t direction) const;
};

// h_0, c_0 of that number where a run begins its signal with one; null: zeros, or the state.
inline const TensorView* initial_state(const Bindings& bindings, int number) {
  const size_t port = 1 + static_cast<size_t>(number);
  const bool begins = bindings.state == nullptr || bindings.window.output == 0;
  return begins && bindings.inputs.size() > port && bindings.inputs[port].present() ? &bindings.inputs[port] : nullptr;
}

class Recurrent final : public Layer {
 public:
  Recurrent(RecurrentProblem settings, bool batch_first) : settings_(settings), batch_first_(batch_first) {}

  RecurrentProblem problem(std::span<const TensorType> inputs) const;

  std::vector<Port> inputs() const override;
  std::vector<std::string> outputs() const override;
  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  std::vector<Parameter> parameters() const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  int64_t multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType> outputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

 private:
  RecurrentProblem settings_;  // without sizes of inputs
  bool batch_first_;
};

std::unique_ptr<Kernel> recurrent_reference(const RecurrentProblem& problem, const PrepareArgs& args);
std::unique_ptr<Kernel> recurrent_scale(const RecurrentProblem& problem, const PrepareArgs& args);
std::unique_ptr<Kernel> recurrent_cpu(const RecurrentProblem& problem, const Weights& weights);
void recurrent_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
