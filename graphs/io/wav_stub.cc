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

struct WavReader::Opened {};
WavReader::WavReader(const std::filesystem::path& path) { throw without_sndfile(path.string()); }
WavReader::WavReader(const ByteSource& source) { throw without_sndfile(source.name()); }
WavReader::~WavReader() = default;
int64_t WavReader::channels() const { return 0; }
int64_t WavReader::frames() const { return 0; }
int WavReader::rate() const { return 0; }
int64_t WavReader::read(std::span<float>) { return 0; }

struct WavWriter::Opened {};
WavWriter::WavWriter(const std::filesystem::path& path, int64_t, int) { throw without_sndfile(path.string()); }
WavWriter::~WavWriter() = default;
void WavWriter::write(std::span<const float>) {}
void WavWriter::commit() {}

void check_wav(const std::filesystem::path& path, const TensorType&, int) { throw without_sndfile(path.string()); }
void write_wav(const std::filesystem::path& path, const TensorView&, int) { throw without_sndfile(path.string()); }

}  // namespace strand
