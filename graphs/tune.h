#pragma once
// Measures the implementations that a network's layers may choose from, on the device at hand. One call is one
// thread's.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "graphs/io/tensor_map.h"
#include "graphs/network.h"

namespace strand::graphs {

struct TuneOptions {
  CompileOptions compile;  // its tuning is not looked at
  int threads = 1;         // for the CPU's kernels
  double seconds = 0.3;    // of measuring each implementation's network, at least three runs
  std::function<void(std::string_view implementation)> progress = {};
};

struct MeasuredImplementation {
  std::string name;
  double milliseconds = 0;  // a run of one layer
};

// One problem, which several layers may have.
struct TunedProblem {
  std::string key;
  std::vector<std::string> layers;                      // their paths
  std::vector<MeasuredImplementation> implementations;  // in the layer's order: the first is what is picked unmeasured
  size_t best = 0;                                      // the first, unless another is clearly faster
};

// Runs the whole network once with each implementation in every layer that takes it, and times the layers one by one.
// On `inputs` by name, on the host. Layers that the description gives an implementation keep it. The reference is left
// out of networks that it would take long to run.
std::vector<TunedProblem> tune(const Network& network, const TensorMap& inputs, const TuneOptions& options);

// The choices, to compile with or to write_tuning().
Tuning choices(const std::vector<TunedProblem>& problems);

}  // namespace strand::graphs
