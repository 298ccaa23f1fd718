// Normalising on the CPU. A contiguous row is taken in chunks that stay in the cache: each one's moments in two passes,
// merged in order, so that the bits depend on neither threads nor place. Rows of one chunk are normalised at once; long
// ones share the threads chunk by chunk. Where rows are not contiguous, neighbours lie side by side and go a lane each.

#include <array>

#include "engine/checked.h"
#include "layers/axes.h"
#include "layers/implementation_list.h"
#include "layers/lanes.h"
#include "layers/norm/moments.h"
#include "layers/norm/normalise.h"
#include "layers/packets_cpu.h"

namespace strand::layers {
namespace {

constexpr int64_t kChunk = 8192;
constexpr int64_t kSums = 16;

// The sum of term(x[i]) in double, in an order that depends on the count alone.
template <class Term>
double sum_of(const float* x, int64_t count, Term term) {
  std::array<double, kSums> sums{};
  int64_t i = 0;
  for (; i + kSums <= count; i += kSums) {
    for (int64_t j = 0; j < kSums; ++j) sums[static_cast<size_t>(j)] += term(static_cast<double>(x[i + j]));
  }
  for (int64_t j = 0; i + j < count; ++j) sums[static_cast<size_t>(j)] += term(static_cast<double>(x[i + j]));
  double sum = 0;
  for (const double value : sums) sum += value;
  return sum;
}

Moments moments_of(const float* x, int64_t count, bool centred) {
  const auto size = static_cast<double>(count);
  const double mean = centred ? sum_of(x, count, [](double value) { return value; }) / size : 0;
  return {size, mean, sum_of(x, count, [mean](double value) { return (value - mean) * (value - mean); })};
}

// [begin, end) of a row; w and b are the parameters of the row's first element.
void normalise_part(const Statistics& statistics, int64_t repeat, const float* w, const float* b, const float* x,
                    float* y, int64_t begin, int64_t end) {
  if (repeat == 1) {
    for (int64_t i = begin; i < end; ++i) y[i] = multiply_add(statistics.normal(x[i]), w[i], b[i]);
    return;
  }
  for_each_stretch(begin, end, repeat, [&](int64_t index, int64_t column, int64_t count) {
    const float weight = w[index];
    const float bias = b[index];
    const float* from = x + index * repeat + column;
    float* to = y + index * repeat + column;
    for (int64_t i = 0; i < count; ++i) to[i] = multiply_add(statistics.normal(from[i]), weight, bias);
  });
}

// `count` rows side by side, at most as many as there are lanes.
void normalise_columns(const NormProblem& p, const float* w, const float* b, const float* x, float* y, int64_t count) {
  std::array<Moments, Lanes::kCount> moments;
  moments.fill({static_cast<double>(p.size), 0, 0});
  for (int64_t i = 0; p.centred && i < p.size; ++i) {
    const Lanes values = Lanes::load(x + i * p.inner, count);
    for (int lane = 0; lane < Lanes::kCount; ++lane) {
      moments[static_cast<size_t>(lane)].mean += static_cast<double>(values[lane]);
    }
  }
  for (Moments& own : moments) own.mean /= own.count;
  for (int64_t i = 0; i < p.size; ++i) {
    const Lanes values = Lanes::load(x + i * p.inner, count);
    for (int lane = 0; lane < Lanes::kCount; ++lane) {
      Moments& own = moments[static_cast<size_t>(lane)];
      const double deviation = static_cast<double>(values[lane]) - own.mean;
      own.m2 += deviation * deviation;
    }
  }
  Lanes high;
  Lanes low;
  Lanes scale;
  for (int lane = 0; lane < Lanes::kCount; ++lane) {
    const Statistics own = statistics_of(moments[static_cast<size_t>(lane)], p.eps);
    high[lane] = own.high;
    low[lane] = own.low;
    scale[lane] = own.scale;
  }
  for (int64_t i = 0; i < p.size; ++i) {
    const Lanes values = Lanes::load(x + i * p.inner, count);
    each_lane([&](int lane) {
      return multiply_add(Statistics{high[lane], low[lane], scale[lane]}.normal(values[lane]), w[i], b[i]);
    }).store(y + i * p.inner, count);
  }
}

class NormaliseKernel final : public Kernel {
 public:
  NormaliseKernel(const Normalise& layer, const PrepareArgs& args)
      : layer_(layer), packed_(layer.packed(args.weights)) {
    const NormProblem p = layer.problem(args.inputs[0].shape);
    const int64_t chunks = ceil_div(p.size, kChunk);
    if (layer.contiguous_rows(args.inputs[0].shape) && chunks > 1) {
      workspace_bytes_ = checked_mul(checked_mul(p.outer, chunks), int64_t{sizeof(Moments)});
    }
  }

  int64_t workspace_bytes() const override { return workspace_bytes_; }

  void run(const Context& context, const Bindings& bindings) const override {
    const NormProblem p = layer_.problem(bindings.inputs[0].shape());
    if (p.elements() == 0) return;
    const auto* x = bindings.inputs[0].ptr<const float>();
    auto* y = bindings.outputs[0].ptr<float>();
    if (!layer_.contiguous_rows(bindings.inputs[0].shape())) {
      run_columns(context, p, x, y);
    } else if (p.size <= kChunk) {
      run_rows(context, p, x, y);
    } else {
      run_chunks(context, p, x, y, reinterpret_cast<Moments*>(bindings.workspace));
    }
  }

 private:
  // The weights of a row's first element; biases lie parameters() further.
  const float* weights(const NormProblem& p, int64_t row) const {
    return reinterpret_cast<const float*>(packed_->data()) + row % p.groups * (p.size / p.repeat);
  }

  void run_rows(const Context& context, const NormProblem& p, const float* x, float* y) const {
    context.parallel_for(p.outer, kGrain / p.size + 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const float* from = x + row * p.size;
        const Statistics statistics = statistics_of(moments_of(from, p.size, p.centred), p.eps);
        const float* w = weights(p, row);
        normalise_part(statistics, p.repeat, w, w + p.parameters(), from, y + row * p.size, 0, p.size);
      }
    });
  }

  void run_chunks(const Context& context, const NormProblem& p, const float* x, float* y, Moments* moments) const {
    const int64_t chunks = ceil_div(p.size, kChunk);
    const auto for_each_chunk = [&](auto body) {
      context.parallel_for(p.outer * chunks, 1, [&](int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; ++item) {
          const int64_t first = item % chunks * kChunk;
          body(item, item / chunks, first, std::min(p.size, first + kChunk));
        }
      });
    };
    for_each_chunk([&](int64_t item, int64_t row, int64_t first, int64_t end) {
      moments[item] = moments_of(x + row * p.size + first, end - first, p.centred);
    });
    for (int64_t row = 0; row < p.outer; ++row) {
      Moments* own = moments + row * chunks;
      for (int64_t i = 1; i < chunks; ++i) own[0] = merge(own[0], own[i]);
    }
    for_each_chunk([&](int64_t, int64_t row, int64_t first, int64_t end) {
      const float* w = weights(p, row);
      normalise_part(statistics_of(moments[row * chunks], p.eps), p.repeat, w, w + p.parameters(), x + row * p.size,
                     y + row * p.size, first, end);
    });
  }

  void run_columns(const Context& context, const NormProblem& p, const float* x, float* y) const {
    const float* w = weights(p, 0);
    context.parallel_for(p.outer * p.inner, kGrain / p.size + 1, [&](int64_t begin, int64_t end) {
      for_each_stretch(begin, end, p.inner, [&](int64_t outer, int64_t inner, int64_t count) {
        for (int64_t i = 0; i < count; i += Lanes::kCount) {
          const int64_t offset = outer * p.size * p.inner + inner + i;
          normalise_columns(p, w, w + p.parameters(), x + offset, y + offset,
                            std::min<int64_t>(Lanes::kCount, count - i));
        }
      });
    });
  }

  Normalise layer_;
  std::shared_ptr<const Buffer> packed_;
  int64_t workspace_bytes_ = 0;
};

}  // namespace

std::unique_ptr<Kernel> normalise_cpu(const Normalise& layer, const PrepareArgs& args) {
  return std::make_unique<NormaliseKernel>(layer, args);
}

}  // namespace strand::layers
