#include "engine/buffer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "engine/checked.h"
#include "engine/cuda_runtime.h"

namespace strand {

Buffer::Buffer(Device device, int64_t bytes) : bytes_(bytes), device_(device) {
  if (bytes < 0) throw Error(ErrorCategory::kLimit, "a buffer of " + std::to_string(bytes) + " bytes");
  if (bytes == 0) bytes = 1;  // an empty tensor is present: its pointer is not null
  if (device.is_cuda()) {
    data_ = static_cast<std::byte*>(cuda::allocate(device.index, bytes));
    return;
  }
  const int64_t padded = checked_mul(ceil_div(bytes, kAlignment), kAlignment);
  data_ = static_cast<std::byte*>(std::aligned_alloc(kAlignment, static_cast<size_t>(padded)));
  if (data_ == nullptr) throw Error(ErrorCategory::kLimit, "no memory for " + std::to_string(bytes) + " bytes");
}

Buffer Buffer::host_for(Device device, int64_t bytes) {
  if (device.is_cpu()) return Buffer({}, bytes);
  if (bytes < 0) throw Error(ErrorCategory::kLimit, "a buffer of " + std::to_string(bytes) + " bytes");
  Buffer buffer;
  buffer.data_ = static_cast<std::byte*>(cuda::allocate_pinned(device.index, std::max<int64_t>(bytes, 1)));
  buffer.bytes_ = bytes;
  buffer.pinned_ = true;
  return buffer;
}

Buffer::~Buffer() {
  if (data_ == nullptr) return;
  if (pinned_) {
    cuda::free_pinned(data_);
  } else if (device_.is_cuda()) {
    cuda::free(device_.index, data_);
  } else {
    std::free(data_);
  }
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      device_(other.device_),
      pinned_(other.pinned_) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(device_, other.device_);
  std::swap(pinned_, other.pinned_);
  return *this;
}

void copy_bytes(void* target, Device target_device, const void* source, Device source_device, int64_t bytes) {
  if (bytes == 0) return;
  if (target_device.is_cpu() && source_device.is_cpu()) {
    std::memcpy(target, source, static_cast<size_t>(bytes));
    return;
  }
  cuda::set_device(target_device.is_cuda() ? target_device.index : source_device.index);
  cuda::copy(target, source, bytes);
}

}  // namespace strand
