#pragma once
// Where memory lies and kernels run. A plain value.

#include <cstdint>
#include <string>
#include <string_view>

namespace strand {

enum class DeviceType : uint8_t { kCpu, kCuda };

struct Device {
  DeviceType type = DeviceType::kCpu;
  int index = 0;

  bool is_cpu() const { return type == DeviceType::kCpu; }
  bool is_cuda() const { return type == DeviceType::kCuda; }
  friend bool operator==(const Device&, const Device&) = default;
};

// "cpu", "cuda" (the first one) or "cuda:1"; anything else throws Error(kDevice). Does not look for the device.
Device parse_device(std::string_view text);
std::string to_string(Device device);
std::string_view to_string(DeviceType type);  // "cpu" or "cuda"
std::string processor_name(
    Device device);  // the model: "NVIDIA H200", "AMD EPYC"; Error(kDevice) where it is not there

}  // namespace strand
