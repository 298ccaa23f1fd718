#pragma once
// Reads audio files (WAV, FLAC and what else libsndfile opens) and writes WAV, whole or piece by piece. Without
// libsndfile wav_stub.cc stands in and every call is an Error(kUnsupported). Samples are on the host and owned by the
// caller. Any thread; one at a time for a WavReader or WavWriter.

#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "engine/tensor.h"
#include "graphs/io/byte_source.h"

namespace strand {

struct Audio {
  Tensor samples;  // float32 [1, channels, frames], full scale is +-1; integer samples are divided by 2^(bits - 1)
  int rate = 0;    // Hz
};

bool built_with_sndfile();

// A file's frames in order, the channels of a frame side by side (interleaved); scaled as Audio. Errors as read_wav,
// but of any length.
class WavReader {
 public:
  explicit WavReader(const std::filesystem::path& path);
  explicit WavReader(const ByteSource& source);  // which the caller keeps
  ~WavReader();
  WavReader(const WavReader&) = delete;
  WavReader& operator=(const WavReader&) = delete;

  int64_t channels() const;
  int64_t frames() const;
  int rate() const;  // Hz
  // Fills `samples`, whole frames, with the next ones. Returns how many frames: fewer than asked for at the end only.
  // Error(kParse) where the file holds fewer than it promises, once all of those were returned.
  int64_t read(std::span<float> samples);

 private:
  struct Opened;
  std::unique_ptr<Opened> opened_;
};

// A WAV file in the making, of 32-bit floats without clipping. It is where it belongs after commit(), or else nowhere.
class WavWriter {
 public:
  // Error(kShape) for a number of channels or a rate that no file has, Error(kIo) where it can't be made.
  WavWriter(const std::filesystem::path& path, int64_t channels, int rate);
  ~WavWriter();
  WavWriter(const WavWriter&) = delete;
  WavWriter& operator=(const WavWriter&) = delete;

  // Whole frames, interleaved. Error(kLimit) past WAV's 4 GiB, which leaves what was written before.
  void write(std::span<const float> samples);
  void commit();

 private:
  struct Opened;
  std::unique_ptr<Opened> opened_;
};

// Error(kParse) for what is no audio or for a file cut short, Error(kLimit) above 2^30 samples (4 GiB as float32). A
// header's promise is held against the file's size, and memory taken as samples arrive, never before.
Audio read_wav(const std::filesystem::path& path);
Audio parse_wav(const ByteSource& source);
Audio parse_wav(std::span<const std::byte> bytes, std::string_view name);

// Whether write_wav takes that type; its errors. Called before anything is computed.
void check_wav(const std::filesystem::path& path, const TensorType& type, int rate);
// `samples` is float32 [1, C, L] or [C, L] on any device, `rate` in Hz; written as 32-bit float without clipping.
// Error(kShape) for other types, Error(kLimit) past WAV's 4 GiB, Error(kIo) where the file can't be written.
void write_wav(const std::filesystem::path& path, const TensorView& samples, int rate);

}  // namespace strand
