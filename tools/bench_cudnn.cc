#include "tools/bench_cudnn.h"

#include <cudnn.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "engine/buffer.h"
#include "engine/error.h"

// The older interface finds the best algorithm in one call; cuDNN 9 calls it deprecated.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace strand::tools {
namespace {

void check(cudnnStatus_t status, const char* what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  const auto category = status == CUDNN_STATUS_NOT_SUPPORTED ? ErrorCategory::kUnsupported : ErrorCategory::kDevice;
  throw Error(category, fmt::format("{}: {}", what, cudnnGetErrorString(status)));
}

int to_int(int64_t size) {
  if (size > std::numeric_limits<int>::max()) {
    throw Error(ErrorCategory::kUnsupported, "cuDNN's descriptors take sizes below 2^31");
  }
  return static_cast<int>(size);
}

// A handle or descriptor of cuDNN's, destroyed with its owner.
template <class Handle, auto Create, auto Destroy>
class Owned {
 public:
  Owned() { check(Create(&handle_), "cudnnCreate"); }
  ~Owned() { Destroy(handle_); }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};

using Library = Owned<cudnnHandle_t, cudnnCreate, cudnnDestroy>;
using TensorDescriptor = Owned<cudnnTensorDescriptor_t, cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor>;
using FilterDescriptor = Owned<cudnnFilterDescriptor_t, cudnnCreateFilterDescriptor, cudnnDestroyFilterDescriptor>;
using ConvolutionDescriptor =
    Owned<cudnnConvolutionDescriptor_t, cudnnCreateConvolutionDescriptor, cudnnDestroyConvolutionDescriptor>;

using ActivationDescriptor =
    Owned<cudnnActivationDescriptor_t, cudnnCreateActivationDescriptor, cudnnDestroyActivationDescriptor>;

// The only algorithm that cudnnConvolutionBiasActivationForward takes without an activation.
constexpr cudnnConvolutionFwdAlgo_t kFusable = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;

struct Choice {
  cudnnConvolutionFwdAlgo_t algorithm{};
  cudnnMathType_t math{};
  size_t workspace = 0;  // bytes
  bool fused = false;    // the bias
};

const char* name_of(cudnnConvolutionFwdAlgo_t algorithm) {
  switch (algorithm) {
    case CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM:
      return "implicit gemm";
    case CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM:
      return "implicit precomp gemm";
    case CUDNN_CONVOLUTION_FWD_ALGO_GEMM:
      return "gemm";
    case CUDNN_CONVOLUTION_FWD_ALGO_DIRECT:
      return "direct";
    case CUDNN_CONVOLUTION_FWD_ALGO_FFT:
      return "fft";
    case CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING:
      return "fft tiling";
    case CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD:
      return "winograd";
    case CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED:
      return "winograd nonfused";
    default:
      return "unknown";
  }
}

}  // namespace

struct CudnnConvolution::State {
  Library library;
  TensorDescriptor input;
  TensorDescriptor output;
  FilterDescriptor filter;
  ConvolutionDescriptor convolution;
  TensorDescriptor bias;
  ActivationDescriptor no_activation;
  std::vector<Choice> choices;
  Buffer workspace;

  void describe(const ConvSizes& sizes, CudnnMath math) const;
  void choose(Device device, CudnnMath math, CudnnSearch search, const float* x, const float* w, float* y,
              int64_t workspace_limit);

 private:
  using Found = std::array<cudnnConvolutionFwdAlgoPerf_t, CUDNN_CONVOLUTION_FWD_ALGO_COUNT>;
  // How many there are, the fastest first; those that failed come last.
  int measure(Device device, const float* x, const float* w, float* y, int64_t workspace_limit, Found& found) const;
};

void CudnnConvolution::State::describe(const ConvSizes& sizes, CudnnMath math) const {
  check(cudnnSetTensor4dDescriptor(input.get(), CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, to_int(sizes.batch),
                                   to_int(sizes.in_channels), 1, to_int(sizes.length)),
        "cudnnSetTensor4dDescriptor");
  check(cudnnSetTensor4dDescriptor(output.get(), CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, to_int(sizes.batch),
                                   to_int(sizes.out_channels), 1, to_int(sizes.output_length())),
        "cudnnSetTensor4dDescriptor");
  check(cudnnSetFilter4dDescriptor(filter.get(), CUDNN_DATA_FLOAT, CUDNN_TENSOR_NCHW, to_int(sizes.out_channels),
                                   to_int(sizes.in_channels / sizes.groups), 1, to_int(sizes.kernel_size)),
        "cudnnSetFilter4dDescriptor");
  check(cudnnSetConvolution2dDescriptor(convolution.get(), 0, to_int(sizes.padding), 1, to_int(sizes.stride), 1,
                                        to_int(sizes.dilation), CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
        "cudnnSetConvolution2dDescriptor");
  check(
      cudnnSetTensor4dDescriptor(bias.get(), CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, 1, to_int(sizes.out_channels), 1, 1),
      "cudnnSetTensor4dDescriptor");
  check(cudnnSetActivationDescriptor(no_activation.get(), CUDNN_ACTIVATION_IDENTITY, CUDNN_NOT_PROPAGATE_NAN, 0),
        "cudnnSetActivationDescriptor");
  check(cudnnSetConvolutionGroupCount(convolution.get(), to_int(sizes.groups)), "cudnnSetConvolutionGroupCount");
  // The default allows TF32 for float32 tensors; FMA does not.
  check(cudnnSetConvolutionMathType(convolution.get(), math == CudnnMath::kTf32 ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH),
        "cudnnSetConvolutionMathType");
}

int CudnnConvolution::State::measure(Device device, const float* x, const float* w, float* y, int64_t workspace_limit,
                                     Found& found) const {
  int count = 0;
  const Buffer scratch(device, workspace_limit);
  check(cudnnFindConvolutionForwardAlgorithmEx(library.get(), input.get(), x, filter.get(), w, convolution.get(),
                                               output.get(), y, static_cast<int>(found.size()), &count, found.data(),
                                               scratch.data(), static_cast<size_t>(workspace_limit)),
        "cudnnFindConvolutionForwardAlgorithmEx");
  return count;
}

void CudnnConvolution::State::choose(Device device, CudnnMath math, CudnnSearch search, const float* x, const float* w,
                                     float* y, int64_t workspace_limit) {
  const bool measured = search == CudnnSearch::kMeasured;
  Found found{};
  int count = 0;
  if (measured) {
    count = measure(device, x, w, y, workspace_limit, found);
  } else {
    check(cudnnGetConvolutionForwardAlgorithm_v7(library.get(), input.get(), filter.get(), convolution.get(),
                                                 output.get(), static_cast<int>(found.size()), &count, found.data()),
          "cudnnGetConvolutionForwardAlgorithm_v7");
  }
  std::optional<Choice> fusable;
  for (const cudnnConvolutionFwdAlgoPerf_t& perf : std::span(found).first(static_cast<size_t>(count))) {
    if (perf.status != CUDNN_STATUS_SUCCESS || perf.memory > static_cast<size_t>(workspace_limit)) continue;
    Choice choice{perf.algo, math == CudnnMath::kTf32 ? perf.mathType : CUDNN_FMA_MATH, perf.memory, false};
    if (choices.empty()) choices.push_back(choice);
    choice.fused = true;
    if (perf.algo == kFusable && !fusable) fusable = choice;
  }
  if (choices.empty()) throw Error(ErrorCategory::kUnsupported, "cuDNN has no algorithm for these sizes");
  if (fusable) choices.push_back(*fusable);
  size_t bytes = 0;
  for (const Choice& choice : choices) bytes = std::max(bytes, choice.workspace);
  workspace = Buffer(device, static_cast<int64_t>(bytes));
}

bool built_with_cudnn() { return true; }

std::string cudnn_version() {
  const size_t version = cudnnGetVersion();
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

CudnnConvolution::CudnnConvolution(const Context& context, const ConvSizes& sizes, CudnnMath math, CudnnSearch search,
                                   const float* x, const float* w, float* y, int64_t workspace_limit)
    : state_(std::make_unique<State>()) {
  check(cudnnSetStream(state_->library.get(), static_cast<cudaStream_t>(context.stream())), "cudnnSetStream");
  state_->describe(sizes, math);
  state_->choose(context.device(), math, search, x, w, y, workspace_limit);
}

CudnnConvolution::~CudnnConvolution() = default;

int CudnnConvolution::candidates() const { return static_cast<int>(state_->choices.size()); }

std::string CudnnConvolution::algorithm(int candidate) const {
  const Choice& choice = state_->choices[static_cast<size_t>(candidate)];
  return fmt::format("{}{}", name_of(choice.algorithm), choice.fused ? ", bias fused" : " + bias");
}

void CudnnConvolution::run(int candidate, const float* x, const float* w, const float* bias, float* y) const {
  const State& s = *state_;
  const Choice& choice = s.choices[static_cast<size_t>(candidate)];
  const float one = 1;
  const float zero = 0;
  const auto bytes = static_cast<size_t>(s.workspace.bytes());
  check(cudnnSetConvolutionMathType(s.convolution.get(), choice.math), "cudnnSetConvolutionMathType");
  if (choice.fused) {
    check(cudnnConvolutionBiasActivationForward(s.library.get(), &one, s.input.get(), x, s.filter.get(), w,
                                                s.convolution.get(), choice.algorithm, s.workspace.data(), bytes, &zero,
                                                s.output.get(), y, s.bias.get(), bias, s.no_activation.get(),
                                                s.output.get(), y),
          "cudnnConvolutionBiasActivationForward");
    return;
  }
  check(cudnnConvolutionForward(s.library.get(), &one, s.input.get(), x, s.filter.get(), w, s.convolution.get(),
                                choice.algorithm, s.workspace.data(), bytes, &zero, s.output.get(), y),
        "cudnnConvolutionForward");
  check(cudnnAddTensor(s.library.get(), &one, s.bias.get(), bias, &one, s.output.get(), y), "cudnnAddTensor");
}

}  // namespace strand::tools
