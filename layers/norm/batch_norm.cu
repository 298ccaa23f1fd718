// BatchNorm1d on CUDA: y[n, c, t] = scale[c] * x[n, c, t] + shift[c], both folded from the parameters beforehand.
//
// Mapping: the tensor is flat; a thread takes four 16-byte vectors where the length is a multiple of 4 (then a vector
// lies in one channel), else four single elements, neighbours in neighbouring threads. Coefficients come from the
// cache. Limits: none on size. Bound by bytes: 8 an element.

#include "layers/cuda_launch.cuh"
#include "layers/implementation_list.h"
#include "layers/norm/batch_norm.h"
#include "layers/norm/cumulative.h"
#include "layers/norm/normalise.h"

namespace strand::layers {
namespace {

__device__ float scale_shift(float x, float scale, float shift) { return fmaf(x, scale, shift); }
__device__ cuda::Float4 scale_shift(cuda::Float4 x, float scale, float shift) {
#pragma unroll
  for (float& v : x.v) v = fmaf(v, scale, shift);
  return x;
}

template <class Vector>
struct ScaleShift {
  const Vector* x;
  Vector* y;
  const float* coefficients;  // [scale of all channels, shift of all channels]
  int64_t length;             // in vectors
  int64_t channels;
  template <class Index>
  __device__ Vector load(Index i) const {
    return x[i];
  }
  template <class Index>
  __device__ void store(Index i, const Vector& value) const {
    const Index channel = i / static_cast<Index>(length) % static_cast<Index>(channels);
    y[i] = scale_shift(value, __ldg(coefficients + channel), __ldg(coefficients + channels + channel));
  }
};

template <class Vector>
void launch(const Context& context, const ChannelRows& rows, const void* x, void* y, const float* coefficients) {
  const int64_t length = rows.length / static_cast<int64_t>(sizeof(Vector) / sizeof(float));
  cuda::launch_flat(
      context, "BatchNorm1d", rows.rows * length,
      ScaleShift<Vector>{static_cast<const Vector*>(x), static_cast<Vector*>(y), coefficients, length, rows.channels});
}

}  // namespace

void norm_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  if (const auto* normalise = dynamic_cast<const Normalise*>(&layer)) return normalise_cuda(*normalise, args, list);
  if (const auto* cumulative = dynamic_cast<const CumulativeLayerNorm*>(&layer)) {
    return cumulative_cuda(*cumulative, args, list);
  }
  const auto& norm = static_cast<const BatchNorm1d&>(layer);
  list.push_back(float32_implementation(args, "cuda.native", [&norm, &args] {
    const ChannelRows rows = channel_rows(args.inputs[0].shape);
    return function_kernel(
        [rows, packed = norm.packed(args.weights)](const Context& context, const Bindings& bindings) {
          const void* x = bindings.inputs[0].data;
          void* y = bindings.outputs[0].data;
          const auto* coefficients = reinterpret_cast<const float*>(packed->data());
          const bool vectors = rows.length % 4 == 0 && cuda::aligned16(x) && cuda::aligned16(y);
          (vectors ? launch<cuda::Float4> : launch<float>)(context, rows, x, y, coefficients);
        });
  }));
}

}  // namespace strand::layers
