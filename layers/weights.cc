#include "layers/weights.h"

#include <algorithm>
#include <cstring>

#include "engine/error.h"

namespace strand::layers {

std::span<const float> Weights::host(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw Error(ErrorCategory::kWeights, "no weight '" + std::string(name) + "'");
  return found->second->as<const float>();
}

const Shape& Weights::shape(std::string_view name) const {
  host(name);
  return tensors_.find(name)->second->shape();
}

std::shared_ptr<const Buffer> Weights::pack(const std::string& packing, int64_t bytes,
                                            const WeightStore::Fill& fill) const {
  return store_.get(path_ + "/" + packing, device_, bytes, fill);
}

std::shared_ptr<const Buffer> Weights::floats(std::string_view name) const {
  const std::span<const float> values = host(name);
  return pack(std::string(name) + ".float32", static_cast<int64_t>(values.size_bytes()), [&](std::byte* target) {
    if (!values.empty()) std::memcpy(target, values.data(), values.size_bytes());
  });
}

std::shared_ptr<const Buffer> Weights::doubles(std::string_view name) const {
  const std::span<const float> values = host(name);
  return store_.get(path_ + "/" + std::string(name) + ".float64", Device{},
                    static_cast<int64_t>(values.size() * sizeof(double)),
                    [&](std::byte* target) { std::ranges::copy(values, reinterpret_cast<double*>(target)); });
}

}  // namespace strand::layers
