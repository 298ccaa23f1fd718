#include "graphs/signal.h"

#include <cstring>

#include "engine/checked.h"

namespace strand::graphs {
namespace {

// Copies `count` times between two tensors that are alike but for their lengths.
void copy_times(const TensorView& source, int64_t from, const TensorView& target, int64_t to, int64_t count) {
  const int axis = source.type.time_axis;
  const Shape& shape = source.shape();
  const int64_t inner = checked_mul(shape.elements(axis + 1, shape.rank()), size_of(source.type.dtype));
  if (count * inner == 0) return;
  for (int64_t outer = 0; outer < shape.elements(0, axis); ++outer) {
    std::memcpy(target.ptr<std::byte>() + (outer * target.shape()[axis] + to) * inner,
                source.ptr<const std::byte>() + (outer * shape[axis] + from) * inner,
                static_cast<size_t>(count * inner));
  }
}

}  // namespace

Tensor cut_times(const TensorView& signal, int64_t begin, int64_t end) {
  TensorType type = signal.type;
  type.shape.set(type.time_axis, end - begin);
  Tensor part(type);
  cut_times(signal, begin, part.view());
  return part;
}

void cut_times(const TensorView& signal, int64_t begin, const TensorView& part) {
  copy_times(signal, begin, part, 0, part.shape()[part.type.time_axis]);
}

void put_times(const TensorView& stretch, const TensorView& signal, int64_t begin) {
  copy_times(stretch, 0, signal, begin, stretch.shape()[stretch.type.time_axis]);
}

}  // namespace strand::graphs
