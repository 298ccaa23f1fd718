#include "graphs/io/signal_file.h"

#include <algorithm>
#include <string>
#include <vector>

#include "engine/checked.h"
#include "graphs/io/file.h"
#include "graphs/io/npy.h"
#include "graphs/io/wav.h"

namespace strand {
namespace {

constexpr int64_t kFramesAPiece = 4096;

// A tensor as rows along its time axis: [outer, times, inner]. Without one it is a row of one time.
struct Rows {
  explicit Rows(const TensorType& type) {
    const int axis = type.time_axis;
    if (axis == TensorType::kNoTime) {
      inner = type.bytes();
      return;
    }
    outer = type.shape.elements(0, axis);
    times = type.shape[axis];
    inner = checked_mul(type.shape.elements(axis + 1, type.shape.rank()), size_of(type.dtype));
  }

  int64_t outer = 1;
  int64_t times = 1;
  int64_t inner = 0;  // bytes
};

Error no_stretch(const std::string& name, int64_t begin, const TensorType& stretch, const TensorType& whole) {
  return {ErrorCategory::kShape,
          name + ": " + to_string(stretch) + " at " + std::to_string(begin) + " is no stretch of " + to_string(whole)};
}

class NpySignalReader final : public SignalReader {
 public:
  NpySignalReader(File file, const NpyPlace& place)
      : SignalReader(place.type), file_(std::move(file)), data_(place.offset) {}

  void read(int64_t begin, const TensorView& target) override {
    const Rows rows(target.type);
    const int64_t row = checked_mul(rows.outer, rows.inner);
    const int64_t times = row == 0 ? rows.times : type().bytes() / row;
    if (target.type.dtype != DType::kFloat32 || begin < 0 || begin > times - rows.times ||
        (row != 0 && type().bytes() % row != 0)) {
      throw no_stretch(file_.name(), begin, target.type, type());
    }
    const int64_t bytes = rows.times * rows.inner;
    for (int64_t outer = 0; outer < rows.outer; ++outer) {
      file_.read_at(data_ + (outer * times + begin) * rows.inner,
                    {target.ptr<std::byte>() + outer * bytes, static_cast<size_t>(bytes)});
    }
  }

 private:
  File file_;
  int64_t data_;  // where it begins
};

// Frames arrive in order only, whatever the format: the last stretch is kept for those that the next one shares.
class WavSignalReader final : public SignalReader {
 public:
  explicit WavSignalReader(const std::filesystem::path& path)
      : WavSignalReader(path, std::make_unique<WavReader>(path)) {}

  void read(int64_t begin, const TensorView& target) override {
    const int64_t channels = type().shape[1];
    const Shape& shape = target.shape();
    if (target.type.dtype != DType::kFloat32 || shape.rank() != 3 || shape.elements(0, 2) != channels || begin < 0 ||
        begin > type().shape[2] - shape[2]) {
      throw no_stretch(path_.string(), begin, target.type, type());
    }
    seek(begin);
    const auto wanted = static_cast<size_t>(shape[2] * channels);
    size_t have = std::min(kept_.size(), wanted);
    if (kept_.size() < wanted) kept_.resize(wanted);
    while (have < wanted) have += next(std::span(kept_).subspan(have));
    float* to = target.ptr<float>();
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t t = 0; t < shape[2]; ++t) *to++ = kept_[static_cast<size_t>(t * channels + c)];
    }
  }

 private:
  WavSignalReader(const std::filesystem::path& path, std::unique_ptr<WavReader> reader)
      : SignalReader({DType::kFloat32, Shape{1, reader->channels(), reader->frames()}, 2}, reader->rate()),
        path_(path),
        reader_(std::move(reader)) {}

  size_t next(std::span<float> samples) {
    const int64_t frames = reader_->read(samples);
    if (frames == 0) throw Error(ErrorCategory::kIo, path_.string() + ": ended while it was read");
    return static_cast<size_t>(frames * type().shape[1]);
  }

  // Makes what is kept begin at `begin`.
  void seek(int64_t begin) {
    const int64_t channels = type().shape[1];
    if (begin < begin_) {
      reader_ = std::make_unique<WavReader>(path_);
      if (reader_->channels() != channels || reader_->frames() != type().shape[2]) {
        throw Error(ErrorCategory::kIo, path_.string() + ": changed while it was read");
      }
      kept_.clear();
      begin_ = 0;
    }
    const auto passed = static_cast<size_t>((begin - begin_) * channels);
    const size_t dropped = std::min(passed, kept_.size());
    kept_.erase(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(dropped));
    size_t skipped = passed - dropped;
    std::vector<float> piece;
    while (skipped > 0) {
      piece.resize(std::min(skipped, static_cast<size_t>(kFramesAPiece * channels)));
      skipped -= next(piece);
    }
    begin_ = begin;
  }

  std::filesystem::path path_;
  std::unique_ptr<WavReader> reader_;
  std::vector<float> kept_;  // interleaved, up to where the reader is
  int64_t begin_ = 0;        // of what is kept
};

// What both writers hold stretches against.
class OrderedWriter : public SignalWriter {
 public:
  OrderedWriter(const std::filesystem::path& path, const TensorType& type)
      : name_(path.string()), type_(type), whole_(type) {}

  void write(int64_t begin, const TensorView& stretch) final {
    const Rows rows(stretch.type);
    if (stretch.type.dtype != type_.dtype || stretch.type.time_axis != type_.time_axis || rows.outer != whole_.outer ||
        rows.inner != whole_.inner || begin != done_ || rows.times > whole_.times - begin) {
      throw no_stretch(name_, begin, stretch.type, type_);
    }
    put(begin, rows.times, stretch);
    done_ += rows.times;
  }
  void commit() final {
    if (done_ != whole_.times) {
      throw Error(ErrorCategory::kShape,
                  name_ + ": " + std::to_string(done_) + " of " + std::to_string(whole_.times) + " times were written");
    }
    finish();
  }

 protected:
  const Rows& whole() const { return whole_; }

 private:
  virtual void put(int64_t begin, int64_t times, const TensorView& stretch) = 0;
  virtual void finish() = 0;

  std::string name_;
  TensorType type_;
  Rows whole_;
  int64_t done_ = 0;  // times
};

class NpySignalWriter final : public OrderedWriter {
 public:
  NpySignalWriter(const std::filesystem::path& path, const TensorType& type) : OrderedWriter(path, type), file_(path) {
    const std::string header = npy_header(type);
    file_.write(header);
    data_ = static_cast<int64_t>(header.size());
  }

 private:
  void put(int64_t begin, int64_t times, const TensorView& stretch) override {
    const int64_t bytes = times * whole().inner;
    for (int64_t outer = 0; outer < whole().outer; ++outer) {
      file_.write_at(data_ + (outer * whole().times + begin) * whole().inner,
                     {stretch.ptr<const std::byte>() + outer * bytes, static_cast<size_t>(bytes)});
    }
  }
  void finish() override { file_.commit(); }

  OutputFile file_;
  int64_t data_ = 0;  // where it begins
};

class WavSignalWriter final : public OrderedWriter {
 public:
  WavSignalWriter(const std::filesystem::path& path, const TensorType& type, int rate)
      : OrderedWriter(path, type), channels_(type.shape[1]), writer_(path, channels_, rate) {}

 private:
  void put(int64_t, int64_t times, const TensorView& stretch) override {
    const float* from = stretch.ptr<const float>();  // [C, times]
    for (int64_t begin = 0; begin < times; begin += kFramesAPiece) {
      piece_.clear();
      for (int64_t t = begin; t < std::min(begin + kFramesAPiece, times); ++t) {
        for (int64_t c = 0; c < channels_; ++c) piece_.push_back(from[c * times + t]);
      }
      writer_.write(piece_);
    }
  }
  void finish() override { writer_.commit(); }

  int64_t channels_;
  WavWriter writer_;
  std::vector<float> piece_;  // interleaved
};

}  // namespace

std::unique_ptr<SignalReader> open_npy_signal(const std::filesystem::path& path) {
  File file(path);
  const NpyPlace place = find_npy(file);
  if (place.type.dtype != DType::kFloat32 || (place.fortran_order && place.type.shape.rank() > 1)) return nullptr;
  return std::make_unique<NpySignalReader>(std::move(file), place);
}

std::unique_ptr<SignalReader> open_wav_signal(const std::filesystem::path& path) {
  return std::make_unique<WavSignalReader>(path);
}

std::unique_ptr<SignalWriter> make_npy_signal(const std::filesystem::path& path, const TensorType& type) {
  return std::make_unique<NpySignalWriter>(path, type);
}

std::unique_ptr<SignalWriter> make_wav_signal(const std::filesystem::path& path, const TensorType& type, int rate) {
  check_wav(path, type, rate);
  if (type.shape.rank() != 3 || type.time_axis != 2) {
    throw Error(ErrorCategory::kShape, path.string() + ": " + to_string(type) + " has no time last, as audio has");
  }
  return std::make_unique<WavSignalWriter>(path, type, rate);
}

}  // namespace strand
