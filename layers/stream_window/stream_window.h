#pragma once
// What stands in front of a layer of live streams (engine/live_streams.h): its window of the signal, put together from
// what was kept and from the chunk that was just made. Times that are not a stream's own become its padding here, so
// that the layer needs none. x [N.., fresh, inner] -> y [N.., window, inner]; time may lie on any axis but the first.
//
// With `tick` chunks before this one, the chunk's times are tick * fresh - lag and on; tick * fresh + offset and on are
// at hand, of which the window leaves out the first `skipped`. The state is a ring of all times of both, in which a
// time has the place time % span(); under it, where streams begin in silence, one chunk of what a layer makes of
// silence.

#include <memory>
#include <vector>

#include "layers/host_device.h"
#include "layers/layer.h"

namespace strand::layers {

// What stands for times before a stream's first and after its last.
enum class WindowEnds : uint8_t { kZeros, kReplicate };

struct StreamWindowProblem {
  int64_t fresh = 1;    // times a chunk
  int64_t lag = 0;      // at least 0
  int64_t window = 1;   // times; the last is none that comes after the chunk
  int64_t offset = 0;   // at most -lag where something is skipped
  int64_t skipped = 0;  // before the window, kept because the last one may be repeated
  int64_t slot = 0;     // where Bindings::clock has the streams' begins and ends
  WindowEnds ends = WindowEnds::kZeros;
  bool quiet = false;  // streams begin in silence, whatever `ends`
  // Of what is bound.
  int64_t streams = 1;
  int64_t rows = 1;   // a stream
  int64_t inner = 1;  // elements

  // Positions count from the first time at hand: [0, past) were kept, [past, span) are the chunk's.
  STRAND_HD int64_t past() const { return -lag - offset; }
  STRAND_HD int64_t span() const { return past() + fresh; }
  // Positions of the chunk that later windows need are those from here on: they have the places of those they follow.
  STRAND_HD int64_t kept_from() const { return past() > fresh ? past() : fresh; }
  STRAND_HD int64_t kept() const { return span() - kept_from(); }
  STRAND_HD int64_t all_rows() const { return streams * rows; }
};

enum class WindowSource : uint8_t { kZero, kFresh, kRing, kQuiet };

struct WindowPoint {
  WindowSource source;
  int64_t at;  // a time of the chunk, a position, or a time of the quiet chunk
};

// Where position `j` is read from, of a stream that has positions [begin, end).
STRAND_HD inline WindowPoint window_point(const StreamWindowProblem& p, int64_t j, int64_t begin, int64_t end) {
  if (j < begin && p.quiet) {
    const int64_t at = (j - p.past()) % p.fresh;
    return {WindowSource::kQuiet, at < 0 ? at + p.fresh : at};
  }
  if (j < begin || j >= end) {
    if (p.ends == WindowEnds::kZeros) return {WindowSource::kZero, 0};
    j = j < begin ? begin : end - 1;
    // A window that shows nothing of its stream makes no outputs that count.
    if (j < 0 || j >= p.span()) return {WindowSource::kZero, 0};
  }
  if (j >= p.past()) return {WindowSource::kFresh, j - p.past()};
  return {WindowSource::kRing, j};
}

class StreamWindow final : public Layer {
 public:
  explicit StreamWindow(const StreamWindowProblem& problem) : problem_(problem) {}

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;

  // With what the input says. Error(kUnsupported) where it has no time, or time comes before the streams.
  StreamWindowProblem problem(const TensorType& input) const;

 private:
  StreamWindowProblem problem_;
};

// Bytes of the ring, and of it and the quiet chunk.
int64_t ring_bytes(const StreamWindowProblem& problem, int64_t element);
int64_t window_state_bytes(const StreamWindowProblem& problem, int64_t element);

// Where the body, called with context, problem, bindings, has a state of so many bytes.
template <class Body>
std::unique_ptr<Kernel> stream_window_kernel(const StreamWindowProblem& problem, int64_t element, Body body) {
  class WindowKernel final : public Kernel {
   public:
    WindowKernel(const StreamWindowProblem& p, int64_t bytes, Body b) : problem_(p), bytes_(bytes), body_(b) {}
    int64_t state_bytes() const override { return bytes_; }
    void run(const Context& context, const Bindings& bindings) const override { body_(context, problem_, bindings); }

   private:
    StreamWindowProblem problem_;
    int64_t bytes_;
    Body body_;
  };
  return std::make_unique<WindowKernel>(problem, window_state_bytes(problem, element), body);
}

void stream_window_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
