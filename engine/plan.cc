#include "engine/plan.h"

#include "engine/error.h"

namespace strand {
namespace {

size_t port_index(const std::vector<PlanPort>& ports, std::string_view name, std::string_view kind) {
  std::string names;
  for (size_t i = 0; i < ports.size(); ++i) {
    if (ports[i].name == name) return i;
    names += (names.empty() ? "" : ", ") + ports[i].name;
  }
  throw Error(ErrorCategory::kShape, "no " + std::string(kind) + " '" + std::string(name) + "'; there is " + names);
}

}  // namespace

size_t Plan::input_index(std::string_view input_name) const { return port_index(inputs, input_name, "input"); }
size_t Plan::output_index(std::string_view output_name) const { return port_index(outputs, output_name, "output"); }

}  // namespace strand
