#pragma once
// Runs a network on a signal that is too long for memory, in tiles that overlap by the receptive field: one Session on
// windows of one length, of which what depends on the cuts is left out. The outputs are those of an untiled run
// wherever a kernel's sums do not depend on the length (on the CPU ours do not). Used by one thread at a time.

#include <functional>
#include <memory>
#include <vector>

#include "engine/session.h"
#include "graphs/network.h"

namespace strand::graphs {

// How a signal is cut. Times of the inputs are samples, those of outputs their own.
struct Tiling {
  int64_t length = 0;  // of the signal
  int64_t tile = 0;    // samples that a tile adds; a multiple of the period
  int64_t window = 0;  // samples that it reads: halos, and what keeps the length's remainder by the strides
  int64_t left = 0;    // halo
  int64_t right = 0;
  int64_t period = 1;  // samples after which all strides are where they began
  int64_t count = 0;

  int64_t window_begin(int64_t index) const;
};

// Memory is a window's: where signals come from and go to is the caller's, such as the files of io/signal_file.h or
// tensors (cut_times, put_times).
class TiledSession {
 public:
  // Fills an input's window, [.., size, ..] from `begin` on, on the host.
  using Read = std::function<void(size_t input, int64_t begin, const TensorView& target)>;
  // Takes a stretch of an output that begins at its time `begin`. Stretches come in order, without gaps.
  using Write = std::function<void(size_t output, int64_t begin, const TensorView& stretch)>;

  // `options.dimensions` say the signal's length. A tile of `tile` samples, rounded up to whole periods. Error
  // (kUnsupported) naming a layer that needs the whole signal or remembers all of it.
  TiledSession(const Network& network, const CompileOptions& options, int64_t tile, int threads = 1);

  const Tiling& tiling() const { return tiling_; }
  const Plan& plan() const { return session_->plan(); }                                 // of a window
  const TensorType& output_type(size_t output) const { return outputs_[output].type; }  // of the whole signal
  int64_t bytes() const;  // activations, workspaces and windows

  void run(const Read& read, const Write& write);

 private:
  struct Output {
    TensorType type;
    int64_t rate_outputs = 1;  // output times an input sample, as a fraction
    int64_t rate_inputs = 1;
  };

  void run_tile(int64_t index, const Read& read, const Write& write);

  Tiling tiling_;
  std::vector<Output> outputs_;
  std::unique_ptr<Session> session_;
  // On the host, and kept: a heap that gives and takes such pieces for every tile grows with their number.
  std::vector<Tensor> windows_;    // by input
  std::vector<Tensor> results_;    // by output, where a session's lie on a device
  std::vector<Tensor> stretches_;  // by output, what is handed on of them
};

// What TiledSession::bytes() will be on a plan of a window.
int64_t window_bytes(const Plan& window);

// What running on a plan of a window takes in all, as the caller counts it: it grows with the window.
using MemoryNeed = std::function<int64_t(const Plan& window)>;

// The largest tile that needs at most `bytes`, at most the whole signal. Without `need`, the weights and window_bytes()
// count. Error(kLimit), telling the least that would do, where the smallest tile needs more.
int64_t tile_for_memory(const Network& network, const CompileOptions& options, int64_t bytes,
                        const MemoryNeed& need = {});

}  // namespace strand::graphs
