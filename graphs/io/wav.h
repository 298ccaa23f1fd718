#pragma once
// Reads audio files (WAV, FLAC and what else libsndfile opens) and writes WAV. Without libsndfile wav_stub.cc stands in
// and every call is an Error(kUnsupported). Samples are on the host and owned by the caller. Any thread.

#include <filesystem>
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

// Error(kParse) for what is no audio or for a file cut short, Error(kLimit) above 2^30 samples (4 GiB as float32). A
// header's promise is held against the file's size, and memory taken as samples arrive, never before.
Audio read_wav(const std::filesystem::path& path);
Audio parse_wav(const ByteSource& source);
Audio parse_wav(std::span<const std::byte> bytes, std::string_view name);

// `samples` is float32 [1, C, L] or [C, L] on any device, `rate` in Hz; written as 32-bit float without clipping.
// Error(kShape) for other types, Error(kLimit) past WAV's 4 GiB, Error(kIo) where the file can't be written.
void write_wav(const std::filesystem::path& path, const TensorView& samples, int rate);

}  // namespace strand
