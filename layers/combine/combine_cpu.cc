// Combining on the CPU: the result is a flat range that threads share; rows along which every input either advances by
// one or stays go through Eigen, which vectorises them. Inputs of one shape meet in registers, in the same order.
// Concat copies rows.

#include <Eigen/Core>

#include <array>
#include <cstring>
#include <utility>

#include "layers/combine/combine.h"
#include "layers/implementation_list.h"

namespace strand::layers {
namespace {

using Row = Eigen::Map<Eigen::ArrayXf>;
using ConstRow = Eigen::Map<const Eigen::ArrayXf>;

constexpr int64_t kStretch = 4096;  // elements of a long row that stay in the cache from input to input

void fold(Operation operation, const float* source, bool varies, Row result) {
  const ConstRow row(source, varies ? result.size() : 1);
  switch (operation) {
    case Operation::kAdd:
      varies ? result += row : result += *source;
      return;
    case Operation::kSubtract:
      varies ? result -= row : result -= *source;
      return;
    case Operation::kMultiply:
      varies ? result *= row : result *= *source;
      return;
    case Operation::kDivide:
      varies ? result /= row : result /= *source;
  }
}

// Some of the inputs; the first of all begins the result.
struct Batch {
  Operation operation;
  std::span<const TensorView> inputs;
  bool begins;
  std::optional<float> value;
  BroadcastWalk walk;
};

// count elements of one row, from `column` on.
void combine_row(const Batch& batch, float* y, int64_t row, int64_t column, int64_t count) {
  Row result(y + row * batch.walk.row_length() + column, count);
  for (size_t i = 0; i < batch.inputs.size(); ++i) {
    const bool varies = batch.walk.varies(i);
    const float* source = batch.inputs[i].ptr<const float>() + batch.walk.row_offset(i, row) + (varies ? column : 0);
    if (i > 0 || !batch.begins) {
      fold(batch.operation, source, varies, result);
    } else if (varies) {
      result = ConstRow(source, count);
    } else {
      result = *source;
    }
  }
  if (batch.value) fold(batch.operation, &*batch.value, false, result);
}

void combine_batch(const Context& context, const Batch& batch, const TensorView& output) {
  context.parallel_for(output.elements(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t from = begin; from < end; from += kStretch) {
      for_each_stretch(from, std::min(end, from + kStretch), batch.walk.row_length(),
                       [&](int64_t row, int64_t column, int64_t count) {
                         combine_row(batch, output.ptr<float>(), row, column, count);
                       });
    }
  });
}

template <Operation Own, class Packet>
Packet combined(const Packet& a, const Packet& b) {
  if constexpr (Own == Operation::kAdd) return Eigen::internal::padd(a, b);
  if constexpr (Own == Operation::kSubtract) return Eigen::internal::psub(a, b);
  if constexpr (Own == Operation::kMultiply) return Eigen::internal::pmul(a, b);
  return Eigen::internal::pdiv(a, b);
}

// Elements [begin, end) of inputs that all have the result's shape; `begins`, or on top of y.
template <Operation Own>
void combine_alike(std::span<const TensorView> inputs, bool begins, float* y, int64_t begin, int64_t end) {
  constexpr int kWidth = 32;
  using Packet = Eigen::internal::find_best_packet<float, kWidth>::type;
  constexpr int kLanes = Eigen::internal::unpacket_traits<Packet>::size;
  constexpr int kPackets = kWidth / kLanes;
  using Eigen::internal::ploadu, Eigen::internal::pstoreu;
  int64_t i = begin;
  for (; i + kWidth <= end; i += kWidth) {
    Packet sums[kPackets];
    const float* first = begins ? inputs[0].ptr<const float>() : y;
    for (int p = 0; p < kPackets; ++p) sums[p] = ploadu<Packet>(first + i + p * kLanes);
    for (const TensorView& input : inputs.subspan(begins ? 1 : 0)) {
      const float* x = input.ptr<const float>() + i;
      for (int p = 0; p < kPackets; ++p) sums[p] = combined<Own>(sums[p], ploadu<Packet>(x + p * kLanes));
    }
    for (int p = 0; p < kPackets; ++p) pstoreu(y + i + p * kLanes, sums[p]);
  }
  for (; i < end; ++i) {
    float sum = begins ? inputs[0].ptr<const float>()[i] : y[i];
    for (const TensorView& input : inputs.subspan(begins ? 1 : 0))
      sum = combined<Own>(sum, input.ptr<const float>()[i]);
    y[i] = sum;
  }
}

std::unique_ptr<Kernel> alike_cpu(Operation operation) {
  constexpr std::array kCombine = {combine_alike<Operation::kAdd>, combine_alike<Operation::kSubtract>,
                                   combine_alike<Operation::kMultiply>, combine_alike<Operation::kDivide>};
  return function_kernel(
      [combine = kCombine[static_cast<size_t>(operation)]](const Context& context, const Bindings& bindings) {
        const TensorView& output = bindings.outputs[0];
        context.parallel_for(output.elements(), kGrain, [&](int64_t begin, int64_t end) {
          // What lies in the cache is best read all at once; the memory prefers few streams at a time.
          const size_t together = end - begin <= kStretch ? bindings.inputs.size() : 8;
          for (int64_t from = begin; from < end; from += kStretch) {
            for (size_t first = 0; first < bindings.inputs.size(); first += together) {
              const size_t count = std::min(together, bindings.inputs.size() - first);
              combine(bindings.inputs.subspan(first, count), first == 0, output.ptr<float>(), from,
                      std::min(end, from + kStretch));
            }
          }
        });
      });
}

}  // namespace

std::unique_ptr<Kernel> elementwise_cpu(Operation operation, std::optional<double> value, bool alike) {
  if (alike && !value) return alike_cpu(operation);
  std::optional<float> rounded;
  if (value) rounded = static_cast<float>(*value);
  return function_kernel([operation, rounded](const Context& context, const Bindings& bindings) {
    const TensorView& output = bindings.outputs[0];
    for (size_t first = 0; first < bindings.inputs.size(); first += BroadcastWalk::kMaxInputs) {
      const auto inputs =
          bindings.inputs.subspan(first, std::min(BroadcastWalk::kMaxInputs, bindings.inputs.size() - first));
      combine_batch(context, {operation, inputs, first == 0, rounded, broadcast_walk(inputs, output.shape())}, output);
    }
  });
}

std::unique_ptr<Kernel> concat_cpu(int axis) {
  return function_kernel([axis](const Context& context, const Bindings& bindings) {
    const TensorView& output = bindings.outputs[0];
    const int64_t row = part_of(output, axis);
    context.parallel_for(output.shape().elements(0, axis), kGrain / (row + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t outer = begin; outer < end; ++outer) {
        float* target = output.ptr<float>() + outer * row;
        for (const TensorView& input : bindings.inputs) {
          const int64_t size = part_of(input, axis);
          if (size > 0)
            std::memcpy(target, input.ptr<const float>() + outer * size, static_cast<size_t>(size) * sizeof(float));
          target += size;
        }
      }
    });
  });
}

}  // namespace strand::layers
