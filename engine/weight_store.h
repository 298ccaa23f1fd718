#pragma once
// A network's weights on their devices, each packing made once and shared by every Plan (other lengths, other batches).
// Thread-safe.

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "engine/buffer.h"

namespace strand {

class WeightStore {
 public:
  // Writes the packed bytes to host memory.
  using Fill = std::function<void(std::byte* target)>;

  // The bytes of `key` (tensor, packing and dtype) on `device`, filled at the first call.
  std::shared_ptr<const Buffer> get(const std::string& key, Device device, int64_t bytes, const Fill& fill);

 private:
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const Buffer>> buffers_;
};

}  // namespace strand
