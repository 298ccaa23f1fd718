#include "graphs/io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <tuple>
#include <vector>

#include "engine/checked.h"
#include "graphs/io/file.h"
#include "graphs/io/safetensors_header.h"
#include "graphs/io/utf8.h"

namespace strand {
namespace {

static_assert(std::endian::native == std::endian::little, "the files hold little-endian numbers");

std::span<std::byte> bytes_of(const TensorView& view) {
  return {view.ptr<std::byte>(), static_cast<size_t>(view.type.bytes())};
}

std::string read_header(const ByteSource& source) {
  if (source.size() < kSafetensorsLengthBytes) {
    throw source.error(ErrorCategory::kParse, "has " + std::to_string(source.size()) +
                                                  " bytes, too few for a safetensors file's header length");
  }
  uint64_t length = 0;
  source.read_at(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length > static_cast<uint64_t>(kSafetensorsMaxHeader)) {
    throw source.error(ErrorCategory::kLimit, "byte 0: a header of " + std::to_string(length) +
                                                  " bytes; the limit is " + std::to_string(kSafetensorsMaxHeader));
  }
  if (length > static_cast<uint64_t>(source.size() - kSafetensorsLengthBytes)) {
    throw source.error(ErrorCategory::kParse, "byte 0: a header of " + std::to_string(length) +
                                                  " bytes ends past the file's " + std::to_string(source.size()));
  }
  std::string json(length, '\0');
  source.read_at(kSafetensorsLengthBytes, std::as_writable_bytes(std::span(json)));
  return json;
}

std::string json_string(const std::string& text, std::string_view what) {
  if (!is_valid_utf8(text)) {
    throw Error(ErrorCategory::kSchema, std::string(what) + " " + in_quotes(text) + " is not UTF-8");
  }
  return nlohmann::json(text).dump();
}

std::string json_of(const Metadata& metadata) {
  std::string text;
  for (const auto& [key, value] : metadata) {
    text += (text.empty() ? "" : ",") + json_string(key, "metadata key") + ":" + json_string(value, "metadata value");
  }
  return "\"" + std::string(kSafetensorsMetadata) + "\":{" + text + "}";
}

using Item = TensorMap::value_type;

std::vector<const Item*> in_file_order(const TensorMap& tensors) {
  std::vector<const Item*> items;
  for (const Item& item : tensors) {
    if (item.first == kSafetensorsMetadata) {
      throw Error(ErrorCategory::kSchema,
                  "a tensor can't be named " + in_quotes(item.first) + " in a safetensors file");
    }
    if (!item.second.view().present()) throw Error(ErrorCategory::kShape, in_quotes(item.first) + " holds no tensor");
    items.push_back(&item);
  }
  // Largest elements first keeps each tensor aligned.
  std::ranges::stable_sort(items, std::ranges::greater(),
                           [](const Item* i) { return size_of(i->second.type().dtype); });
  return items;
}

std::string header_of(const std::vector<const Item*>& items, const Metadata& metadata) {
  std::string text = "{" + (metadata.empty() ? "" : json_of(metadata));
  int64_t begin = 0;
  for (const Item* item : items) {
    const TensorType& type = item->second.type();
    const int64_t end = checked_add(begin, type.bytes());
    std::string shape;
    for (const int64_t size : type.shape.sizes()) shape += (shape.empty() ? "" : ",") + std::to_string(size);
    text += (text.size() > 1 ? "," : "") + json_string(item->first, "tensor name") + R"(:{"dtype":")" +
            std::string(safetensors_dtype(type.dtype)) + R"(","shape":[)" + shape + R"(],"data_offsets":[)" +
            std::to_string(begin) + "," + std::to_string(end) + "]}";
    begin = end;
  }
  text += "}";
  text.resize(static_cast<size_t>(round_up(static_cast<int64_t>(text.size()), 8)), ' ');
  if (static_cast<int64_t>(text.size()) > kSafetensorsMaxHeader) {
    throw Error(ErrorCategory::kLimit, "a safetensors header of " + std::to_string(text.size()) + " bytes");
  }
  return text;
}

}  // namespace

void check_safetensors_layout(SafetensorsHeader& header, int64_t data_bytes, const ByteSource& source) {
  std::ranges::stable_sort(header.entries, {}, [](const SafetensorsEntry& e) { return std::pair(e.begin, e.end); });
  int64_t next = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    const std::string range = "[" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + "]";
    const auto fail = [&](const std::string& message) {
      throw source.error(ErrorCategory::kParse,
                         "tensor " + in_quotes(entry.name) + ": data_offsets " + range + " " + message);
    };
    int64_t bytes = 0;
    try {
      bytes = entry.type.bytes();
    } catch (const Error& error) {
      throw error.at(source.name() + ": tensor " + in_quotes(entry.name) + ": shape " + to_string(entry.type.shape));
    }
    if (entry.end < entry.begin) fail("end before they begin");
    if (entry.end > data_bytes) fail("end past the file's " + std::to_string(data_bytes) + " bytes of data");
    if (entry.end - entry.begin != bytes) {
      fail("are not the " + std::to_string(bytes) + " bytes of " + to_string(entry.type));
    }
    if (entry.begin < next) fail("overlap the tensor before, which ends at " + std::to_string(next));
    if (entry.begin > next) fail("leave a hole: the tensor before ends at " + std::to_string(next));
    next = entry.end;
  }
  if (next != data_bytes) {
    throw source.error(ErrorCategory::kParse, std::to_string(data_bytes - next) +
                                                  " trailing bytes that belong to no tensor, after byte " +
                                                  std::to_string(source.size() - data_bytes + next));
  }
}

TensorMap parse_safetensors(const ByteSource& source, Metadata* metadata) {
  const std::string json = read_header(source);
  const int64_t data = kSafetensorsLengthBytes + static_cast<int64_t>(json.size());
  SafetensorsHeader header = parse_safetensors_header(json, source);
  check_safetensors_layout(header, source.size() - data, source);
  TensorMap tensors;
  for (SafetensorsEntry& entry : header.entries) {
    Tensor tensor(entry.type);
    source.read_at(data + entry.begin, bytes_of(tensor.view()));
    tensors.emplace(std::move(entry.name), std::move(tensor));
  }
  if (metadata != nullptr) *metadata = std::move(header.metadata);
  return tensors;
}

TensorMap parse_safetensors(std::span<const std::byte> bytes, std::string_view name) {
  return parse_safetensors(MemorySource(bytes, name));
}

TensorMap read_safetensors(const std::filesystem::path& path, Metadata* metadata) {
  return parse_safetensors(File(path), metadata);
}

void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors, const Metadata& metadata) {
  const std::vector<const Item*> items = in_file_order(tensors);
  const std::string header = header_of(items, metadata);
  const auto length = static_cast<uint64_t>(header.size());
  OutputFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(header);
  for (const Item* item : items) {
    const Tensor& tensor = item->second;
    if (tensor.device().is_cpu()) {
      file.write(bytes_of(tensor.view()));
    } else {
      file.write(bytes_of(tensor.to(Device{}).view()));
    }
  }
  file.commit();
}

}  // namespace strand
