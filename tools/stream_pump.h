#pragma once
// Moves sound from a source through a StreamSession to a sink, a chunk at a time, and takes the time. One thread.

#include <chrono>
#include <cstdint>
#include <exception>
#include <span>
#include <vector>

#include "engine/stream_session.h"
#include "tools/sound_pipe.h"
#include "tools/time_histogram.h"

namespace strand::tools {

constexpr int64_t kPlayerChunks = 2;

struct StreamTally {
  TimeHistogram pushes;
  int64_t samples = 0;   // a channel, that came
  int64_t outputs = 0;   // a channel, that went
  int64_t overruns = 0;  // pushes that took longer than their samples last
  // How often a player would have had nothing to play: one that starts kPlayerChunks chunks after the first output
  // came, and after each such gap waits for what comes next and goes on from there.
  int64_t underruns = 0;
  bool closed = false;  // nobody reads the output any more
};

class StreamPump {
 public:
  struct Port {
    size_t output;       // of the plan's: [1, channels, frames]
    double input_rate;   // Hz
    double output_rate;  // Hz
  };

  // The session has one input. Both keep what they are given by reference.
  StreamPump(StreamSession& session, const Port& port, SoundSource& source, SoundSink& sink);

  // Until the sound ends, or nobody reads the output. What stops it before is kept for rethrow(), and all that came
  // before is in the sink, which has been finished, unless there was nothing.
  void run();
  void rethrow() const;
  const StreamTally& tally() const { return tally_; }

 private:
  using Clock = std::chrono::steady_clock;

  int64_t read();
  void push(int64_t frames);
  void deliver(const TensorView& output);
  void play(int64_t frames);

  StreamSession& session_;
  Port port_;
  SoundSource& source_;
  SoundSink& sink_;
  Tensor chunk_;                    // [1, channels, max_chunk]
  std::vector<float> interleaved_;  // what came
  std::vector<float> outgoing_;
  Clock::time_point played_until_;
  bool playing_ = false;
  StreamTally tally_;
  std::exception_ptr failure_;
};

}  // namespace strand::tools
