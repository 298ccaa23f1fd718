#include "layers/norm/cumulative.h"

#include <cmath>
#include <cstring>
#include <string>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/implementation_list.h"
#include "layers/norm/batch_norm.h"

namespace strand::layers {
namespace {

// What a batch element's times so far add up to; all zeros where a signal begins.
struct Sums {
  double count;
  double sum;
  double deviations;  // squared, from the mean
};

// The definition: the moments of all values so far, a value after the other (Welford 1962); or with `magnitudes` the
// scale of a float's error.
class Reference final : public Kernel {
 public:
  Reference(const CumulativeLayerNorm& layer, const PrepareArgs& args, DType dtype, bool magnitudes)
      : layer_(layer),
        gamma_(args.weights.doubles("gamma")),
        beta_(args.weights.doubles("beta")),
        dtype_(dtype),
        magnitudes_(magnitudes),
        batch_(args.inputs[0].shape[0]) {}

  int64_t state_bytes() const override { return checked_mul(batch_, int64_t{sizeof(Sums)}); }

  void run(const Context&, const Bindings& bindings) const override {
    dtype_ == DType::kFloat64 ? compute<double>(bindings) : compute<float>(bindings);
  }

 private:
  template <class T>
  void compute(const Bindings& bindings) const {
    const CumulativeProblem p = layer_.problem(bindings.inputs[0].shape());
    for (int64_t n = 0; n < p.batch; ++n) {
      Sums sums{};
      std::byte* kept = bindings.state != nullptr ? bindings.state + n * static_cast<int64_t>(sizeof sums) : nullptr;
      if (kept != nullptr) std::memcpy(&sums, kept, sizeof sums);
      const int64_t offset = n * p.channels * p.length;
      for (int64_t t = 0; t < p.length; ++t) {
        normalise_time(p, sums, bindings.inputs[0].ptr<const T>() + offset + t,
                       bindings.outputs[0].ptr<T>() + offset + t);
      }
      if (kept != nullptr) std::memcpy(kept, &sums, sizeof sums);
    }
  }

  template <class T>
  void normalise_time(const CumulativeProblem& p, Sums& sums, const T* x, T* y) const {
    double magnitude = 0;
    for (int64_t c = 0; c < p.channels; ++c) {
      const auto value = static_cast<double>(x[c * p.length]);
      const double before = sums.count > 0 ? sums.sum / sums.count : value;
      sums.count += 1;
      sums.sum += value;
      sums.deviations += (value - before) * (value - sums.sum / sums.count);
      magnitude += std::fabs(value) / static_cast<double>(p.channels);
    }
    const double mean = sums.sum / sums.count;
    const double scale = 1 / std::sqrt(sums.deviations / sums.count + p.eps);
    for (int64_t c = 0; c < p.channels; ++c) {
      const double gamma = reinterpret_cast<const double*>(gamma_->data())[c];
      const double beta = reinterpret_cast<const double*>(beta_->data())[c];
      const double normal = (static_cast<double>(x[c * p.length]) - mean) * scale;
      const double lost = (magnitude + std::fabs(mean)) * scale / 16;  // of what statistics in float would cost
      y[c * p.length] = static_cast<T>(magnitudes_ ? (std::fabs(normal) + lost) * std::fabs(gamma) + std::fabs(beta)
                                                   : normal * gamma + beta);
    }
  }

  CumulativeLayerNorm layer_;
  std::shared_ptr<const Buffer> gamma_;
  std::shared_ptr<const Buffer> beta_;
  DType dtype_;
  bool magnitudes_;
  int64_t batch_;
};

}  // namespace

CumulativeProblem CumulativeLayerNorm::problem(const Shape& shape) const {
  if (shape.rank() != 3 || shape[1] != channel_size_) {
    throw Error(ErrorCategory::kShape,
                "input is " + to_string(shape) + ", expected [N, " + std::to_string(channel_size_) + ", L]");
  }
  return {shape[0], shape[1], shape[2], eps_};
}

std::vector<TensorType> CumulativeLayerNorm::infer(std::span<const TensorType> inputs) const {
  problem(inputs[0].shape);  // for its check
  return {inputs[0]};
}

std::vector<Parameter> CumulativeLayerNorm::parameters() const {
  return {{"gamma", {channel_size_}, Init::kOnes}, {"beta", {channel_size_}, Init::kZeros}};
}

TimeMap CumulativeLayerNorm::time_map(int, int, std::span<const TensorType> inputs) const {
  if (inputs[0].time_axis == 2) return TimeMap::recurrent();
  return inputs[0].time_axis == 1 ? TimeMap::all("CumulativeLayerNorm's channels are the times") : TimeMap::pointwise();
}

std::vector<Implementation> CumulativeLayerNorm::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  norm_cuda(*this, args, list);
  list.push_back(float32_implementation(args, "cpu.native", [this, &args] { return cumulative_cpu(*this, args); }));
  list.push_back({"cpu.reference", DeviceType::kCpu, unless_floating(args), [this, &args]() -> std::unique_ptr<Kernel> {
                    return std::make_unique<Reference>(*this, args, args.outputs[0].dtype, false);
                  }});
  return list;
}

ErrorBound CumulativeLayerNorm::error_bound(const PrepareArgs& args) const {
  return {8, std::make_unique<Reference>(*this, args, DType::kFloat64, true)};
}

}  // namespace strand::layers
