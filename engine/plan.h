#pragma once
// A network ready to run: kernels in order, and where each value lies in one arena. Immutable and shared between
// threads and Sessions; owns its kernels, which own (shares of) the packed weights.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/kernel.h"
#include "engine/tensor.h"
#include "engine/time_map.h"

namespace strand {

struct PlanValue {
  TensorType type;
  int64_t offset = 0;  // bytes into the arena
  int storage = 0;     // the value whose memory it is: itself, or what it is a view of
  std::string whole;   // not empty: a view that needs its storage's whole signal, and this says why
};

struct PlanStep {
  std::string name;            // the layer's path
  std::string type;            // the layer's type
  std::string implementation;  // "cuda.direct"
  std::string where;           // for messages: "net.yaml:14: Conv1d 'net.3.conv1'"
  std::unique_ptr<const Kernel> kernel;
  std::vector<int> inputs;  // values; -1: absent
  std::vector<int> outputs;
  std::vector<TimeMap> times;  // [inputs, outputs]
  int64_t workspace_offset = 0;
  int64_t multiply_adds = 0;
  int64_t weight_bytes = 0;  // read once a run
};

struct PlanPort {
  std::string name;
  int value = 0;
};

struct Plan {
  std::string name;
  Device device;
  Precision precision = Precision::kFloat32;
  std::vector<PlanValue> values;
  std::vector<PlanStep> steps;
  std::vector<PlanPort> inputs;
  std::vector<PlanPort> outputs;
  std::vector<PlanPort> kept;  // values that keep their own memory until the next run, for Session::value()
  int64_t arena_bytes = 0;
  bool keeps_values = false;  // no two values share memory

  const TensorType& input_type(size_t index) const { return values[static_cast<size_t>(inputs[index].value)].type; }
  const TensorType& output_type(size_t index) const { return values[static_cast<size_t>(outputs[index].value)].type; }
  // Index of the input or output; Error(kShape) listing the names there are.
  size_t input_index(std::string_view input_name) const;
  size_t output_index(std::string_view output_name) const;
};

}  // namespace strand
