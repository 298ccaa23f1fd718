#pragma once
// One layer's own parameters while its kernels are prepared: host values by name, and packed copies on the device,
// shared through the network's WeightStore. Borrowed: lives as long as the call that it is passed to.

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "engine/tensor.h"
#include "engine/weight_store.h"

namespace strand::layers {

class Weights {
 public:
  // `path` is the layer's, and keys the packed copies. Tensors are float32 on the host.
  Weights(std::string path, Device device, WeightStore& store)
      : path_(std::move(path)), device_(device), store_(store) {}

  void set(const std::string& name, const Tensor& tensor) {
    tensors_[name] = std::shared_ptr<const Tensor>(std::shared_ptr<const Tensor>(), &tensor);
  }
  void set(const std::string& name, Tensor&& tensor) {
    tensors_[name] = std::make_shared<const Tensor>(std::move(tensor));
  }
  bool has(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }
  std::span<const float> host(std::string_view name) const;  // Error(kWeights) where there is none
  const Shape& shape(std::string_view name) const;

  // None yet, with packed copies of their own: for a layer that is computed as another one.
  Weights as(const std::string& other) const { return {path_ + "/as " + other, device_, store_}; }

  // `bytes` on the device, written by `fill` on the host. `packing` names the layout, and stands for what `fill`
  // depends on besides the weights themselves ("direct.tile32").
  std::shared_ptr<const Buffer> pack(const std::string& packing, int64_t bytes, const WeightStore::Fill& fill) const;
  // As they are, on the device, in float32 or (for references) in double on the CPU.
  std::shared_ptr<const Buffer> floats(std::string_view name) const;
  std::shared_ptr<const Buffer> doubles(std::string_view name) const;

 private:
  std::string path_;
  Device device_;
  WeightStore& store_;
  std::map<std::string, std::shared_ptr<const Tensor>, std::less<>> tensors_;  // borrowed ones own nothing
};

}  // namespace strand::layers
