#pragma once
// Bytes on one device, freed when the owner goes. Not shared: one owner; any thread may read once it is filled.

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/device.h"

namespace strand {

class Buffer {
 public:
  static constexpr int64_t kAlignment = 256;  // bytes; what a CUDA allocation gives, and any vector load wants

  Buffer() = default;
  // Uninitialised. Throws Error(kLimit) naming the bytes where memory does not suffice, Error(kDevice) without device.
  Buffer(Device device, int64_t bytes);
  // On the host, for copies from and to `device`: page-locked where that is a CUDA device.
  static Buffer host_for(Device device, int64_t bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  Device device() const { return device_; }

 private:
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
  Device device_;
  bool pinned_ = false;
};

// Copies between host and device memory, and within either; returns when done.
void copy_bytes(void* target, Device target_device, const void* source, Device source_device, int64_t bytes);

}  // namespace strand
