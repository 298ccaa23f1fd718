#pragma once
// What a measurement was made on, for the head of reports. Plain values.

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "engine/device.h"

namespace strand::tools {

struct Machine {
  std::string processor;  // the GPU's name, or the CPU's
  std::string software;   // "CUDA driver 13.0, runtime 13.0"; empty on the CPU
  std::string date;       // ISO 8601, UTC
};

Machine describe_machine(Device device);
std::string to_string(const Machine& machine);  // one line
nlohmann::ordered_json to_json(const Machine& machine);

}  // namespace strand::tools
