#include "layers/registry.h"

#include <algorithm>
#include <utility>

#include "engine/error.h"

namespace strand::layers {
namespace {

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// "; did you mean 'stride'?", or else what there is to choose from.
std::string suggestion(std::string_view name, const std::vector<std::string>& known) {
  const std::string near = did_you_mean(name, known);
  if (!near.empty()) return near;
  return known.empty() ? "; there are none" : "; known are " + joined(known);
}

void check_fields(const std::vector<Field>& fields, const Attributes& attributes) {
  std::vector<std::string> names;
  names.reserve(fields.size());
  for (const Field& field : fields) names.push_back(field.name);
  for (const auto& [name, value] : attributes.values()) {
    const auto field = std::ranges::find(fields, name, &Field::name);
    if (field == fields.end()) {
      throw Error(ErrorCategory::kSchema, "unknown field '" + name + "'" + suggestion(name, names));
    }
    if (!matches(value, field->kinds)) throw mistyped(name, value, field->kinds);
  }
}

void fill_in(const std::vector<Field>& fields, Attributes& attributes) {
  for (const Field& field : fields) {
    if (attributes.has(field.name)) continue;
    if (field.required) {
      throw Error(ErrorCategory::kSchema, "missing field '" + field.name + "' (" + describe_kinds(field.kinds) +
                                              (field.help.empty() ? ")" : "): " + field.help));
    }
    attributes.set(field.name, field.fallback);
  }
}

}  // namespace

void LayerRegistry::add(LayerType type) {
  const std::string name = type.name;
  if (!types_.emplace(name, std::move(type)).second) {
    throw Error(ErrorCategory::kSchema, "layer type '" + name + "' is registered twice");
  }
}

std::unique_ptr<Layer> LayerRegistry::make(std::string_view type, Attributes attributes) const {
  const auto found = types_.find(type);
  if (found == types_.end()) {
    std::vector<std::string> names;
    for (const auto& [name, known] : types_) names.push_back(name);
    throw Error(ErrorCategory::kUnsupported,
                "unknown layer type '" + std::string(type) + "'" + suggestion(type, names));
  }
  check_fields(found->second.fields, attributes);
  fill_in(found->second.fields, attributes);
  return found->second.make(attributes);
}

}  // namespace strand::layers
