// CumulativeLayerNorm on CUDA, [N, C, L]: cumulative_held.cu's up to 512 channels, else in three launches:
// moments: a thread a time (neighbours in neighbouring threads), over its channels in two passes, to the workspace;
// scan: a block a batch element; each thread merges a stretch of times, one thread the stretches' moments in order, and
//   then each thread writes its times' statistics, again in order;
// values: flat, an element a thread.
// The channels are read three times, from the cache where a few times' channels fit. Sums are in double, in the same
// order each run. Limits: 64-bit sizes; the grid rides on x.

#include "layers/cuda_launch.cuh"
#include "layers/implementation_list.h"
#include "layers/norm/cumulative.h"
#include "layers/norm/cumulative_held.h"
#include "layers/norm/moments.h"

namespace strand::layers {
namespace {

constexpr int kThreads = cuda::kThreads;

struct TimeMoments {
  const float* x;
  Moments* moments;  // [N, L]
  int64_t channels;
  int64_t length;

  template <class Index>
  __device__ Moments load(Index i) const {
    const Index n = i / static_cast<Index>(length);
    const float* own = x + static_cast<int64_t>(n) * (channels - 1) * length + i;
    double sum = 0;
    for (int64_t c = 0; c < channels; ++c) sum += static_cast<double>(own[c * length]);
    const double mean = sum / static_cast<double>(channels);
    double squares = 0;
    for (int64_t c = 0; c < channels; ++c) {
      const double deviation = static_cast<double>(own[c * length]) - mean;
      squares += deviation * deviation;
    }
    return {static_cast<double>(channels), mean, squares};
  }
  template <class Index>
  __device__ void store(Index i, const Moments& value) const {
    moments[i] = value;
  }
};

__global__ void __launch_bounds__(kThreads)
    scan_kernel(const Moments* __restrict__ moments, Statistics* __restrict__ statistics, int64_t length, double eps) {
  __shared__ Moments shared[kThreads];
  const int self = static_cast<int>(threadIdx.x);
  const int64_t step = (length + kThreads - 1) / kThreads;
  const int64_t begin = min(self * step, length);
  const int64_t end = min(begin + step, length);
  moments += blockIdx.x * length;
  statistics += blockIdx.x * length;
  Moments own{0, 0, 0};
  for (int64_t t = begin; t < end; ++t) own = merge(own, moments[t]);
  shared[self] = own;
  __syncthreads();
  if (self == 0) {
    Moments past{0, 0, 0};
    for (int i = 0; i < kThreads; ++i) {
      const Moments next = merge(past, shared[i]);
      shared[i] = past;
      past = next;
    }
  }
  __syncthreads();
  Moments past = shared[self];
  for (int64_t t = begin; t < end; ++t) {
    past = merge(past, moments[t]);
    statistics[t] = statistics_of(past, eps);
  }
}

struct Values {
  const float* x;
  float* y;
  const Statistics* statistics;  // [N, L]
  const float* gamma;
  const float* beta;
  int64_t channels;
  int64_t length;

  template <class Index>
  __device__ float load(Index i) const {
    return x[i];
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    const Index row = i / static_cast<Index>(length);
    const Index n = row / static_cast<Index>(channels);
    const Index channel = row - n * static_cast<Index>(channels);
    const Index t = i - row * static_cast<Index>(length);
    const Statistics own = statistics[static_cast<int64_t>(n) * length + t];
    y[i] = fmaf(own.normal(value), __ldg(gamma + channel), __ldg(beta + channel));
  }
};

}  // namespace

void cumulative_cuda(const CumulativeLayerNorm& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  list.push_back(float32_implementation(args, "cuda.native", [&layer, &args] {
    const CumulativeProblem p = layer.problem(args.inputs[0].shape);
    const int64_t times = checked_mul(p.batch, p.length);
    const bool held = is_held_cumulative(p);
    const int64_t bytes = held ? held_cumulative_workspace(p)
                               : checked_mul(times, static_cast<int64_t>(sizeof(Moments) + sizeof(Statistics)));
    return function_kernel(
        [p, times, held, gamma = args.weights.floats("gamma"), beta = args.weights.floats("beta")](
            const Context& context, const Bindings& bindings) {
          if (times == 0) return;
          const auto* x = bindings.inputs[0].ptr<const float>();
          auto* y = bindings.outputs[0].ptr<float>();
          const auto* gammas = reinterpret_cast<const float*>(gamma->data());
          const auto* betas = reinterpret_cast<const float*>(beta->data());
          if (held) return held_cumulative(context, p, gammas, betas, x, y, bindings.workspace);
          auto* moments = reinterpret_cast<Moments*>(bindings.workspace);
          auto* statistics = reinterpret_cast<Statistics*>(moments + times);
          cuda::launch_flat(context, "cumulative moments", times, TimeMoments{x, moments, p.channels, p.length});
          scan_kernel<<<cuda::grid_size(p.batch, "cumulative scan"), kThreads, 0, cuda::stream(context)>>>(
              moments, statistics, p.length, p.eps);
          cuda::check_launch("cumulative scan");
          cuda::launch_flat(context, "CumulativeLayerNorm", times * p.channels,
                            Values{x, y, statistics, gammas, betas, p.channels, p.length});
        },
        bytes);
  }));
}

}  // namespace strand::layers
