// Add, Multiply and Concat on CUDA.
//
// Add and Multiply: the result is flat; a thread takes four vectors of 16 bytes (or four floats where rows do not allow
// it), finds each one's place in the inputs by the walk's sizes and strides (no division at all where no input is
// broadcast) and folds the inputs in their order. Four inputs a launch; further ones are folded onto the result.
// Concat: a launch an input, each a copy of rows (layers/copy_rows.cuh).
// Limits: none on size. Bound by bytes: 4 an element of each input and 4 an output, broadcast inputs from the cache.

#include <utility>

#include "layers/combine/combine.h"
#include "layers/copy_rows.cuh"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

constexpr int kInputs = 4;  // a launch

struct AddOp {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct MultiplyOp {
  __device__ float operator()(float a, float b) const { return a * b; }
};

__device__ void splat(float value, float& result) { result = value; }
__device__ void splat(float value, cuda::Float4& result) { result = {{value, value, value, value}}; }

template <class Op>
__device__ float fold(float a, float b) {
  return Op()(a, b);
}
template <class Op>
__device__ cuda::Float4 fold(cuda::Float4 a, const cuda::Float4& b) {
#pragma unroll
  for (int i = 0; i < 4; ++i) a.v[i] = Op()(a.v[i], b.v[i]);
  return a;
}

struct Operand {
  const float* data = nullptr;
  bool varies = false;
  int64_t strides[Shape::kMaxRank] = {};  // of all axes but the innermost, innermost first; floats
};

template <class Vector, class Op>
struct Elements {
  int axes = 1;
  int operands = 0;
  int64_t sizes[Shape::kMaxRank] = {};  // innermost first, the first one in vectors
  Operand operand[kInputs];
  Vector* y = nullptr;

  template <class Index>
  __device__ Vector load(Index i) const {
    Index column = i;
    int64_t offsets[kInputs] = {};
    if (axes > 1) {
      Index row = i / static_cast<Index>(sizes[0]);
      column = i - row * static_cast<Index>(sizes[0]);
      for (int axis = 1; axis < axes; ++axis) {
        const Index rest = row / static_cast<Index>(sizes[axis]);
        const Index index = row - rest * static_cast<Index>(sizes[axis]);
#pragma unroll
        for (int k = 0; k < kInputs; ++k) offsets[k] += static_cast<int64_t>(index) * operand[k].strides[axis - 1];
        row = rest;
      }
    }
    Vector result;
#pragma unroll
    for (int k = 0; k < kInputs; ++k) {
      if (k >= operands) break;
      const float* source = operand[k].data + offsets[k];
      Vector value;
      if (operand[k].varies) {
        value = reinterpret_cast<const Vector*>(source)[column];
      } else {
        splat(*source, value);
      }
      result = k == 0 ? value : fold<Op>(result, value);
    }
    return result;
  }
  template <class Index>
  __device__ void store(Index i, const Vector& value) const {
    y[i] = value;
  }
};

// The walk's operands: the inputs, and the result after them.
const float* operand_data(const Bindings& bindings, size_t i) {
  return (i < bindings.inputs.size() ? bindings.inputs[i] : bindings.outputs[0]).ptr<const float>();
}

// Whether all that varies along rows can be read and written 16 bytes at a time.
bool vectors_fit(const BroadcastWalk& walk, const Bindings& bindings) {
  bool fit = walk.row_length() % 4 == 0;
  for (size_t i = 0; fit && i < walk.inputs.size(); ++i) {
    if (!walk.varies(i)) continue;
    fit = cuda::aligned16(operand_data(bindings, i));
    for (int axis = 0; axis + 1 < walk.axes; ++axis) fit = fit && walk.inputs[i][static_cast<size_t>(axis)] % 4 == 0;
  }
  return fit;
}

template <class Vector, class Op>
void launch(const Context& context, const BroadcastWalk& walk, const Bindings& bindings) {
  constexpr auto kWidth = static_cast<int64_t>(sizeof(Vector) / sizeof(float));
  Elements<Vector, Op> elements;
  elements.axes = walk.axes;
  int64_t count = 1;
  for (int axis = 0; axis < walk.axes; ++axis) {
    const int64_t size = walk.sizes[static_cast<size_t>(walk.axes - 1 - axis)];
    elements.sizes[axis] = axis == 0 ? size / kWidth : size;
    count *= elements.sizes[axis];
  }
  elements.y = bindings.outputs[0].ptr<Vector>();
  // Every launch but the first begins with the result so far.
  const size_t result = bindings.inputs.size();
  for (size_t next = 0; next < result;) {
    elements.operands = 0;
    const auto add = [&](size_t i) {
      Operand& operand = elements.operand[elements.operands++];
      operand.data = operand_data(bindings, i);
      operand.varies = walk.varies(i);
      for (int axis = 1; axis < walk.axes; ++axis) {
        operand.strides[axis - 1] = walk.inputs[i][static_cast<size_t>(walk.axes - 1 - axis)];
      }
    };
    if (next > 0) add(result);
    while (next < result && elements.operands < kInputs) add(next++);
    cuda::launch_flat(context, "elementwise", count, elements);
  }
}

using Launch = decltype(&launch<float, AddOp>);

std::unique_ptr<Kernel> elementwise_kernel(Operation operation, const PrepareArgs& args) {
  std::vector<TensorType> types(args.inputs.begin(), args.inputs.end());
  types.push_back(args.outputs[0]);
  const bool add = operation == Operation::kAdd;
  const Launch scalars = add ? launch<float, AddOp> : launch<float, MultiplyOp>;
  const Launch vectors = add ? launch<cuda::Float4, AddOp> : launch<cuda::Float4, MultiplyOp>;
  return function_kernel([walk = broadcast_walk(types, args.outputs[0].shape), scalars, vectors](
                             const Context& context, const Bindings& bindings) {
    (vectors_fit(walk, bindings) ? vectors : scalars)(context, walk, bindings);
  });
}

std::unique_ptr<Kernel> concat_kernel(Concat::Parts parts) {
  return function_kernel([parts = std::move(parts)](const Context& context, const Bindings& bindings) {
    auto* y = bindings.outputs[0].ptr<float>();
    for (size_t i = 0; i < parts.sizes.size(); ++i) {
      const int64_t size = parts.sizes[i];
      cuda::launch_copy_rows(context, "Concat", bindings.inputs[i].ptr<const float>(), size, y, parts.row, size,
                             parts.outer);
      y += size;
    }
  });
}

}  // namespace

void combine_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  if (const auto* concat = dynamic_cast<const Concat*>(&layer)) {
    list.push_back(float32_implementation(args, "cuda.native",
                                          [concat, &args] { return concat_kernel(concat->parts(args.inputs)); }));
    return;
  }
  const Operation operation = static_cast<const Elementwise&>(layer).operation();
  list.push_back(
      float32_implementation(args, "cuda.native", [operation, &args] { return elementwise_kernel(operation, args); }));
}

}  // namespace strand::layers
