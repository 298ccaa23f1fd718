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
  double error = 0;         // the largest of |y - truth| / (eps * sum |w*x|), eps = 2^-24
  double promise = 0;       // what that may be; 0: nothing was promised
  int64_t checked = 0;      // outputs
  bool kept_promise() const { return promise == 0 || error <= promise; }
};

class ConvProblem {
 public:
  // N(0, 1) input, weights and bias. Small cases get several inputs and outputs, so that together they exceed the
  // cache. Error(kLimit) where memory does not suffice.
  ConvProblem(const BenchDevice& device, const ConvSizes& sizes, uint64_t seed);

  // Every implementation of the device, or those of that name; the reference only by name; then cuDNN where it is
  // there and no name was given.
  std::vector<ConvTiming> time_all(const std::string& only, int repeats,
                                   const std::function<void(std::string_view)>& progress);

 private:
  ConvTiming time_kernel(const layers::Implementation& implementation, double promise, int repeats);
  ConvTiming time_cudnn(CudnnMath math, int repeats);
  // The largest error of the first output, in units of eps * magnitude.
  void check(bool with_bias, ConvTiming& timing);

  float* input(int64_t turn) const;
  float* output(int64_t turn) const;

  const BenchDevice& device_;
  ConvSizes sizes_;
  int64_t rotations_ = 1;
  int64_t input_step_ = 0;  // elements from one input to the next
  int64_t output_step_ = 0;
  Buffer inputs_;
  Buffer outputs_;
  Buffer weight_;
  Buffer bias_;
  TensorMap parameters_;  // on the host
  WeightStore store_;
  std::vector<int64_t> checked_;  // indices of outputs
};

}  // namespace strand::tools
