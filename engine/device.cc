#include "engine/device.h"

#include <charconv>
#include <fstream>

#include "engine/cuda_runtime.h"
#include "engine/error.h"

namespace strand {

Device parse_device(std::string_view text) {
  if (text == "cpu") return {DeviceType::kCpu, 0};
  if (text == "cuda") return {DeviceType::kCuda, 0};
  constexpr std::string_view kPrefix = "cuda:";
  if (text.starts_with(kPrefix)) {
    int index = -1;
    const char* end = text.data() + text.size();
    const auto [stop, status] = std::from_chars(text.data() + kPrefix.size(), end, index);
    if (status == std::errc() && stop == end && index >= 0) return {DeviceType::kCuda, index};
  }
  throw Error(ErrorCategory::kDevice, "unknown device '" + std::string(text) + "'; expected cpu, cuda or cuda:INDEX");
}

std::string_view to_string(DeviceType type) { return type == DeviceType::kCpu ? "cpu" : "cuda"; }

std::string to_string(Device device) { return device.is_cpu() ? "cpu" : "cuda:" + std::to_string(device.index); }

std::string processor_name(Device device) {
  if (device.is_cuda()) return cuda::device_info(device.index).name;
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

}  // namespace strand
