#include "engine/weight_store.h"

namespace strand {

std::shared_ptr<const Buffer> WeightStore::get(const std::string& key, Device device, int64_t bytes, const Fill& fill) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<const Buffer>& entry = buffers_[to_string(device) + "/" + key];
  if (entry == nullptr) {
    Buffer host({}, bytes);
    fill(host.data());
    if (device.is_cuda()) {
      Buffer packed(device, bytes);
      copy_bytes(packed.data(), device, host.data(), {}, bytes);
      entry = std::make_shared<const Buffer>(std::move(packed));
    } else {
      entry = std::make_shared<const Buffer>(std::move(host));
    }
  }
  return entry;
}

}  // namespace strand
