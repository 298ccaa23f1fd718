#include "tools/sound_pipe.h"

#include <poll.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstring>
#include <system_error>
#include <vector>

#include "engine/error.h"
#include "tools/stop_signals.h"

namespace strand::tools {
namespace {

static_assert(std::endian::native == std::endian::little, "raw samples are little-endian");

constexpr float kFullScale = 32768;

Error io_error(const std::string& what, int reason) {
  return {ErrorCategory::kIo, what + ": " + std::generic_category().message(reason)};
}

int64_t bytes_a_sample(SampleFormat format) { return format == SampleFormat::kInt16 ? 2 : 4; }

// Some programs leave a pipe in a mode that does not wait.
void wait_for(int descriptor, short events) {
  pollfd entry{descriptor, events, 0};
  ::poll(&entry, 1, -1);
}

// Waits for input. A signal between the question and the wait would be slept over, so none comes until the wait.
void wait_for_input_or_signal() {
  sigset_t signals;
  sigset_t before;
  ::sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM}) ::sigaddset(&signals, number);
  ::pthread_sigmask(SIG_BLOCK, &signals, &before);
  pollfd entry{STDIN_FILENO, POLLIN, 0};
  if (!stopped()) ::ppoll(&entry, 1, nullptr, &before);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

class RawSource final : public SoundSource {
 public:
  RawSource(SampleFormat format, int64_t channels) : format_(format), frame_(channels * bytes_a_sample(format)) {}

  int64_t read(std::span<float> samples) override {
    check_end();
    bytes_.resize(samples.size() * static_cast<size_t>(bytes_a_sample(format_)));
    const int64_t got = fill(bytes_);
    check_header(got);
    left_over_ = stopped() ? 0 : got % frame_;
    const int64_t count = (got - got % frame_) / bytes_a_sample(format_);
    if (count == 0) check_end();
    for (int64_t i = 0; i < count && format_ == SampleFormat::kInt16; ++i) {
      int16_t sample = 0;
      std::memcpy(&sample, bytes_.data() + i * bytes_a_sample(format_), sizeof sample);
      samples[static_cast<size_t>(i)] = static_cast<float>(sample) / kFullScale;
    }
    if (format_ == SampleFormat::kFloat32) {
      std::memcpy(samples.data(), bytes_.data(), static_cast<size_t>(got - got % frame_));
    }
    return count;
  }

 private:
  void check_end() const {
    if (failure_ != 0) throw io_error("standard input can't be read", failure_);
    if (left_over_ == 0) return;
    throw Error(ErrorCategory::kParse, "standard input ends within a frame: " + std::to_string(left_over_) +
                                           " bytes of " + std::to_string(frame_));
  }

  // How many bytes came until the end.
  int64_t fill(std::span<std::byte> target) {
    size_t got = 0;
    while (got < target.size() && failure_ == 0) {
      wait_for_input_or_signal();
      if (stopped()) break;
      const ssize_t count = ::read(STDIN_FILENO, target.data() + got, target.size() - got);
      if (count == 0) break;
      if (count > 0) {
        got += static_cast<size_t>(count);
      } else if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK) {
        failure_ = errno;
      }
    }
    return static_cast<int64_t>(got);
  }

  void check_header(int64_t got) {
    constexpr int64_t kHeader = 12;
    const auto* text = reinterpret_cast<const char*>(bytes_.data());
    if (!begun_ && got >= kHeader && std::memcmp(text, "RIFF", 4) == 0 && std::memcmp(text + 8, "WAVE", 4) == 0) {
      throw Error(ErrorCategory::kParse, "standard input is a WAV file, expected raw samples (sox: -t raw)");
    }
    begun_ = true;
  }

  SampleFormat format_;
  int64_t frame_;          // bytes
  int64_t left_over_ = 0;  // bytes of a frame that was cut off
  int failure_ = 0;        // what errno said
  bool begun_ = false;
  std::vector<std::byte> bytes_;
};

class RawSink final : public SoundSink {
 public:
  explicit RawSink(SampleFormat format) : format_(format) { ::signal(SIGPIPE, SIG_IGN); }

  bool write(std::span<const float> samples) override {
    if (format_ == SampleFormat::kFloat32) return drain(std::as_bytes(samples));
    integers_.clear();
    for (const float sample : samples) integers_.push_back(to_integer(sample));
    return drain(std::as_bytes(std::span(integers_)));
  }
  int64_t clipped() const override { return clipped_; }

 private:
  // Rounds to nearest even. What is no number is silence.
  int16_t to_integer(float sample) {
    const float scaled = std::nearbyint(sample * kFullScale);
    if (scaled >= -kFullScale && scaled < kFullScale) return static_cast<int16_t>(scaled);
    ++clipped_;
    if (std::isnan(scaled)) return 0;
    return scaled < 0 ? INT16_MIN : INT16_MAX;
  }

  static bool drain(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
      if (count >= 0) {
        bytes = bytes.subspan(static_cast<size_t>(count));
      } else if (errno == EPIPE) {
        return false;
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        wait_for(STDOUT_FILENO, POLLOUT);
      } else if (errno != EINTR) {
        throw io_error("standard output can't be written", errno);
      }
    }
    return true;
  }

  SampleFormat format_;
  int64_t clipped_ = 0;
  std::vector<int16_t> integers_;
};

class FileSource final : public SoundSource {
 public:
  explicit FileSource(std::unique_ptr<WavReader> reader) : reader_(std::move(reader)) {}
  int64_t read(std::span<float> samples) override {
    return stopped() ? 0 : reader_->read(samples) * reader_->channels();
  }

 private:
  std::unique_ptr<WavReader> reader_;
};

class FileSink final : public SoundSink {
 public:
  FileSink(const std::string& path, int64_t channels, int rate) : writer_(path, channels, rate) {}
  bool write(std::span<const float> samples) override {
    writer_.write(samples);
    return true;
  }
  void finish() override { writer_.commit(); }

 private:
  WavWriter writer_;
};

}  // namespace

std::unique_ptr<SoundSource> raw_source(SampleFormat format, int64_t channels) {
  return std::make_unique<RawSource>(format, channels);
}

std::unique_ptr<SoundSink> raw_sink(SampleFormat format) { return std::make_unique<RawSink>(format); }

std::unique_ptr<SoundSource> file_source(std::unique_ptr<WavReader> reader) {
  return std::make_unique<FileSource>(std::move(reader));
}

std::unique_ptr<SoundSink> file_sink(const std::string& path, int64_t channels, int rate) {
  return std::make_unique<FileSink>(path, channels, rate);
}

}  // namespace strand::tools
