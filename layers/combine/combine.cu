// Add, Subtract, Multiply, Divide and Concat on CUDA.
//
// All but Concat: the result is flat; a thread takes four vectors of 16 bytes (or four floats where rows do not allow
// it), finds each one's place in the inputs by the walk's sizes and strides (no division at all where no input is
// broadcast) and folds the inputs in their order. Four inputs a launch; further ones are folded onto the result.
// A number in place of an input makes a function of each element (layers/cuda_launch.cuh).
// Concat: a launch an input, each a copy of rows (layers/copy_rows.cuh).
// Limits: none on size. Bound by bytes: 4 an element of each input and 4 an output, broadcast inputs from the cache.

#include <array>
#include <optional>
#include <span>
#include <utility>

#include "layers/combine/combine.h"
#include "layers/copy_rows.cuh"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

constexpr size_t kInputs = 4;  // a launch

struct AddOp {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct SubtractOp {
  __device__ float operator()(float a, float b) const { return a - b; }
};
struct MultiplyOp {
  __device__ float operator()(float a, float b) const { return a * b; }
};
struct DivideOp {
  __device__ float operator()(float a, float b) const { return a / b; }
};

template <class Op>
struct WithValue {
  float value;
  __device__ float operator()(float x) const { return Op()(x, value); }
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
        for (int k = 0; k < static_cast<int>(kInputs); ++k)
          offsets[k] += static_cast<int64_t>(index) * operand[k].strides[axis - 1];
        row = rest;
      }
    }
    Vector result;
#pragma unroll
    for (int k = 0; k < static_cast<int>(kInputs); ++k) {
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

// Whether all that varies along rows can be read and written 16 bytes at a time.
bool vectors_fit(const BroadcastWalk& walk, std::span<const TensorView> operands, const TensorView& output) {
  bool fit = walk.row_length() % 4 == 0 && cuda::aligned16(output.data);
  for (size_t i = 0; fit && i < operands.size(); ++i) {
    if (!walk.varies(i)) continue;
    fit = cuda::aligned16(operands[i].data);
    for (int axis = 0; axis + 1 < walk.axes; ++axis) fit = fit && walk.inputs[i][static_cast<size_t>(axis)] % 4 == 0;
  }
  return fit;
}

template <class Vector, class Op>
void launch(const Context& context, const BroadcastWalk& walk, std::span<const TensorView> operands,
            const TensorView& output) {
  constexpr auto kWidth = static_cast<int64_t>(sizeof(Vector) / sizeof(float));
  Elements<Vector, Op> elements;
  elements.axes = walk.axes;
  int64_t count = 1;
  for (int axis = 0; axis < walk.axes; ++axis) {
    const int64_t size = walk.sizes[static_cast<size_t>(walk.axes - 1 - axis)];
    elements.sizes[axis] = axis == 0 ? size / kWidth : size;
    count *= elements.sizes[axis];
  }
  elements.y = output.ptr<Vector>();
  for (size_t i = 0; i < operands.size(); ++i) {
    Operand& operand = elements.operand[elements.operands++];
    operand.data = operands[i].ptr<const float>();
    operand.varies = walk.varies(i);
    for (int axis = 1; axis < walk.axes; ++axis) {
      operand.strides[axis - 1] = walk.inputs[i][static_cast<size_t>(walk.axes - 1 - axis)];
    }
  }
  cuda::launch_flat(context, "elementwise", count, elements);
}

template <class Op>
void combine_inputs(const Context& context, const Bindings& bindings) {
  const TensorView& output = bindings.outputs[0];
  // Every launch but the first begins with the result so far.
  for (size_t next = 0; next < bindings.inputs.size();) {
    std::array<TensorView, kInputs> operands;
    size_t count = 0;
    if (next > 0) operands[count++] = output;
    while (next < bindings.inputs.size() && count < operands.size()) operands[count++] = bindings.inputs[next++];
    const auto used = std::span<const TensorView>(operands).first(count);
    const BroadcastWalk walk = broadcast_walk(used, output.shape());
    (vectors_fit(walk, used, output) ? launch<cuda::Float4, Op> : launch<float, Op>)(context, walk, used, output);
  }
}

template <class Op>
std::unique_ptr<Kernel> kernel_of(const std::optional<double>& value) {
  if (!value) return function_kernel(combine_inputs<Op>);
  return function_kernel([own = WithValue<Op>{static_cast<float>(*value)}](const Context& context, const Bindings& b) {
    cuda::launch_unary(context, "elementwise", b.inputs[0].ptr<const float>(), b.outputs[0].ptr<float>(),
                       b.outputs[0].elements(), own);
  });
}

std::unique_ptr<Kernel> elementwise_kernel(const Elementwise& layer) {
  switch (layer.operation()) {
    case Operation::kAdd:
      return kernel_of<AddOp>(layer.value());
    case Operation::kSubtract:
      return kernel_of<SubtractOp>(layer.value());
    case Operation::kMultiply:
      return kernel_of<MultiplyOp>(layer.value());
    case Operation::kDivide:
      break;
  }
  return kernel_of<DivideOp>(layer.value());
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
  const auto& elementwise = static_cast<const Elementwise&>(layer);
  list.push_back(
      float32_implementation(args, "cuda.native", [&elementwise] { return elementwise_kernel(elementwise); }));
}

}  // namespace strand::layers
