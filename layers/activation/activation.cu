// PReLU, Snake, gated units, Magnitude and FiLM on CUDA: the output is flat, a thread an element or four
// (layers/cuda_launch.cuh); halves and FiLM row by row. Parameters come from the cache; halves are two streams of
// reads, FiLM three, or one by a condition that is the same at all times. Limits: none on size. Bound by bytes: 8 an
// element, 12 an output for halves, 16 for FiLM (8 by a constant condition).

#include "layers/activation/activation.h"
#include "layers/cuda_launch.cuh"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

__device__ float activate(float x, float factor, float share, bool prelu) {
  if (prelu) return x > 0 ? x : x * factor;
  const float sine = sinf(factor * x);
  return fmaf(share, sine * sine, x);
}
__device__ cuda::Float4 activate(cuda::Float4 x, float factor, float share, bool prelu) {
#pragma unroll
  for (float& v : x.v) v = activate(v, factor, share, prelu);
  return x;
}

template <class Vector>
struct ChannelBody {
  const Vector* x;
  Vector* y;
  const float* values;  // [factors of all channels, shares of all channels]
  int64_t inner;        // in vectors
  int64_t channels;
  bool prelu;
  template <class Index>
  __device__ Vector load(Index i) const {
    return x[i];
  }
  template <class Index>
  __device__ void store(Index i, const Vector& value) const {
    const Index channel = i / static_cast<Index>(inner) % static_cast<Index>(channels);
    y[i] = activate(value, __ldg(values + channel), __ldg(values + channels + channel), prelu);
  }
};

template <class Vector>
void launch_channels(const Context& context, const ChannelSplit& split, bool prelu, const Bindings& bindings,
                     const float* values) {
  const int64_t inner = split.inner / static_cast<int64_t>(sizeof(Vector) / sizeof(float));
  cuda::launch_flat(context, "channel activation", split.rows * inner,
                    ChannelBody<Vector>{bindings.inputs[0].ptr<const Vector>(), bindings.outputs[0].ptr<Vector>(),
                                        values, inner, split.channels, prelu});
}

struct Pair {
  float a;
  float b;
};

struct HalvesBody {
  const float* x;
  float* y;
  int64_t half;
  HalfFunction activation;
  HalfFunction gate;
  bool magnitude;
  template <class Row, class Index>
  __device__ Pair load(Row row, Index column) const {
    const float* first = x + 2 * static_cast<int64_t>(row) * half + column;
    return {first[0], first[half]};
  }
  template <class Index>
  __device__ void store(Index i, const Pair& value) const {
    if (magnitude) {
      const auto a = static_cast<double>(value.a);
      const auto b = static_cast<double>(value.b);
      y[i] = static_cast<float>(std::sqrt(a * a + b * b));
    } else {
      y[i] = half_function(activation, value.a) * half_function(gate, value.b);
    }
  }
};

struct FilmBody {
  const float* x;
  const float* condition;
  float* y;
  FilmProblem p;
  template <class Row, class Index>
  __device__ float load(Row row, Index column) const {
    const float* factor = condition + p.condition_row(row);
    if (!p.constant) factor += column;
    return fmaf(x[static_cast<int64_t>(row) * p.length + column], factor[0], factor[p.channels * p.condition_length()]);
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

std::unique_ptr<Kernel> channel_kernel(const ChannelActivation& layer, const PrepareArgs& args) {
  const ChannelSplit split = channel_split(args.inputs[0].shape, layer.options());
  const bool prelu = layer.options().kind == ChannelOptions::Kind::kPrelu;
  return function_kernel([split, prelu, packed = layer.packed(args.weights)](const Context& context,
                                                                             const Bindings& bindings) {
    const bool vectors =
        split.inner % 4 == 0 && cuda::aligned16(bindings.inputs[0].data) && cuda::aligned16(bindings.outputs[0].data);
    (vectors ? launch_channels<cuda::Float4> : launch_channels<float>)(context, split, prelu, bindings,
                                                                       reinterpret_cast<const float*>(packed->data()));
  });
}

std::unique_ptr<Kernel> halves_kernel(const Halves& layer, const PrepareArgs& args) {
  const AxisSplit split = layer.split(args.inputs[0].shape);
  const HalvesOptions& options = layer.options();
  const HalvesBody body{nullptr,      nullptr,          split.size * split.inner, options.activation,
                        options.gate, options.magnitude};
  return function_kernel([split, body](const Context& context, const Bindings& bindings) {
    HalvesBody own = body;
    own.x = bindings.inputs[0].ptr<const float>();
    own.y = bindings.outputs[0].ptr<float>();
    cuda::launch_rows(context, "gated activation", split.outer, own.half, own);
  });
}

std::unique_ptr<Kernel> film_kernel(const PrepareArgs& args) {
  const FilmProblem p = Film::problem(args.inputs[0].shape, args.inputs[1].shape);
  return function_kernel([p](const Context& context, const Bindings& bindings) {
    cuda::launch_rows(context, "FiLM", p.batch * p.channels, p.length,
                      FilmBody{bindings.inputs[0].ptr<const float>(), bindings.inputs[1].ptr<const float>(),
                               bindings.outputs[0].ptr<float>(), p});
  });
}

}  // namespace

void activation_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  list.push_back(float32_implementation(args, "cuda.native", [&layer, &args] {
    if (const auto* channel = dynamic_cast<const ChannelActivation*>(&layer)) return channel_kernel(*channel, args);
    if (const auto* halves = dynamic_cast<const Halves*>(&layer)) return halves_kernel(*halves, args);
    return film_kernel(args);
  }));
}

}  // namespace strand::layers
