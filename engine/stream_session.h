#pragma once
// Runs a Plan on a signal that comes piece by piece. The outputs are those of a Session on the whole signal, whatever
// the pieces: each layer's past is kept on the edges of the network, in one arena. Owns that and the Context; used by
// one thread at a time. On the CPU.

#include <memory>
#include <span>
#include <vector>

#include "engine/context.h"
#include "engine/plan.h"
#include "engine/stream_value.h"

namespace strand {

// What stands before the first sample.
enum class StreamStart : uint8_t {
  kPadding,  // each layer's own padding, as offline
  kSilence,  // zeros at the network's input, as if silence had gone before
  kContext,  // nothing: outputs begin with the first, and end with the last, that depends on no padding
};

struct StreamOptions {
  int64_t max_chunk = 4096;  // samples a push, at most
  StreamStart start = StreamStart::kPadding;
  // Samples of silence for kSilence, rounded up to whole periods; by default what the outputs can remember, which is
  // the receptive field. Layers with a state remember longer.
  int64_t silence = 0;
  int threads = 1;
};

class StreamSession {
 public:
  // Allocates all that pushes need. Error(kUnsupported) naming a layer that can't run piece by piece, Error(kShape)
  // where the plan was compiled for too short a signal (graphs/stream.h compiles for a long enough one).
  explicit StreamSession(std::shared_ptr<const Plan> plan, const StreamOptions& options = {});

  // The next samples of each input, in the plan's order: of the plan's shapes but for the time axis, which is as long
  // for all inputs, from 0 to max_chunk; an input without time axis is given with the first push, and may be absent in
  // later ones. Returns what is ready of each output, perhaps of length 0, valid until the next call. Throws
  // Error(kShape) before anything is computed. Never allocates, locks or calls the system (on one thread).
  std::span<const TensorView> push(std::span<const TensorView> inputs);
  // No more comes: the rest of the outputs. After it, or where a layer failed, only reset() may be called.
  std::span<const TensorView> finish();
  // As new.
  void reset();

  const Plan& plan() const { return *plan_; }
  const StreamTimes& times() const { return times_; }
  int64_t max_chunk() const { return options_.max_chunk; }
  int64_t state_bytes() const { return state_bytes_; }  // what lives from push to push
  int64_t arena_bytes() const { return arena_.bytes(); }

 private:
  // What a step reads of an input that has time, and what it makes.
  struct Read {
    TensorView* view = nullptr;
    StreamValue* source = nullptr;
    Stretch window;
    std::byte* gathered = nullptr;  // where it is put together for a kernel that takes no rows apart
  };
  struct Made {
    TensorView* view = nullptr;
    StreamValue* value = nullptr;
  };
  struct Step {
    std::vector<TensorView> inputs;
    std::vector<TensorView> outputs;
    std::vector<int64_t> rows;  // Bindings::rows
    std::vector<Read> reads;
    std::vector<Made> made;
    Bindings bindings;  // of all these
    const Kernel* kernel = nullptr;
    Stretch stretch;  // of its outputs
    bool constant = false;
    bool apart = false;    // the kernel takes rows apart
    bool shows = false;    // someone reads in the band what is not made there
    bool gathers = false;  // a window is put together
    int64_t state_bytes = 0;
  };
  // What a push does to the bindings that is like the one before it: an address in a band, and the window's times.
  struct Moved {
    TensorView* view = nullptr;
    const StreamValue* value = nullptr;
    int64_t offset = 0;  // bytes from its place
  };
  struct Repeated {
    Step* step = nullptr;
    int64_t inputs = 0;
    int64_t outputs = 0;
  };
  struct Output {
    std::byte* joined = nullptr;  // what is handed out where it is not just what was made: [outer, times, inner]
    std::byte* early = nullptr;   // [outer, lead, inner]: made of the silence, but of the signal's own time
    int64_t lead = 0;
    int64_t held = 0;  // times in `early`
    int64_t next = 0;  // the first time that is wanted
  };

  void lay_out();
  void size_values(const StreamSizes& sizes);
  int64_t place(std::byte* arena, const StreamSizes& sizes);
  void make_steps();
  void begin();
  void check_inputs(std::span<const TensorView> inputs) const;
  void take_inputs(std::span<const TensorView> inputs, int64_t count);
  void run_constants();
  void run_steps();
  void run_step(Step& step);
  void prepare_repeats();
  void repeat_steps();
  void end_repeats();
  static void bind(const Step& step, const Read& read);
  static void show(const Step& step);
  void run_kernel(const Step& step) const;
  [[noreturn]] void fail(const Step& step, const Error& error) const;
  void advance(std::span<const TensorView> inputs, int64_t count, bool repeats);
  void set_stretch(size_t index);
  void feed_silence(std::span<const TensorView> inputs);
  void hold_early();
  std::span<const TensorView> collect();
  StreamValue& value_of(int value) {
    return values_[static_cast<size_t>(plan_->values[static_cast<size_t>(value)].storage)];
  }

  std::shared_ptr<const Plan> plan_;
  StreamOptions options_;
  StreamTimes times_;
  Context context_;
  Buffer arena_;
  std::vector<StreamValue> values_;
  std::vector<const StreamValue*> kept_;  // those of which some past is
  std::vector<Step> steps_;
  int64_t repeats_ = 0;  // pushes so far that were as the one before them; then:
  std::vector<StreamValue*> followed_;
  std::vector<Moved> moved_;
  std::vector<Repeated> repeated_;
  std::vector<Output> outputs_;
  std::vector<TensorView> output_views_;
  int64_t state_bytes_ = 0;
  int64_t silence_left_ = 0;  // samples to come before the signal's first
  StreamState state_;
  bool constants_known_ = false;
  bool settled_ = false;     // the last push began where nothing at the signal's start mattered any more
  int64_t last_count_ = -1;  // samples of the last push
};

}  // namespace strand
