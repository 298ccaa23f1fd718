#include "layers/recurrent/recurrent.h"

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

bool given(std::span<const TensorType> inputs, size_t port) {
  return port < inputs.size() && inputs[port].shape.rank() > 0;
}

// [layers * directions, N, H] of h_0 and h_n, without N where the input has none; a cell's is [N, H].
Shape state_shape(const RecurrentProblem& problem, bool batched) {
  Shape shape;
  if (!problem.cell) shape.append(checked_mul(problem.layers, problem.directions));
  if (batched) shape.append(problem.batch);
  shape.append(problem.hidden_size);
  return shape;
}

std::unique_ptr<Layer> make_recurrent(bool lstm, bool cell, const Attributes& a) {
  RecurrentProblem settings;
  settings.lstm = lstm;
  settings.cell = cell;
  settings.input_size = a.positive("input_size");
  settings.hidden_size = a.positive("hidden_size");
  settings.bias = a.boolean("bias");
  if (cell) return std::make_unique<Recurrent>(settings, false);
  settings.layers = a.positive("num_layers");
  constexpr int64_t kMostLayers = 1024;
  if (settings.layers > kMostLayers) {
    throw Error(ErrorCategory::kLimit,
                "num_layers is " + std::to_string(settings.layers) + ", at most " + std::to_string(kMostLayers));
  }
  settings.directions = a.boolean("bidirectional") ? 2 : 1;
  if (lstm && a.integer("proj_size") != 0) {
    throw Error(ErrorCategory::kUnsupported, "proj_size is " + std::to_string(a.integer("proj_size")) + ", must be 0");
  }
  return std::make_unique<Recurrent>(settings, a.boolean("batch_first"));
}

}  // namespace

std::string RecurrentProblem::parameter(const std::string& name, int64_t layer, int64_t direction) const {
  if (cell) return name;
  return name + "_l" + std::to_string(layer) + (direction == 1 ? "_reverse" : "");
}

std::vector<Port> Recurrent::inputs() const {
  std::vector<Port> ports = {{"input"}, {"h_0", true}};
  if (settings_.lstm) ports.push_back({"c_0", true});
  return ports;
}

std::vector<std::string> Recurrent::outputs() const {
  std::vector<std::string> names = {settings_.cell ? "h_1" : "output"};
  if (!settings_.cell) names.emplace_back("h_n");
  if (settings_.lstm) names.emplace_back(settings_.cell ? "c_1" : "c_n");
  return names;
}

RecurrentProblem Recurrent::problem(std::span<const TensorType> inputs) const {
  const Shape& shape = inputs[0].shape;
  RecurrentProblem problem = settings_;
  const bool batched = shape.rank() == (settings_.cell ? 2 : 3);
  problem.batch_first = batch_first_ && batched;
  if (settings_.cell) {
    problem.batch = batched ? shape[0] : 1;
    return problem;
  }
  problem.axis = problem.batch_first ? 1 : 0;
  problem.length = shape[problem.axis];
  problem.batch = batched ? shape[1 - problem.axis] : 1;
  return problem;
}

std::vector<TensorType> Recurrent::infer(std::span<const TensorType> inputs) const {
  const Shape& shape = inputs[0].shape;
  const int batched_rank = settings_.cell ? 2 : 3;
  const int last = shape.rank() - 1;
  if ((shape.rank() != batched_rank && shape.rank() != batched_rank - 1) || shape[last] != settings_.input_size) {
    const std::string size = std::to_string(settings_.input_size);
    const std::string axes = settings_.cell ? "[N, " : batch_first_ ? "[N, L, " : "[L, N, ";
    const std::string hint = settings_.cell ? ""
                             : shape.rank() == 3 && shape[1] == settings_.input_size
                                 ? " (Transpose swaps the axes of a signal [N, C, L])"
                                 : "";
    throw Error(ErrorCategory::kShape, "input is " + to_string(shape) + ", expected " + axes + size + "] or " +
                                           (settings_.cell ? "[" : "[L, ") + size + "]" + hint);
  }
  const RecurrentProblem sizes = problem(inputs);
  const bool batched = shape.rank() == batched_rank;
  const Shape state = state_shape(sizes, batched);
  for (size_t port = 1; port <= static_cast<size_t>(sizes.states()); ++port) {
    if (given(inputs, port) && inputs[port].shape != state) {
      throw Error(ErrorCategory::kShape, std::string(port == 1 ? "h_0" : "c_0") + " is " +
                                             to_string(inputs[port].shape) + ", expected " + to_string(state));
    }
  }
  TensorType output = inputs[0];
  output.shape.set(last, checked_mul(sizes.directions, sizes.hidden_size));
  if (output.time_axis == last) output.time_axis = TensorType::kNoTime;
  const TensorType final_state{output.dtype, state, TensorType::kNoTime};
  std::vector<TensorType> types;
  if (!settings_.cell) types.push_back(output);
  types.insert(types.end(), static_cast<size_t>(sizes.states()), final_state);
  return types;
}

std::vector<Parameter> Recurrent::parameters() const {
  const RecurrentProblem& p = settings_;
  const int64_t rows = checked_mul(p.gates(), p.hidden_size);
  std::vector<Parameter> list;
  for (int64_t layer = 0; layer < p.layers; ++layer) {
    for (int64_t direction = 0; direction < p.directions; ++direction) {
      const auto add = [&](const char* name, const Shape& shape) {
        list.push_back({p.parameter(name, layer, direction), shape, Init::kUniform, p.hidden_size});
      };
      add("weight_ih", {rows, p.width(layer)});
      add("weight_hh", {rows, p.hidden_size});
      if (!p.bias) continue;
      add("bias_ih", {rows});
      add("bias_hh", {rows});
    }
  }
  return list;
}

TimeMap Recurrent::time_map(int input, int output, std::span<const TensorType> inputs) const {
  const RecurrentProblem sizes = problem(inputs);
  if (input > 0) return TimeMap::all("a state that the whole signal begins with");
  if (output > 0) return TimeMap::all("the state after the whole signal");
  if (sizes.axis < 0 || inputs[0].time_axis != sizes.axis) return TimeMap::all("time is not the sequence's axis");
  if (sizes.directions == 2) return TimeMap::all("a bidirectional layer begins at both ends");
  return TimeMap::recurrent();
}

int64_t Recurrent::multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType>) const {
  const RecurrentProblem sizes = problem(inputs);
  int64_t a_row = 0;
  for (int64_t layer = 0; layer < sizes.layers; ++layer) {
    const int64_t columns = checked_add(sizes.width(layer), sizes.hidden_size);
    a_row = checked_add(a_row, checked_mul(checked_mul(sizes.directions * sizes.gates(), sizes.hidden_size), columns));
  }
  return checked_mul(checked_mul(sizes.batch, sizes.length), a_row);
}

std::vector<Implementation> Recurrent::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  recurrent_cuda(*this, args, list);
  const RecurrentProblem sizes = problem(args.inputs);
  list.push_back(
      float32_implementation(args, "cpu.native", [&args, sizes] { return recurrent_cpu(sizes, args.weights); }));
  list.emplace_back(Implementation{"cpu.reference", DeviceType::kCpu, unless_floating(args),
                                   [&args, sizes] { return recurrent_reference(sizes, args); }});
  return list;
}

ErrorBound Recurrent::error_bound(const PrepareArgs& args) const {
  return {4, recurrent_scale(problem(args.inputs), args)};
}

void register_recurrent(LayerRegistry& registry) {
  const std::vector<Field> cell_fields = {{"input_size", kInteger, "features of the input"},
                                          {"hidden_size", kInteger, "features of h"},
                                          {"bias", kBoolean, "whether there are bias_ih and bias_hh", true}};
  std::vector<Field> fields = cell_fields;
  fields.insert(fields.end(), {{"num_layers", kInteger, "layers, each on the output of the one before", 1},
                               {"batch_first", kBoolean, "the input is [N, L, H] instead of [L, N, H]", false},
                               {"dropout", kNumber, "of training; has no effect here", 0.0},
                               {"bidirectional", kBoolean, "a second one runs from the end", false}});
  std::vector<Field> lstm_fields = fields;
  lstm_fields.emplace_back("proj_size", kInteger, "must be 0", 0);
  const auto add = [&](const char* name, const char* summary, bool lstm, bool cell, std::vector<Field> type_fields) {
    const std::string sequence =
        "[L, N, in], [N, L, in] if batch_first, or [L, in] -> [.., hidden], twice if bidirectional";
    const std::string time =
        "recurrent; whole if bidirectional, to the last states, from the first ones, or if time is another axis";
    const auto make = [lstm, cell](const Attributes& a) { return make_recurrent(lstm, cell, a); };
    registry.add({name,
                  summary,
                  std::move(type_fields),
                  make,
                  (cell ? "[N, in] or [in] -> [.., hidden]" : sequence) + "; inputs h_0" + (lstm ? " and c_0" : "") +
                      " optional, outputs " + (cell ? "h_1" : "output, h_n") + (lstm ? cell ? ", c_1" : ", c_n" : ""),
                  cell ? "whole" : time,
                  {"cuda.block", "cuda.grid", "cpu.native", "cpu.reference"}});
  };
  add("LSTM", "long short-term memory over a sequence", true, false, lstm_fields);
  add("GRU", "gated recurrent units over a sequence", false, false, fields);
  add("LSTMCell", "one step of an LSTM", true, true, cell_fields);
  add("GRUCell", "one step of a GRU", false, true, cell_fields);
}

}  // namespace strand::layers
