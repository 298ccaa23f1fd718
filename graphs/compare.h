#pragma once
// How far a network's numbers are from the truth, its float64 run: layer by layer, each layer fed the inputs that the
// device's own run gave it, and end to end. `strand compare` shows what this finds. Functions without state.
//
// Layer by layer the bound is the layer's own (layers/layer.h, ErrorBound). End to end the allowance is four times the
// error that a sequential float32 run makes, over an output's largest error. That run is drawn, not computed, for
// layers tell their error scale s (sum |w*x| for a convolution) but have no sequential loop of their own: each layer's
// output in double gets N(0, (eps * s / 2)^2) added, eps = 2^-24, which is what sequential FMA loops were measured at.

#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graphs/io/tensor_map.h"
#include "graphs/network.h"

namespace strand::graphs {

struct CompareOptions {
  CompileOptions compile;  // the device, sizes, implementation and precision that are compared
  int threads = 0;         // 0: one a core
  std::function<void(std::string_view layer)> progress;
};

// `of_bound` is the largest error as a share of what is allowed: infinite for a NaN or Inf that the truth has not.
struct ElementErrors {
  double largest = 0;   // |y - truth|
  double relative = 0;  // the same, over the largest |truth|
  double of_bound = 0;
  bool ok() const { return of_bound <= 1; }
};

struct LayerErrors {
  std::string path;
  std::string type;
  std::string implementation;
  ElementErrors errors;  // the worst of its outputs
};

struct OutputErrors {
  std::string name;
  double allowance = 0;
  ElementErrors errors;
};

// The outputs of the float64 run, by name, and how far each may be from them.
struct Truth {
  TensorMap outputs;
  std::map<std::string, double, std::less<>> allowances;
};

// `inputs` by name, on the host, float32 (float64 is rounded to it first, as a device would get it).
Truth find_truth(const Network& network, const TensorMap& inputs, const CompareOptions& options);

struct DeviceErrors {
  std::vector<LayerErrors> layers;
  std::vector<OutputErrors> outputs;
  TensorMap values;  // the device's outputs, on the host
  bool ok() const;
};

// Compiles for options.compile.device, runs, and holds every layer and every output against the truth.
DeviceErrors compare_device(const Network& network, const TensorMap& inputs, const Truth& truth,
                            const CompareOptions& options);

// Holds outputs against values from elsewhere (PyTorch's, stored), within the truth's allowances; for those names that
// `expected` has. Error(kShape) where the shapes differ.
std::vector<OutputErrors> compare_outputs(const TensorMap& outputs, const TensorMap& expected, const Truth& truth);

// Of one tensor, with a bound for each element or one for all; on the host, any floating point types. Tensors of
// other types must be equal.
ElementErrors element_errors(const Tensor& values, const Tensor& truth, std::span<const double> bounds);

}  // namespace strand::graphs
