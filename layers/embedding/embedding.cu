// Embedding, PositionalEmbedding and LayerScale on CUDA: the output is flat, a thread an element or four
// (layers/cuda_launch.cuh). Tables are read along their rows, in the output's order. Limits: none on size. Bound by
// bytes: 8 an element, 12 for PositionalEmbedding where the table does not stay in the cache.

#include "layers/cuda_launch.cuh"
#include "layers/embedding/embedding.h"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

struct EmbeddingBody {
  const float* x;
  const float* table;
  float* y;
  int64_t rows;
  int64_t features;
  template <class Index>
  __device__ float load(Index i) const {
    const Index item = i / static_cast<Index>(features);
    const float index = x[item];
    // Also false for NaN: nothing outside the table is read.
    if (!(index >= 0 && index < static_cast<float>(rows) && index == floorf(index))) return nanf("");
    return __ldg(table + static_cast<int64_t>(index) * features + (i - item * static_cast<Index>(features)));
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

struct PositionBody {
  const float* x;
  const float* table;  // [positions, features], or the other way round
  float* y;
  PositionSplit split;
  int64_t positions;
  template <class Index>
  __device__ float load(Index i) const {
    const auto features = static_cast<Index>(split.features);
    const auto times = static_cast<Index>(split.times);
    if (split.features_last) {
      const Index row = i / features;
      return x[i] + __ldg(table + static_cast<int64_t>(row % times) * split.features + (i - row * features));
    }
    const Index row = i / times;
    return x[i] + __ldg(table + static_cast<int64_t>(row % features) * positions + (i - row * times));
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

struct ScaleBody {
  const float* x;
  const float* factors;
  float* y;
  AxisSplit split;
  template <class Index>
  __device__ float load(Index i) const {
    return x[i] * __ldg(factors + i / static_cast<Index>(split.inner) % static_cast<Index>(split.size));
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

const float* floats(const std::shared_ptr<const Buffer>& buffer) {
  return reinterpret_cast<const float*>(buffer->data());
}

std::unique_ptr<Kernel> embedding_kernel(const Embedding& layer, const PrepareArgs& args) {
  const int64_t count = args.outputs[0].shape.elements();
  return function_kernel([layer, count, table = args.weights.floats("weight")](const Context& context,
                                                                               const Bindings& bindings) {
    cuda::launch_flat(context, "Embedding", count,
                      EmbeddingBody{bindings.inputs[0].ptr<const float>(), floats(table),
                                    bindings.outputs[0].ptr<float>(), layer.num_embeddings(), layer.embedding_dim()});
  });
}

std::unique_ptr<Kernel> position_kernel(const PositionalEmbedding& layer, const PrepareArgs& args) {
  const PositionSplit split = layer.split(args.inputs[0].shape);
  const int64_t positions = layer.options().num_embeddings;
  const auto table = layer.packed(args.weights, split.features_last);
  return function_kernel([split, positions, table](const Context& context, const Bindings& bindings) {
    cuda::launch_flat(context, "PositionalEmbedding", split.elements(),
                      PositionBody{bindings.inputs[0].ptr<const float>(), floats(table),
                                   bindings.outputs[0].ptr<float>(), split, positions});
  });
}

std::unique_ptr<Kernel> scale_kernel(const LayerScale& layer, const PrepareArgs& args) {
  const AxisSplit split = layer.split(args.inputs[0].shape);
  return function_kernel(
      [split, factors = args.weights.floats(layer.parameter())](const Context& context, const Bindings& bindings) {
        cuda::launch_flat(
            context, "LayerScale", split.elements(),
            ScaleBody{bindings.inputs[0].ptr<const float>(), floats(factors), bindings.outputs[0].ptr<float>(), split});
      });
}

}  // namespace

void embedding_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  list.push_back(float32_implementation(args, "cuda.native", [&layer, &args] {
    if (const auto* embedding = dynamic_cast<const Embedding*>(&layer)) return embedding_kernel(*embedding, args);
    if (const auto* position = dynamic_cast<const PositionalEmbedding*>(&layer))
      return position_kernel(*position, args);
    return scale_kernel(static_cast<const LayerScale&>(layer), args);
  }));
}

}  // namespace strand::layers
