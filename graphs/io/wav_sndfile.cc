#include <sndfile.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

#include "engine/checked.h"
#include "graphs/io/file.h"
#include "graphs/io/wav.h"

namespace strand {
namespace {

constexpr int64_t kMaxSamples = int64_t{1} << 30;
constexpr int64_t kMaxWavBytes = 0xFFFFF000;  // of data: sizes are 32 bits, and the header needs a few
constexpr int kMaxChannels = 1024;            // libsndfile's own limit
constexpr int64_t kFramesAPiece = 4096;

struct Close {
  void operator()(SNDFILE* file) const { sf_close(file); }
};
using SoundFile = std::unique_ptr<SNDFILE, Close>;

// libsndfile's view of a ByteSource. Exceptions must not cross libsndfile, so the callback keeps them for later.
struct SoundInput {
  const ByteSource& source;
  int64_t at = 0;
  std::exception_ptr thrown;

  static SoundInput& of(void* self) { return *static_cast<SoundInput*>(self); }
  static sf_count_t size(void* self) { return of(self).source.size(); }
  static sf_count_t tell(void* self) { return of(self).at; }
  static sf_count_t seek(sf_count_t offset, int whence, void* self) {
    SoundInput& input = of(self);
    const int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? input.at : input.source.size();
    int64_t target = 0;
    if (__builtin_add_overflow(base, offset, &target) || target < 0 || target > input.source.size()) return -1;
    input.at = target;
    return target;
  }
  static sf_count_t read(void* data, sf_count_t bytes, void* self) {
    SoundInput& input = of(self);
    const int64_t count = std::clamp<int64_t>(input.source.size() - input.at, 0, bytes);
    try {
      input.source.read_at(input.at, {static_cast<std::byte*>(data), static_cast<size_t>(count)});
    } catch (...) {
      input.thrown = std::current_exception();
      return 0;
    }
    input.at += count;
    return count;
  }
  static sf_count_t write(const void*, sf_count_t, void*) { return 0; }
};

// libsndfile quietly shortens a WAV whose data chunk is cut off, so the chunks are walked here first.
void check_riff(const ByteSource& source) {
  constexpr int64_t kRiffHeader = 12;
  constexpr int64_t kChunkHeader = 8;
  std::array<char, kRiffHeader> riff = {};
  if (source.size() < kRiffHeader) throw source.error(ErrorCategory::kParse, "too short for an audio file");
  source.read_at(0, std::as_writable_bytes(std::span(riff)));
  if (std::string_view(riff.data(), 4) != "RIFF" || std::string_view(riff.data() + 8, 4) != "WAVE") return;
  int64_t at = kRiffHeader;
  while (source.size() - at >= kChunkHeader) {
    std::array<char, kChunkHeader> chunk = {};
    source.read_at(at, std::as_writable_bytes(std::span(chunk)));
    uint32_t bytes = 0;
    std::memcpy(&bytes, chunk.data() + 4, sizeof bytes);
    at += kChunkHeader;
    if (bytes > source.size() - at) {
      throw source.error(ErrorCategory::kParse, "byte " + std::to_string(at - kChunkHeader) + ": a chunk of " +
                                                    std::to_string(bytes) + " bytes ends past the file's " +
                                                    std::to_string(source.size()));
    }
    if (std::string_view(chunk.data(), 4) == "data") return;
    at += bytes + (bytes & 1U);
  }
  throw source.error(ErrorCategory::kParse, "has no data chunk");
}

// Bytes a sample takes in the file at the least, or 0 for compressed formats.
int64_t bytes_a_sample(int format) {
  if ((format & SF_FORMAT_TYPEMASK) == SF_FORMAT_FLAC) return 0;
  switch (format & SF_FORMAT_SUBMASK) {
    case SF_FORMAT_PCM_S8:
    case SF_FORMAT_PCM_U8:
    case SF_FORMAT_ULAW:
    case SF_FORMAT_ALAW:
      return 1;
    case SF_FORMAT_PCM_16:
      return 2;
    case SF_FORMAT_PCM_24:
      return 3;
    case SF_FORMAT_PCM_32:
    case SF_FORMAT_FLOAT:
      return 4;
    case SF_FORMAT_DOUBLE:
      return 8;
    default:
      return 0;
  }
}

void check_promise(const SF_INFO& info, const ByteSource& source) {
  if (info.channels < 1 || info.channels > kMaxChannels || info.samplerate < 1 || info.frames < 0) {
    throw source.error(ErrorCategory::kParse, "promises " + std::to_string(info.channels) + " channels, " +
                                                  std::to_string(info.frames) + " frames at " +
                                                  std::to_string(info.samplerate) + " Hz");
  }
  const int64_t bytes = checked_mul(checked_mul(info.frames, info.channels), bytes_a_sample(info.format));
  if (bytes > source.size()) {
    throw source.error(ErrorCategory::kParse, "promises " + std::to_string(bytes) + " bytes of samples; the file has " +
                                                  std::to_string(source.size()));
  }
}

}  // namespace

bool built_with_sndfile() { return true; }

struct WavReader::Opened {
  explicit Opened(const ByteSource& bytes) : source(bytes) { open(); }
  explicit Opened(const std::filesystem::path& path) : own(path), source(*own) { open(); }

  void open() {
    check_riff(source);
    file.reset(sf_open_virtual(&io, SFM_READ, &info, &input));
    if (input.thrown) std::rethrow_exception(input.thrown);
    if (file == nullptr) throw source.error(ErrorCategory::kParse, std::string("no audio: ") + sf_strerror(nullptr));
    check_promise(info, source);
  }

  std::optional<File> own;
  const ByteSource& source;
  SoundInput input{source, 0, nullptr};
  SF_VIRTUAL_IO io = {SoundInput::size, SoundInput::seek, SoundInput::read, SoundInput::write, SoundInput::tell};
  SF_INFO info = {};
  SoundFile file;
  int64_t done = 0;  // frames
};

WavReader::WavReader(const std::filesystem::path& path) : opened_(std::make_unique<Opened>(path)) {}
WavReader::WavReader(const ByteSource& source) : opened_(std::make_unique<Opened>(source)) {}
WavReader::~WavReader() = default;

int64_t WavReader::channels() const { return opened_->info.channels; }
int64_t WavReader::frames() const { return opened_->info.frames; }
int WavReader::rate() const { return opened_->info.samplerate; }

int64_t WavReader::read(std::span<float> samples) {
  Opened& opened = *opened_;
  const int64_t wanted = std::min(static_cast<int64_t>(samples.size()) / channels(), frames() - opened.done);
  if (wanted == 0) return 0;
  const int64_t count = std::max<int64_t>(sf_readf_float(opened.file.get(), samples.data(), wanted), 0);
  if (count == 0) {
    if (opened.input.thrown) std::rethrow_exception(opened.input.thrown);
    throw opened.source.error(ErrorCategory::kParse, "promises " + std::to_string(frames()) + " frames and holds " +
                                                         std::to_string(opened.done));
  }
  opened.done += count;
  return count;
}

// Read piece by piece, so that a promise costs no memory until it is kept.
Audio parse_wav(const ByteSource& source) {
  WavReader reader(source);
  const int64_t channels = reader.channels();
  if (reader.frames() > kMaxSamples / channels) {
    throw source.error(ErrorCategory::kLimit, std::to_string(reader.frames()) + " frames of " +
                                                  std::to_string(channels) + " channels; the limit is " +
                                                  std::to_string(kMaxSamples) + " samples");
  }
  std::vector<float> samples;  // interleaved
  for (int64_t frames = 0; frames < reader.frames();) {
    const int64_t piece = std::min(kFramesAPiece, reader.frames() - frames);
    samples.resize(static_cast<size_t>((frames + piece) * channels));
    frames += reader.read(std::span(samples).subspan(static_cast<size_t>(frames * channels)));
  }
  const int64_t frames = reader.frames();
  Audio audio{Tensor(TensorType{DType::kFloat32, Shape{1, channels, frames}, 2}), reader.rate()};
  float* to = audio.samples.view().ptr<float>();  // [1, C, L]
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t t = 0; t < frames; ++t) *to++ = samples[static_cast<size_t>(t * channels + c)];
  }
  return audio;
}

Audio parse_wav(std::span<const std::byte> bytes, std::string_view name) {
  return parse_wav(MemorySource(bytes, name));
}

Audio read_wav(const std::filesystem::path& path) { return parse_wav(File(path)); }

struct WavWriter::Opened {
  Opened(const std::filesystem::path& path, int64_t channels, int rate) : output(path) {
    info.channels = static_cast<int>(channels);
    info.samplerate = rate;
    info.format = SF_FORMAT_WAV | SF_FORMAT_FLOAT;
    file.reset(sf_open_fd(output.descriptor(), SFM_WRITE, &info, SF_FALSE));
    if (file == nullptr) throw failure();
    sf_command(file.get(), SFC_SET_ADD_PEAK_CHUNK, nullptr, SF_FALSE);  // it would hold the time of writing
  }
  Error failure() const {
    return {ErrorCategory::kIo, output.target().string() + ": can't be written: " + sf_strerror(file.get())};
  }

  OutputFile output;
  SF_INFO info = {};
  SoundFile file;
  int64_t bytes = 0;  // of samples, so far
};

WavWriter::WavWriter(const std::filesystem::path& path, int64_t channels, int rate) {
  if (channels < 1 || channels > kMaxChannels || rate < 1) {
    throw Error(ErrorCategory::kShape, path.string() + ": " + std::to_string(channels) + " channels at " +
                                           std::to_string(rate) + " Hz is no audio; a file has 1 to " +
                                           std::to_string(kMaxChannels) + " channels");
  }
  opened_ = std::make_unique<Opened>(path, channels, rate);
}
WavWriter::~WavWriter() = default;

void WavWriter::write(std::span<const float> samples) {
  Opened& opened = *opened_;
  const int64_t bytes = opened.bytes + static_cast<int64_t>(samples.size_bytes());
  if (bytes > kMaxWavBytes) {
    throw Error(ErrorCategory::kLimit, opened.output.target().string() + ": " + std::to_string(bytes) +
                                           " bytes of samples; a WAV file holds 4 GiB");
  }
  const sf_count_t frames = static_cast<sf_count_t>(samples.size()) / opened.info.channels;
  if (sf_writef_float(opened.file.get(), samples.data(), frames) != frames) throw opened.failure();
  opened.bytes = bytes;
}

void WavWriter::commit() {
  OutputFile& output = opened_->output;
  if (sf_close(opened_->file.release()) != 0) {
    throw Error(ErrorCategory::kIo, output.target().string() + ": can't be written");
  }
  output.commit();
}

void check_wav(const std::filesystem::path& path, const TensorType& type, int rate) {
  const Shape& shape = type.shape;
  const bool fits = shape.rank() == 2 || (shape.rank() == 3 && shape[0] == 1);
  if (type.dtype != DType::kFloat32 || !fits || shape[-2] < 1 || shape[-2] > kMaxChannels || rate < 1) {
    throw Error(ErrorCategory::kShape, path.string() + ": " + to_string(type) + " at " + std::to_string(rate) +
                                           " Hz is no audio; expected float32 [1, channels, frames]");
  }
  if (type.bytes() > kMaxWavBytes) {
    throw Error(ErrorCategory::kLimit,
                path.string() + ": " + std::to_string(type.bytes()) + " bytes of samples; a WAV file holds 4 GiB");
  }
}

void write_wav(const std::filesystem::path& path, const TensorView& samples, int rate) {
  if (samples.present() && !samples.device.is_cpu()) return write_wav(path, copy_of(samples).view(), rate);
  if (!samples.present()) throw Error(ErrorCategory::kShape, path.string() + ": there is no tensor to write");
  check_wav(path, samples.type, rate);
  const Shape& shape = samples.shape();
  const int64_t channels = shape[-2];
  const int64_t frames = shape[-1];
  WavWriter writer(path, channels, rate);
  std::vector<float> piece;
  const std::span<const float> from = samples.as<const float>();  // [C, L]
  for (int64_t begin = 0; begin < frames; begin += kFramesAPiece) {
    piece.clear();
    for (int64_t t = begin; t < std::min(begin + kFramesAPiece, frames); ++t) {
      for (int64_t c = 0; c < channels; ++c) piece.push_back(from[static_cast<size_t>(c * frames + t)]);
    }
    writer.write(piece);
  }
  writer.commit();
}

}  // namespace strand
