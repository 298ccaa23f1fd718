// Upsample on CUDA: a thread an output, four of them a block's width apart, row by row (layers/cuda_launch.cuh);
// neighbours read the same or neighbouring inputs. Positions are exact: in 32 bits, by a multiplication in place of a
// division, where all of them fit; else in 64 with weights in double. Linear and to more samples than there were, a
// thread takes four outputs in a row where rows are whole vectors: the three to five inputs that they lie between are
// read once, and the store is one of 16 bytes. Limits: 64-bit sizes. Bound by bytes: 4 an output written and up to 4 an
// input read.

#include "layers/cuda_launch.cuh"
#include "layers/implementation_list.h"
#include "layers/upsample/upsample.h"

namespace strand::layers {
namespace {

__device__ float between(float low, float high, float low_weight, float high_weight) {
  return fmaf(high_weight, high, low_weight * low);
}

struct UpsampleBody {
  UpsampleProblem problem;
  const float* x;
  float* y;
  template <class Row, class Index>
  __device__ float load(Row row, Index column) const {
    const UpsamplePoint point = upsample_point(problem, static_cast<int64_t>(column));
    const float* source = x + static_cast<int64_t>(row) * problem.length;
    if (problem.mode == UpsampleMode::kNearest) return source[point.low];
    return between(source[point.low], source[point.high], static_cast<float>(1 - point.weight),
                   static_cast<float>(point.weight));
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

// Positions below 2^31, and denominators that a float holds: n / denominator is n * multiplier >> shift, with
// 2^(shift - 31) >= denominator and multiplier = ceil(2^shift / denominator), exact for all n < 2^31.
struct NarrowProblem {
  int64_t length;
  int32_t last;
  int32_t numerator;
  int32_t first;
  uint32_t denominator;
  uint32_t multiplier;
  int shift;
  float divisor;
  float reciprocal;

  // n / denominator, rounded once but for a rare last bit.
  __device__ float share(float n) const {
    const float near = n * reciprocal;
    return fmaf(fmaf(-near, divisor, n), reciprocal, near);
  }
};

template <bool kLinear>
struct NarrowUpsample {
  NarrowProblem p;
  const float* x;
  float* y;

  template <class Row, class Index>
  __device__ float load(Row row, Index column) const {
    const auto position = static_cast<uint32_t>(max(p.numerator * static_cast<int32_t>(column) + p.first, 0));
    const auto whole = static_cast<uint32_t>(static_cast<uint64_t>(position) * p.multiplier >> p.shift);
    const int low = min(static_cast<int>(whole), p.last);
    const float* source = x + static_cast<int64_t>(row) * p.length;
    if constexpr (!kLinear) return source[low];
    const auto rest = static_cast<float>(position - whole * p.denominator);
    return between(source[low], source[min(low + 1, p.last)], p.share(p.divisor - rest), p.share(rest));
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

// Four outputs, whose neighbours are kInputs inputs in a row. Denominators from 2 to 2^22, so that no weight rounds
// to 1. All loads of a thread come before its first sum.
template <int kInputs>
struct LinearVectors {
  NarrowProblem p;
  const float* x;
  cuda::Float4* y;

  struct Neighbours {
    float inputs[kInputs];
    int32_t first;  // position times the denominator, below 0 too
  };
  struct Position {
    uint32_t all;
    uint32_t whole;
  };
  __device__ Position position(int32_t scaled) const {
    const auto all = static_cast<uint32_t>(max(scaled, 0));
    return {all, __umulhi(all, p.multiplier) >> (p.shift - 32)};
  }

  template <class Row, class Index>
  __device__ Neighbours load(Row row, Index column) const {
    const float* source = x + static_cast<int64_t>(row) * p.length;
    Neighbours result;
    result.first = p.numerator * (4 * static_cast<int32_t>(column)) + p.first;
    const auto low = static_cast<int32_t>(position(result.first).whole);
#pragma unroll
    for (int i = 0; i < kInputs; ++i) result.inputs[i] = source[min(low + i, p.last)];
    return result;
  }
  template <class Index>
  __device__ void store(Index i, const Neighbours& from) const {
    cuda::Float4 result;
    uint32_t first = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const Position at = position(from.first + j * p.numerator);
      if (j == 0) first = at.whole;
      float low = from.inputs[0];
      float high = from.inputs[1];
#pragma unroll
      for (int k = 1; k <= j && k + 1 < kInputs; ++k) {
        const bool further = at.whole - first >= static_cast<uint32_t>(k);
        low = further ? from.inputs[k] : low;
        high = further ? from.inputs[k + 1] : high;
      }
      const float weight = p.share(static_cast<float>(at.all - at.whole * p.denominator));
      result.v[j] = between(low, high, 1 - weight, weight);
    }
    y[i] = result;
  }
};

// Whether NarrowProblem holds it.
bool is_narrow(const UpsampleProblem& p) {
  constexpr int64_t kLargestDenominator = int64_t{1} << 24;
  // Upsample::problem has checked that the sum fits 64 bits; first lies between -denominator and numerator.
  return p.in_start == 0 && p.out_start == 0 && p.denominator <= kLargestDenominator && p.length <= INT32_MAX &&
         p.numerator * p.out_length + p.denominator <= INT32_MAX;
}

NarrowProblem narrow(const UpsampleProblem& p) {
  int shift = 31;
  while ((int64_t{1} << (shift - 31)) < p.denominator) ++shift;
  const auto divisor = static_cast<float>(p.denominator);
  return {p.length,
          static_cast<int32_t>(p.length - 1),
          static_cast<int32_t>(p.numerator),
          static_cast<int32_t>(p.first),
          static_cast<uint32_t>(p.denominator),
          static_cast<uint32_t>(ceil_div(int64_t{1} << shift, p.denominator)),
          shift,
          divisor,
          1 / divisor};
}

bool in_vectors(const UpsampleProblem& p, const float* y) {
  return p.mode == UpsampleMode::kLinear && p.out_length % 4 == 0 && cuda::aligned16(y) &&
         p.numerator <= p.denominator && p.denominator >= 2 && p.denominator <= int64_t{1} << 22;
}

template <int kInputs>
void launch_vectors(const Context& context, const UpsampleProblem& p, const float* x, float* y) {
  cuda::launch_rows(context, "Upsample", p.rows, p.out_length / 4,
                    LinearVectors<kInputs>{narrow(p), x, reinterpret_cast<cuda::Float4*>(y)});
}

void upsample(const Context& context, const UpsampleProblem& p, const float* x, float* y) {
  if (!is_narrow(p)) return cuda::launch_rows(context, "Upsample", p.rows, p.out_length, UpsampleBody{p, x, y});
  if (p.mode == UpsampleMode::kNearest) {
    cuda::launch_rows(context, "Upsample", p.rows, p.out_length, NarrowUpsample<false>{narrow(p), x, y});
  } else if (in_vectors(p, y)) {
    // The fourth output lies 3 * numerator / denominator further than the first.
    const auto launch = 3 * p.numerator <= p.denominator       ? launch_vectors<3>
                        : 3 * p.numerator <= 2 * p.denominator ? launch_vectors<4>
                                                               : launch_vectors<5>;
    launch(context, p, x, y);
  } else {
    cuda::launch_rows(context, "Upsample", p.rows, p.out_length, NarrowUpsample<true>{narrow(p), x, y});
  }
}

}  // namespace

void upsample_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const UpsampleProblem problem = static_cast<const Upsample&>(layer).problem(args.inputs[0].shape);
  list.push_back(float32_implementation(args, "cuda.native", [problem] {
    return function_kernel([problem](const Context& context, const Bindings& bindings) {
      upsample(context, problem, bindings.inputs[0].ptr<const float>(), bindings.outputs[0].ptr<float>());
    });
  }));
}

}  // namespace strand::layers
