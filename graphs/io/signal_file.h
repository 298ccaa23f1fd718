#pragma once
// Signals in files, read and written stretch by stretch in memory that does not grow with their length: float32 .npy
// arrays in row order, and audio. TiledSession's Read and Write end here. One thread at a time for an object.

#include <filesystem>
#include <memory>

#include "engine/tensor.h"

namespace strand {

class SignalReader {
 public:
  virtual ~SignalReader() = default;
  explicit SignalReader(const TensorType& type, int rate = 0) : type_(type), rate_(rate) {}
  SignalReader(const SignalReader&) = delete;
  SignalReader& operator=(const SignalReader&) = delete;

  const TensorType& type() const { return type_; }  // float32, of the whole signal as the file has it
  int rate() const { return rate_; }                // Hz; 0: the file says none
  // Fills `target`, float32 on the host, from `begin` on along its time axis; all of the signal where it has none. Its
  // elements are the file's in row order, so that axes of size 1 may stand before them. Error(kShape) for a stretch
  // that the signal has not, Error(kIo) or Error(kParse) where the file ends early after all.
  virtual void read(int64_t begin, const TensorView& target) = 0;

 private:
  TensorType type_;
  int rate_;
};

// Null where the array is not float32 in row order, which takes read_npy. Errors as there.
std::unique_ptr<SignalReader> open_npy_signal(const std::filesystem::path& path);
// [1, channels, frames], the samples of read_wav, whose errors these are. Going back starts the file from its
// beginning: stretches are best taken in order. They may overlap, since the last one is kept.
std::unique_ptr<SignalReader> open_wav_signal(const std::filesystem::path& path);

// A file in the making. It is where it belongs after commit(), or else nowhere.
class SignalWriter {
 public:
  virtual ~SignalWriter() = default;
  SignalWriter() = default;
  SignalWriter(const SignalWriter&) = delete;
  SignalWriter& operator=(const SignalWriter&) = delete;

  // A stretch of the signal, on the host, that begins at `begin`; in order, without gaps. Error(kIo) where it can't be
  // written, Error(kShape) where it is no stretch of the signal or not the next one.
  virtual void write(int64_t begin, const TensorView& stretch) = 0;
  virtual void commit() = 0;  // after the last stretch
};

// The bytes of write_npy. `type` says the whole shape and the time axis.
std::unique_ptr<SignalWriter> make_npy_signal(const std::filesystem::path& path, const TensorType& type);
// The bytes of write_wav. `type` is float32 [1, channels, frames] with time last.
std::unique_ptr<SignalWriter> make_wav_signal(const std::filesystem::path& path, const TensorType& type, int rate);

}  // namespace strand
