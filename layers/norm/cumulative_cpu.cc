// CumulativeLayerNorm on the CPU, batch elements shared by the threads: the moments of 32 neighbouring times' channels
// side by side, then merged into those of all times before one time after the other, so that a signal in pieces has the
// same bits.

#include <array>
#include <cstring>

#include "engine/checked.h"
#include "layers/implementation_list.h"
#include "layers/lanes.h"
#include "layers/norm/cumulative.h"
#include "layers/norm/moments.h"
#include "layers/packets_cpu.h"

namespace strand::layers {
namespace {

using LaneMoments = std::array<Moments, Lanes::kCount>;

// Of each of `count` neighbouring times' channels.
LaneMoments moments_of(const CumulativeProblem& p, const float* x, int64_t count) {
  LaneMoments moments;
  moments.fill({static_cast<double>(p.channels), 0, 0});
  for (int64_t c = 0; c < p.channels; ++c) {
    const Lanes values = Lanes::load(x + c * p.length, count);
    for (int lane = 0; lane < Lanes::kCount; ++lane) {
      moments[static_cast<size_t>(lane)].mean += static_cast<double>(values[lane]);
    }
  }
  for (Moments& own : moments) own.mean /= own.count;
  for (int64_t c = 0; c < p.channels; ++c) {
    const Lanes values = Lanes::load(x + c * p.length, count);
    for (int lane = 0; lane < Lanes::kCount; ++lane) {
      Moments& own = moments[static_cast<size_t>(lane)];
      const double deviation = static_cast<double>(values[lane]) - own.mean;
      own.m2 += deviation * deviation;
    }
  }
  return moments;
}

class CumulativeKernel final : public Kernel {
 public:
  CumulativeKernel(const CumulativeLayerNorm& layer, const PrepareArgs& args)
      : layer_(layer),
        gamma_(args.weights.floats("gamma")),
        beta_(args.weights.floats("beta")),
        batch_(args.inputs[0].shape[0]) {}

  int64_t state_bytes() const override { return checked_mul(batch_, int64_t{sizeof(Moments)}); }

  void run(const Context& context, const Bindings& bindings) const override {
    const CumulativeProblem p = layer_.problem(bindings.inputs[0].shape());
    context.parallel_for(p.batch, kGrain / (p.channels * p.length + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        Moments past{0, 0, 0};
        std::byte* kept = bindings.state != nullptr ? bindings.state + n * static_cast<int64_t>(sizeof past) : nullptr;
        if (kept != nullptr) std::memcpy(&past, kept, sizeof past);
        const int64_t offset = n * p.channels * p.length;
        for (int64_t t = 0; t < p.length; t += Lanes::kCount) {
          normalise_times(p, past, bindings.inputs[0].ptr<const float>() + offset + t,
                          bindings.outputs[0].ptr<float>() + offset + t,
                          std::min<int64_t>(Lanes::kCount, p.length - t));
        }
        if (kept != nullptr) std::memcpy(kept, &past, sizeof past);
      }
    });
  }

 private:
  void normalise_times(const CumulativeProblem& p, Moments& past, const float* x, float* y, int64_t count) const {
    const LaneMoments moments = moments_of(p, x, count);
    Lanes high = Lanes::all(0);
    Lanes low = high;
    Lanes scale = high;
    for (int lane = 0; lane < count; ++lane) {
      past = merge(past, moments[static_cast<size_t>(lane)]);
      const Statistics own = statistics_of(past, p.eps);
      high[lane] = own.high;
      low[lane] = own.low;
      scale[lane] = own.scale;
    }
    const auto* gamma = reinterpret_cast<const float*>(gamma_->data());
    const auto* beta = reinterpret_cast<const float*>(beta_->data());
    for (int64_t c = 0; c < p.channels; ++c) {
      const Lanes values = Lanes::load(x + c * p.length, count);
      each_lane([&](int lane) {
        return multiply_add(Statistics{high[lane], low[lane], scale[lane]}.normal(values[lane]), gamma[c], beta[c]);
      }).store(y + c * p.length, count);
    }
  }

  CumulativeLayerNorm layer_;
  std::shared_ptr<const Buffer> gamma_;
  std::shared_ptr<const Buffer> beta_;
  int64_t batch_;
};

}  // namespace

std::unique_ptr<Kernel> cumulative_cpu(const CumulativeLayerNorm& layer, const PrepareArgs& args) {
  return std::make_unique<CumulativeKernel>(layer, args);
}

}  // namespace strand::layers
