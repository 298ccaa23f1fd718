// strand layers: the layer types that a description may name, and their fields.

#include <fmt/core.h>

#include <memory>

#include "engine/error.h"
#include "layers/registry.h"
#include "tools/commands.h"
#include "tools/table.h"

namespace strand::tools {
namespace {

void print_types(const layers::LayerRegistry& registry) {
  Table table({{"type", Align::kLeft}, {"computes", Align::kLeft}});
  for (const auto& [name, type] : registry.types()) table.add({name, type.summary});
  fmt::print("{}", table.text());
}

void print_type(const layers::LayerRegistry& registry, const std::string& name) {
  const auto found = registry.types().find(name);
  if (found == registry.types().end()) {
    std::vector<std::string> names;
    for (const auto& [known, type] : registry.types()) names.push_back(known);
    const std::string nearest = layers::nearest_name(name, names);
    throw Error(ErrorCategory::kUnsupported,
                "no layer type '" + name + "'" +
                    (nearest.empty() ? "; `strand layers` lists them" : "; did you mean '" + nearest + "'?"));
  }
  fmt::print("{}: {}\n", name, found->second.summary);
  if (found->second.fields.empty()) return;
  Table table({{"field", Align::kLeft}, {"takes", Align::kLeft}, {"default", Align::kLeft}, {"meaning", Align::kLeft}});
  for (const layers::Field& field : found->second.fields) {
    table.add({field.name, layers::describe_kinds(field.kinds),
               field.required ? "required" : layers::to_string(field.fallback), field.help});
  }
  fmt::print("\n{}", table.text());
}

}  // namespace

void add_layers(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("layers", "List the layer types, or the fields of one");
  const auto name = std::make_shared<std::string>();
  command->add_option("TYPE", *name, "A layer type, such as Conv1d");
  command->footer("Examples:\n  strand layers\n  strand layers Conv1d");
  command->callback([name, &exit_code] {
    const layers::LayerRegistry registry = layers::default_registry();
    if (name->empty()) {
      print_types(registry);
    } else {
      print_type(registry, *name);
    }
    exit_code = 0;
  });
}

}  // namespace strand::tools
