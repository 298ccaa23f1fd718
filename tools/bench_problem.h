#pragma once
// One Conv1d case on one device: its tensors, and the time and error of everything that computes it. One owner, one
// thread.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/buffer.h"
#include "engine/weight_store.h"
#include "graphs/io/tensor_map.h"
#include "layers/layer.h"
#include "tools/bench_cudnn.h"
#include "tools/bench_device.h"

namespace strand::tools {

struct ConvTiming {
  std::string implementation;
  std::string declined;     // why it does not run this case; empty where it does
  double milliseconds = 0;  // the median of one run
  double error = 0;         // the largest of |y - truth| / (eps * sum |w*x|), eps the precision's
  double promise = 0;       // what that may be; 0: nothing was promised
  int64_t checked = 0;      // outputs
  bool ran() const { return declined.empty() && (milliseconds > 0 || checked > 0); }
  bool kept_promise() const { return promise == 0 || error <= promise; }
};

enum class Scope : uint8_t {
  kAll,
  // Times what a network would get and what cuDNN expects to be its fastest in float32; the others are only checked.
  kPickedAndChecks,
  kPicked,  // what a network would get, alone
};

struct ConvRequest {
  std::string only;  // an implementation's name; empty: all but the reference
  int repeats = 1;
  Scope scope = Scope::kAll;
  Precision precision = Precision::kFloat32;  // that implementations must reach
  // Inputs and outputs are stored as the precision's halves by those that can, on CUDA.
  bool half_storage = true;

  DType stored(Device device) const;  // of inputs and outputs
};

class ConvProblem {
 public:
  // N(0, 1) input, weights and bias. Small cases get several inputs and outputs, so that together they exceed the
  // cache. Error(kLimit) where memory does not suffice.
  // Where inputs are to be stored as halves they are rounded to these for all.
  ConvProblem(const BenchDevice& device, const ConvSizes& sizes, const ConvRequest& request, uint64_t seed);

  // Every implementation of the device, in the layer's order; the reference only by name; then cuDNN where it is there
  // and no name was given.
  std::vector<ConvTiming> time_all(const std::function<void(std::string_view)>& progress);

 private:
  // `repeats` 0: only checked. `stored`: what the implementation was made for.
  ConvTiming time_kernel(const layers::Implementation& implementation, DType stored, double promise, int repeats);
  ConvTiming time_cudnn(CudnnMath math, CudnnSearch search, int repeats);
  // Poisons the first output, runs the body on it and notes its largest error, in units of eps * magnitude; then the
  // time.
  void measure(const std::function<void(int64_t)>& run, DType stored, int repeats, ConvTiming& timing);

  float* input(int64_t turn) const;
  float* output(int64_t turn) const;
  void* stored_input(DType stored, int64_t turn) const;
  void* stored_output(DType stored, int64_t turn) const;

  const BenchDevice& device_;
  ConvSizes sizes_;
  ConvRequest request_;
  DType stored_;
  double eps_;  // the unit of errors
  int64_t rotations_ = 1;
  int64_t input_step_ = 0;  // elements from one input to the next
  int64_t output_step_ = 0;
  Buffer inputs_;
  Buffer half_inputs_;  // the same
  Buffer outputs_;
  Buffer weight_;
  Buffer bias_;
  TensorMap parameters_;  // on the host
  WeightStore store_;
  std::vector<int64_t> checked_;  // indices of outputs
};

}  // namespace strand::tools
