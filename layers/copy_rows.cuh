#pragma once
// Copies `rows` rows of `width` floats whose beginnings lie `pitch` apart on either side: what Concat and Slice are
// made of. 16 bytes at a time where widths, pitches and addresses allow it. For .cu files.

#include "layers/cuda_launch.cuh"

namespace strand::cuda {

template <class Vector>
struct CopyRows {
  const Vector* source;
  int64_t source_pitch;  // in vectors, as the others
  Vector* target;
  int64_t target_pitch;
  int64_t width;
  template <class Index>
  __device__ Vector load(Index i) const {
    const Index row = i / static_cast<Index>(width);
    return source[static_cast<int64_t>(row) * source_pitch + (i - row * static_cast<Index>(width))];
  }
  template <class Index>
  __device__ void store(Index i, const Vector& value) const {
    const Index row = i / static_cast<Index>(width);
    target[static_cast<int64_t>(row) * target_pitch + (i - row * static_cast<Index>(width))] = value;
  }
};

inline void launch_copy_rows(const Context& context, const char* name, const float* source, int64_t source_pitch,
                             float* target, int64_t target_pitch, int64_t width, int64_t rows) {
  const bool whole = (source_pitch | target_pitch | width) % 4 == 0;
  if (whole && aligned16(source) && aligned16(target)) {
    launch_flat(context, name, rows * (width / 4),
                CopyRows<Float4>{reinterpret_cast<const Float4*>(source), source_pitch / 4,
                                 reinterpret_cast<Float4*>(target), target_pitch / 4, width / 4});
  } else {
    launch_flat(context, name, rows * width, CopyRows<float>{source, source_pitch, target, target_pitch, width});
  }
}

}  // namespace strand::cuda
