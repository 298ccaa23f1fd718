#pragma once
// Many live streams in step: a push takes one chunk of each and runs one plan on all of them, a batch. The chunk is of
// a fixed length, so that on CUDA a push is one graph, captured once, that copies the chunk in, runs all steps and
// copies the outputs out. What a stream remembers lies in front of each layer that looks back (layers/stream_window),
// and each stream begins and ends by itself. Owns the arena, the state and the Context; used by one thread at a time.

#include <memory>
#include <span>
#include <vector>

#include "engine/context.h"
#include "engine/cuda_runtime.h"
#include "engine/live_clock.h"
#include "engine/plan.h"
#include "engine/stream_session.h"
#include "engine/stream_times.h"

namespace strand {

// What one push runs (graphs/live.h makes it), and what its windows show of a stream.
struct LivePlan {
  struct Slot {           // of the clock
    size_t value = 0;     // of `times`, that owns its memory
    int64_t fresh = 1;    // its times a chunk
    int64_t begin = 0;    // its first time that counts
    int64_t output = -1;  // of the network, if it is one
  };

  std::shared_ptr<const Plan> plan;  // for [streams, .., chunk, ..]
  StreamTimes times;                 // of one stream as a signal of its own
  int64_t streams = 1;
  int64_t chunk = 1;  // samples
  StreamStart start = StreamStart::kPadding;
  std::vector<Slot> slots;
  std::vector<int64_t> delays;  // by output, in its times
  int64_t first_tick = 0;       // from which on no window's times are below 0
  int64_t quiet_pushes = 0;     // of silence, after which all that is made of silence repeats
};

class LiveStreams {
 public:
  // Allocates all that pushes need and, on CUDA, captures the graph.
  explicit LiveStreams(std::shared_ptr<const LivePlan> plan, int threads = 1);
  ~LiveStreams() = default;
  LiveStreams(const LiveStreams&) = delete;
  LiveStreams& operator=(const LiveStreams&) = delete;

  // The next chunk of each input, [streams, .., chunk, ..] on the host, in the plan's order; an input without time is
  // given with the first push, and may be absent in later ones. Returns as many times of each output, on the host,
  // valid until the next call: delay() times late, and zeros where a stream has not begun or has ended. Error(kShape)
  // before anything is computed. Allocates nothing.
  std::span<const TensorView> push(std::span<const TensorView> inputs);
  // Where a push looks for its input: one that was written here is not copied. Page-locked on CUDA.
  const TensorView& input(size_t index) const { return staged_inputs_[index]; }

  // The stream's next sample is its first: what came before is forgotten.
  void reset(int64_t stream);
  void reset();
  // The stream's last sample has come: the rest of its outputs comes with the next pushes, whatever they bring for it.
  void end(int64_t stream);
  // No more comes of any stream, but for `last`, shorter chunks: the rest of the outputs, as long as that of the stream
  // with most of it. After it only reset() may be called. Allocates.
  std::vector<Tensor> finish(std::span<const TensorView> last = {});

  // By how many of its times an output comes after its input: so many stand before a stream's first.
  int64_t delay(size_t output) const { return plan_->delays[output]; }
  const LivePlan& live_plan() const { return *plan_; }
  const Plan& plan() const { return *plan_->plan; }
  const StreamTimes& times() const { return plan_->times; }
  int64_t streams() const { return plan_->streams; }
  int64_t chunk() const { return plan_->chunk; }
  int64_t state_bytes() const { return state_.bytes(); }
  int64_t arena_bytes() const { return arena_.bytes(); }

 private:
  struct Step {
    std::vector<TensorView> inputs;
    std::vector<TensorView> outputs;
    std::byte* state = nullptr;
  };

  struct Life {
    int64_t begun = 0;  // the tick of its first chunk
    bool ended = false;
  };

  void lay_out();
  void prepare();
  void check_inputs(std::span<const TensorView> inputs, bool last) const;
  void check_stream(int64_t stream) const;
  void take(std::span<const TensorView> inputs);
  void copy(void* target, const void* source, int64_t bytes) const;
  void enqueue() const;
  void run();
  StreamState ended_after(int64_t samples) const;
  void set_ends(int64_t stream, const StreamState& state);
  void set_begin(int64_t stream, size_t slot, int64_t time);
  void set_end(int64_t stream, size_t slot, int64_t time);
  int64_t samples_of(int64_t stream) const;
  int64_t* words() const { return reinterpret_cast<int64_t*>(staged_clock_.data()); }

  std::shared_ptr<const LivePlan> plan_;
  Context context_;
  Buffer arena_;
  Buffer state_;         // of all steps
  Buffer clock_;         // on the device
  Buffer staged_;        // inputs and outputs, on the host
  Buffer staged_clock_;  // on the host
  std::vector<Step> steps_;
  std::vector<TensorView> staged_inputs_;
  std::vector<TensorView> staged_outputs_;
  std::vector<Life> lives_;                                                                    // by stream
  std::unique_ptr<void, decltype(&cuda::destroy_graph)> graph_{nullptr, cuda::destroy_graph};  // on CUDA
  bool clock_is_old_ = true;
  bool constants_known_ = false;
  bool finished_ = false;
};

}  // namespace strand
