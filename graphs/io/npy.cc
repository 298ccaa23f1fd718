#include "graphs/io/npy.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "graphs/io/file.h"
#include "graphs/io/npy_header.h"

namespace strand {
namespace {

static_assert(std::endian::native == std::endian::little, "the files hold little-endian numbers");

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr int64_t kPreamble = 8;           // bytes: magic and version
constexpr int64_t kMaxHeader = 64 * 1024;  // bytes; 8 sizes and a name need a few hundred
constexpr size_t kAlignment = 64;          // bytes, of the data that we write

std::span<std::byte> bytes_of(const TensorView& view) {
  return {view.ptr<std::byte>(), static_cast<size_t>(view.type.bytes())};
}

struct Place {
  int64_t offset;
  int64_t bytes;
};

// Where the header's text lies.
Place find_header(const ByteSource& source) {
  std::array<char, kPreamble> preamble = {};
  if (source.size() < kPreamble) throw source.error(ErrorCategory::kParse, "too short for an .npy file");
  source.read_at(0, std::as_writable_bytes(std::span(preamble)));
  if (std::string_view(preamble.data(), kMagic.size()) != kMagic) {
    throw source.error(ErrorCategory::kParse, "byte 0: no \\x93NUMPY: not an .npy file");
  }
  const int major = static_cast<unsigned char>(preamble[6]);
  const int minor = static_cast<unsigned char>(preamble[7]);
  if (major < 1 || major > 3 || minor != 0) {
    throw source.error(ErrorCategory::kUnsupported, "byte 6: .npy version " + std::to_string(major) + "." +
                                                        std::to_string(minor) + "; expected 1.0, 2.0 or 3.0");
  }
  const size_t length_bytes = major == 1 ? 2 : 4;
  uint32_t length = 0;
  source.read_at(kPreamble, std::as_writable_bytes(std::span(&length, 1)).first(length_bytes));
  const Place header = {kPreamble + static_cast<int64_t>(length_bytes), length};
  if (header.bytes > source.size() - header.offset) {
    throw source.error(ErrorCategory::kParse, "byte 8: a header of " + std::to_string(length) +
                                                  " bytes ends past the file's " + std::to_string(source.size()));
  }
  if (header.bytes > kMaxHeader) {
    throw source.error(ErrorCategory::kLimit, "byte 8: a header of " + std::to_string(length) +
                                                  " bytes; the limit is " + std::to_string(kMaxHeader));
  }
  return header;
}

// Column order to row order: element by element in the target's order, the source's offset kept as an odometer.
void transpose(const std::byte* source, const TensorView& target) {
  const Shape& shape = target.shape();
  const auto step = size_of(target.type.dtype);
  std::array<int64_t, Shape::kMaxRank> strides = {};  // of the source, in elements
  std::array<int64_t, Shape::kMaxRank> index = {};
  for (int axis = 0; axis < shape.rank(); ++axis) strides[static_cast<size_t>(axis)] = shape.elements(0, axis);
  int64_t from = 0;
  const int64_t count = target.elements();
  for (int64_t to = 0; to < count; ++to) {
    std::memcpy(target.ptr<std::byte>() + to * step, source + from * step, static_cast<size_t>(step));
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      const auto i = static_cast<size_t>(axis);
      from += strides[i];
      if (++index[i] < shape[axis]) break;
      from -= strides[i] * shape[axis];
      index[i] = 0;
    }
  }
}

}  // namespace

NpyPlace find_npy(const ByteSource& source) {
  const Place place = find_header(source);
  std::string text(static_cast<size_t>(place.bytes), '\0');
  source.read_at(place.offset, std::as_writable_bytes(std::span(text)));
  const NpyHeader header = parse_npy_header(text, place.offset, source);
  const int64_t data = place.offset + place.bytes;
  int64_t bytes = 0;
  try {
    bytes = header.type.bytes();
  } catch (const Error& error) {
    throw error.at(source.name() + ": shape " + to_string(header.type.shape));
  }
  if (bytes != source.size() - data) {
    throw source.error(ErrorCategory::kParse, "byte " + std::to_string(data) + ": " + to_string(header.type) +
                                                  " needs " + std::to_string(bytes) + " bytes of data; the file has " +
                                                  std::to_string(source.size() - data));
  }
  return {header.type, header.fortran_order, data};
}

Tensor parse_npy(const ByteSource& source) {
  const NpyPlace place = find_npy(source);
  Tensor tensor(place.type);
  if (!place.fortran_order || place.type.shape.rank() < 2) {
    source.read_at(place.offset, bytes_of(tensor.view()));
    return tensor;
  }
  const Tensor columns(place.type);
  source.read_at(place.offset, bytes_of(columns.view()));
  transpose(columns.view().ptr<const std::byte>(), tensor.view());
  return tensor;
}

Tensor parse_npy(std::span<const std::byte> bytes, std::string_view name) {
  return parse_npy(MemorySource(bytes, name));
}

Tensor read_npy(const std::filesystem::path& path) { return parse_npy(File(path)); }

std::string npy_header(const TensorType& type) {
  const std::string_view descr = npy_descr(type.dtype);
  if (descr.empty()) {
    throw Error(ErrorCategory::kUnsupported, "NumPy has no " + std::string(to_string(type.dtype)));
  }
  std::string shape;
  for (const int64_t size : type.shape.sizes()) shape += (shape.empty() ? "" : ", ") + std::to_string(size);
  if (type.shape.rank() == 1) shape += ",";
  std::string text = "{'descr': '" + std::string(descr) + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  const size_t before = kMagic.size() + 2 + sizeof(uint16_t);
  const size_t total = (before + text.size() + 1 + kAlignment - 1) / kAlignment * kAlignment;
  text.resize(total - before - 1, ' ');
  text += '\n';
  const auto length = static_cast<uint16_t>(text.size());
  std::string header(kMagic);
  header += {'\x01', '\x00', static_cast<char>(length & 0xFFU), static_cast<char>(length >> 8)};
  return header + text;
}

std::vector<std::byte> npy_bytes(const TensorView& tensor) {
  if (!tensor.present()) throw Error(ErrorCategory::kShape, "there is no tensor to write");
  if (!tensor.device.is_cpu()) return npy_bytes(copy_of(tensor).view());
  const std::string header = npy_header(tensor.type);
  std::vector<std::byte> bytes(header.size() + static_cast<size_t>(tensor.type.bytes()));
  std::ranges::copy(std::as_bytes(std::span(header)), bytes.begin());
  std::ranges::copy(bytes_of(tensor), bytes.begin() + static_cast<std::ptrdiff_t>(header.size()));
  return bytes;
}

void write_npy(const std::filesystem::path& path, const TensorView& tensor) {
  if (!tensor.present()) throw Error(ErrorCategory::kShape, path.string() + ": there is no tensor to write");
  if (!tensor.device.is_cpu()) return write_npy(path, copy_of(tensor).view());
  const std::string header = npy_header(tensor.type);
  OutputFile file(path);
  file.write(header);
  file.write(bytes_of(tensor));
  file.commit();
}

}  // namespace strand
