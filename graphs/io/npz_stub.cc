#include "graphs/io/npz.h"

namespace strand {
namespace {

Error without_libzip(const std::string& name) {
  return {ErrorCategory::kUnsupported, name + ": strand was built without libzip, which .npz files need"};
}

}  // namespace

bool built_with_libzip() { return false; }
TensorMap read_npz(const std::filesystem::path& path) { throw without_libzip(path.string()); }
TensorMap parse_npz(const ByteSource& source) { throw without_libzip(source.name()); }
TensorMap parse_npz(std::span<const std::byte>, std::string_view name) { throw without_libzip(std::string(name)); }
void write_npz(const std::filesystem::path& path, const TensorMap&) { throw without_libzip(path.string()); }

}  // namespace strand
