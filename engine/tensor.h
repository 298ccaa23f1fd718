#pragma once
// What flows along an edge (TensorType), what a kernel sees of it (TensorView: type, pointer, device; owns nothing)
// and what a user holds (Tensor: owns its bytes). Layout is row-major; a signal is [N, C, L].

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/buffer.h"
#include "engine/dtype.h"
#include "engine/shape.h"

namespace strand {

struct TensorType {
  static constexpr int kNoTime = -1;

  DType dtype = DType::kFloat32;
  Shape shape;
  int time_axis = kNoTime;  // the axis that is time, or kNoTime

  int64_t bytes() const;  // Error(kLimit) where it does not fit 64 bits
  friend bool operator==(const TensorType&, const TensorType&) = default;
};

std::string to_string(const TensorType& type);  // "float32 [1, 2, 3]"

struct TensorView {
  TensorType type;
  void* data = nullptr;  // null: an optional input that is absent
  Device device;

  const Shape& shape() const { return type.shape; }
  int64_t elements() const { return type.shape.elements(); }
  bool present() const { return data != nullptr; }

  // The elements as T. Host memory only; Error(kShape) where T is not the dtype, Error(kDevice) off the host.
  template <class T>
  std::span<T> as() const {
    check_host(DTypeOf<std::remove_const_t<T>>::value);
    return {static_cast<T*>(data), static_cast<size_t>(elements())};
  }
  // The pointer as T, on whatever device, unchecked: for kernels, whose types were checked when they were made.
  template <class T>
  T* ptr() const {
    return static_cast<T*>(data);
  }

 private:
  void check_host(DType dtype) const;
};

class Tensor {
 public:
  Tensor() = default;
  // Uninitialised.
  explicit Tensor(TensorType type, Device device = {});
  Tensor(Shape shape, std::span<const float> values);   // on the host
  Tensor(Shape shape, std::span<const double> values);  // on the host

  const TensorType& type() const { return type_; }
  const Shape& shape() const { return type_.shape; }
  Device device() const { return buffer_.device(); }
  TensorView view() const { return {type_, buffer_.data(), buffer_.device()}; }
  template <class T>
  std::span<T> as() const {
    return view().as<T>();
  }

  // Copies; the dtype changes where `dtype` differs (floating point types only, on the host).
  Tensor to(Device device) const;
  Tensor to(DType dtype) const;

 private:
  TensorType type_;
  Buffer buffer_;
};

// A copy of what `view` shows, on `device`.
Tensor copy_of(const TensorView& view, Device device = {});

// Converts between floating point types (and from integers), element by element, on the host. Rounds to nearest even.
void convert(const TensorView& source, const TensorView& target);

}  // namespace strand
