#pragma once
// LowPassUpsample and LowPassDownsample: BigVGAN's resamplers (alias_free_torch's UpSample1d and DownSample1d), and
// denoiser's. One filter for all channels: a weight named `filter` of shape [1, 1, kernel_size], or a sinc under a Hann
// window, whose middle is tap `pad`. The ends are replicated, or zeros go before and after. Immutable.
//   up:   y[t] = ratio * sum over k of filter[k] * x[(t + pad - k) / ratio]   over the taps whose division is exact
//   down: y[t] = sum over k of filter[k] * x[t * ratio + k - pad]

#include <memory>
#include <vector>

#include "layers/host_device.h"
#include "layers/layer.h"

namespace strand::layers {

struct ResampleProblem {
  bool up = false;
  bool zeros = false;  // at the ends
  int64_t rows = 0;    // batch and channels
  int64_t length = 0;
  int64_t out_length = 0;
  int64_t ratio = 2;
  int64_t taps = 12;
  int64_t pad = 0;
  int64_t in_start = 0;  // the time of x[0], and of y[0]
  int64_t out_start = 0;
};

// The taps of an output: first, first + step, ..., below `taps`, which read x[at], x[at + move], ..., and past x its
// ends.
struct ResampleTaps {
  int64_t first;
  int64_t step;
  int64_t at;
  int64_t move;
};
STRAND_HD inline ResampleTaps resample_taps(const ResampleProblem& p, int64_t t) {
  const int64_t time = t + p.out_start;
  if (!p.up) return {0, 1, time * p.ratio - p.pad - p.in_start, 1};
  const int64_t position = time + p.pad;
  const int64_t first = position % p.ratio;
  return {first, p.ratio, position / p.ratio - p.in_start, -1};
}
template <class T>
STRAND_HD T resample_sample(const ResampleProblem& p, const T* x, int64_t at) {
  if (at >= 0 && at < p.length) return x[at];
  return p.zeros ? T(0) : x[at < 0 ? 0 : p.length - 1];
}

class Resample final : public Layer {
 public:
  // Error(kSchema) where the filter does not reach over two samples of the slower signal.
  Resample(bool up, int64_t ratio, int64_t kernel_size, bool sinc, bool zeros);

  ResampleProblem problem(const Shape& shape) const;
  std::vector<double> filter(const Weights& weights) const;
  std::shared_ptr<const Buffer> packed(const Weights& weights) const;  // floats, on the weights' device

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  std::vector<Parameter> parameters() const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  int64_t multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType> outputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

 private:
  ResampleProblem fixed_;  // all but rows and lengths
  bool sinc_;
};

ResampleProblem stretch_of(ResampleProblem problem, const Bindings& bindings);
std::unique_ptr<Kernel> resample_cpu(const ResampleProblem& problem, std::shared_ptr<const Buffer> filter);
void resample_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
