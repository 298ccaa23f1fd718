// strand layers: the layer types that a description may name, and their fields.

#include <fmt/core.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "engine/error.h"
#include "layers/registry.h"
#include "tools/commands.h"
#include "tools/table.h"

namespace strand::tools {
namespace {

constexpr auto kDevices = std::to_array<std::string_view>({"cuda", "cpu"});

// "in_channels, out_channels, stride (1)"
std::string fields_of(const layers::LayerType& type) {
  std::string text;
  for (const layers::Field& field : type.fields) {
    text += (text.empty() ? "" : ", ") + field.name;
    if (!field.required) text += " (" + layers::to_string(field.fallback) + ")";
  }
  return text;
}

// "native, reference" of "cpu.native" and "cpu.reference"
std::string implementations_of(const layers::LayerType& type, std::string_view device) {
  std::string text;
  for (const std::string& name : type.implementations) {
    if (name.starts_with(device)) text += (text.empty() ? "" : ", ") + name.substr(device.size() + 1);
  }
  return text;
}

std::string paragraph(const layers::LayerType& type) {
  std::string text = type.name + ": " + type.summary + "\n";
  const auto line = [&text](std::string_view title, const std::string& value) {
    if (!value.empty()) text += fmt::format("  {:<7} {}\n", title, value);
  };
  line("fields", fields_of(type));
  line("shapes", type.shapes);
  line("time", type.time);
  for (const std::string_view device : kDevices) line(device, implementations_of(type, device));
  return text;
}

void print_types(const layers::LayerRegistry& registry) {
  std::string_view gap;
  for (const auto& [name, type] : registry.types()) {
    fmt::print("{}{}", gap, paragraph(type));
    gap = "\n";
  }
}

// The table of layers/README.md.
void print_markdown(const layers::LayerRegistry& registry) {
  fmt::print("| type | fields (default) | shapes | time map | CUDA | CPU |\n| --- | --- | --- | --- | --- | --- |\n");
  for (const auto& [name, type] : registry.types()) {
    fmt::print("| {} | {} | {} | {} | {} | {} |\n", name, fields_of(type), type.shapes, type.time,
               implementations_of(type, kDevices[0]), implementations_of(type, kDevices[1]));
  }
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
  fmt::print("{}", paragraph(found->second));
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
  CLI::App* command = app.add_subcommand("layers", "List the layer types, or describe one");
  const auto name = std::make_shared<std::string>();
  command->add_option("TYPE", *name, "A layer type, such as Conv1d");
  const auto markdown = std::make_shared<bool>(false);
  command->add_flag("--markdown", *markdown, "All types as the table of layers/README.md");
  command->footer("Examples:\n  strand layers\n  strand layers Conv1d");
  command->callback([name, markdown, &exit_code] {
    const layers::LayerRegistry registry = layers::default_registry();
    if (*markdown) {
      print_markdown(registry);
    } else if (name->empty()) {
      print_types(registry);
    } else {
      print_type(registry, *name);
    }
    exit_code = 0;
  });
}

}  // namespace strand::tools
