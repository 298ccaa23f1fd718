#include "graphs/io/wav.h"

namespace strand {
namespace {

Error without_sndfile(const std::string& name) {
  return {ErrorCategory::kUnsupported, name + ": strand was built without libsndfile, which audio files need"};
}

}  // namespace

bool built_with_sndfile() { return false; }
Audio read_wav(const std::filesystem::path& path) { throw without_sndfile(path.string()); }
Audio parse_wav(const ByteSource& source) { throw without_sndfile(source.name()); }
Audio parse_wav(std::span<const std::byte>, std::string_view name) { throw without_sndfile(std::string(name)); }
void write_wav(const std::filesystem::path& path, const TensorView&, int) { throw without_sndfile(path.string()); }

}  // namespace strand
