#include "tools/stream_pump.h"

#include <array>

namespace strand::tools {
namespace {

Tensor chunk_of(const StreamSession& session) {
  Shape shape = session.plan().input_type(0).shape;
  shape.set(2, session.max_chunk());
  return Tensor({DType::kFloat32, shape, 2});
}

}  // namespace

StreamPump::StreamPump(StreamSession& session, const Port& port, SoundSource& source, SoundSink& sink)
    : session_(session),
      port_(port),
      source_(source),
      sink_(sink),
      chunk_(chunk_of(session)),
      interleaved_(static_cast<size_t>(chunk_.shape().elements())) {}

void StreamPump::run() {
  try {
    push(0);  // silence before the first sample is not the first push's to pay for
    while (!tally_.closed) {
      const int64_t frames = read();
      if (frames == 0) break;
      push(frames);
    }
    if (!tally_.closed && (failure_ == nullptr || tally_.samples > 0)) deliver(session_.finish()[port_.output]);
  } catch (...) {
    if (failure_ == nullptr) failure_ = std::current_exception();
  }
  if (failure_ != nullptr && tally_.samples == 0) return;
  try {
    sink_.finish();
  } catch (...) {
    if (failure_ == nullptr) failure_ = std::current_exception();
  }
}

void StreamPump::rethrow() const {
  if (failure_ != nullptr) std::rethrow_exception(failure_);
}

// A source that fails has ended: what came before is a sound like any other.
int64_t StreamPump::read() {
  try {
    return source_.read(interleaved_) / chunk_.shape()[1];
  } catch (...) {
    failure_ = std::current_exception();
    return 0;
  }
}

void StreamPump::push(int64_t frames) {
  TensorView chunk = chunk_.view();
  chunk.type.shape.set(2, frames);
  const int64_t channels = chunk.shape()[1];
  const std::span<float> planar = chunk.as<float>();
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t t = 0; t < frames; ++t) {
      planar[static_cast<size_t>(c * frames + t)] = interleaved_[static_cast<size_t>(t * channels + c)];
    }
  }
  const auto start = Clock::now();
  const TensorView output = session_.push(std::array{chunk})[port_.output];
  const auto taken = Clock::now() - start;
  if (frames > 0) {
    tally_.samples += frames;
    tally_.pushes.add(std::chrono::nanoseconds(taken).count());
    if (std::chrono::duration<double>(taken).count() > static_cast<double>(frames) / port_.input_rate) {
      ++tally_.overruns;
    }
  }
  deliver(output);
}

void StreamPump::deliver(const TensorView& output) {
  const int64_t channels = output.shape()[1];
  const int64_t frames = output.shape()[2];
  if (frames == 0) return;
  play(frames);
  Tensor rounded;
  if (output.type.dtype != DType::kFloat32) {
    rounded = Tensor({DType::kFloat32, output.shape(), 2});
    convert(output, rounded.view());
  }
  const std::span<const float> planar = rounded.view().present() ? rounded.as<const float>() : output.as<const float>();
  outgoing_.resize(planar.size());
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t t = 0; t < frames; ++t) {
      outgoing_[static_cast<size_t>(t * channels + c)] = planar[static_cast<size_t>(c * frames + t)];
    }
  }
  tally_.closed = !sink_.write(outgoing_);
  if (!tally_.closed) tally_.outputs += frames;
}

void StreamPump::play(int64_t frames) {
  const auto now = Clock::now();
  const auto lasting = [](double seconds) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  };
  if (!playing_) {
    playing_ = true;
    played_until_ = now + lasting(static_cast<double>(kPlayerChunks * session_.max_chunk()) / port_.input_rate);
  } else if (now > played_until_) {
    ++tally_.underruns;
    played_until_ = now;
  }
  played_until_ += lasting(static_cast<double>(frames) / port_.output_rate);
}

}  // namespace strand::tools
