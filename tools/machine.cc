#include "tools/machine.h"

#include <fmt/core.h>

#include <array>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/cuda_runtime.h"

namespace strand::tools {
namespace {

std::string version(int number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); }

// The kernel module's version, which bug reports ask for; the CUDA version that it offers comes from the runtime.
std::string driver_release() {
  std::ifstream file("/sys/module/nvidia/version");
  std::string text;
  file >> text;
  return text.empty() ? "" : "driver " + text + ", ";
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  const size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text.data(), length};
}

}  // namespace

Machine describe_machine(Device device) {
  if (device.is_cpu()) {
    return {fmt::format("{}, {} threads", processor_name(device), std::thread::hardware_concurrency()), "", utc_now()};
  }
  const cuda::DeviceInfo info = cuda::device_info(device.index);
  return {info.name,
          fmt::format("{}CUDA {} (runtime {})", driver_release(), version(info.driver_version),
                      version(info.runtime_version)),
          utc_now()};
}

std::string to_string(const Machine& machine) {
  return machine.processor + (machine.software.empty() ? "" : ", " + machine.software) + ", " + machine.date;
}

nlohmann::ordered_json to_json(const Machine& machine) {
  return {{"processor", machine.processor}, {"software", machine.software}, {"date", machine.date}};
}

}  // namespace strand::tools
