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
enum class CudnnSearch : uint8_t {
  kMeasured,  // cuDNN measures every algorithm that takes the problem, which can last a minute
  kExpected,  // the one that cuDNN expects to be the fastest, as PyTorch uses it unless told to measure
};

// Tensors as [N, C, 1, L], channels first.
class CudnnConvolution {
 public:
  // Finds candidates on these tensors (y is overwritten): with the bias added by cudnnAddTensor after the convolution,
  // and fused into it by cudnnConvolutionBiasActivationForward, which takes one algorithm only. Error(kUnsupported)
  // where none takes the problem, Error(kDevice) where cuDNN fails.
  CudnnConvolution(const Context& context, const ConvSizes& sizes, CudnnMath math, CudnnSearch search, const float* x,
                   const float* w, float* y, int64_t workspace_limit);
  ~CudnnConvolution();
  CudnnConvolution(const CudnnConvolution&) = delete;
  CudnnConvolution& operator=(const CudnnConvolution&) = delete;

  int candidates() const;
  std::string algorithm(int candidate) const;  // "fft + bias"
  // Enqueues on the context's stream.
  void run(int candidate, const float* x, const float* w, const float* bias, float* y) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace strand::tools
