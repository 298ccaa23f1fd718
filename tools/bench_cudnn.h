#pragma once
// cuDNN's best convolution beside ours, for the benchmark only: the library never links cuDNN. Where cuDNN was not
// found, bench_cudnn_stub.cc stands in. One owner, one thread.

#include <cstdint>
#include <memory>
#include <string>

#include "engine/context.h"
#include "tools/conv_sizes.h"

namespace strand::tools {

bool built_with_cudnn();
std::string cudnn_version();  // "9.19.0"

enum class CudnnMath : uint8_t { kFloat32, kTf32 };
enum class CudnnBias : uint8_t {
  kAdded,  // the fastest algorithm, then cudnnAddTensor
  kFused,  // cudnnConvolutionBiasActivationForward without activation, which takes one algorithm only
};

// Tensors as [N, C, 1, L], channels first.
class CudnnConvolution {
 public:
  // Measures every algorithm on these tensors (y is overwritten) and keeps the fastest. Error(kUnsupported) where none
  // takes the problem, Error(kDevice) where cuDNN fails.
  CudnnConvolution(const Context& context, const ConvSizes& sizes, CudnnMath math, const float* x, const float* w,
                   float* y, int64_t workspace_limit);
  ~CudnnConvolution();
  CudnnConvolution(const CudnnConvolution&) = delete;
  CudnnConvolution& operator=(const CudnnConvolution&) = delete;

  bool can_fuse() const;                       // whether the one algorithm that kFused takes is there
  std::string algorithm(CudnnBias how) const;  // "fft + bias"
  // Enqueues on the context's stream.
  void run(CudnnBias how, const float* x, const float* w, const float* bias, float* y) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace strand::tools
