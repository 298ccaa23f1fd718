#pragma once
// Sound that comes and goes a piece at a time: raw samples on a file descriptor, or an audio file. A frame is one
// sample of each channel, side by side (interleaved). Used by one thread.

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "graphs/io/wav.h"

namespace strand::tools {

enum class SampleFormat : uint8_t { kFloat32, kInt16 };  // little-endian; 16-bit full scale is +-1, as in audio files

class SoundSource {
 public:
  virtual ~SoundSource() = default;
  // The next frames, as many as `samples` holds where the sound is that long: waits for them. Returns how many samples
  // came, 0 at the end or when a signal said to stop. An end within a frame, and what else goes wrong, is an Error once
  // all that came before was returned.
  virtual int64_t read(std::span<float> samples) = 0;
};

class SoundSink {
 public:
  virtual ~SoundSink() = default;
  // False where nobody reads the pipe any more. Error(kIo), or Error(kLimit) past a WAV's 4 GiB.
  virtual bool write(std::span<const float> samples) = 0;
  // Nothing more comes: a file is put in its place.
  virtual void finish() {}
  virtual int64_t clipped() const { return 0; }  // samples that the format has no number for
};

// Standard input, whose frames have `channels` samples. Error(kParse) for a WAV file instead of raw samples.
std::unique_ptr<SoundSource> raw_source(SampleFormat format, int64_t channels);
// Standard output. A closed pipe is no signal from now on.
std::unique_ptr<SoundSink> raw_sink(SampleFormat format);

std::unique_ptr<SoundSource> file_source(std::unique_ptr<WavReader> reader);
std::unique_ptr<SoundSink> file_sink(const std::string& path, int64_t channels, int rate);  // Hz

}  // namespace strand::tools
