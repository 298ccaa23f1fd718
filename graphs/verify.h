#pragma once
// Whether a network gives the same numbers offline, in tiles and as a stream, however its input is cut. `strand verify`
// shows what this finds. Functions without state.
//
// On the CPU every bit must be the same: our kernels' sums do not depend on where a piece begins or how long it is. On
// CUDA tiles and live streams are held against the offline run within its end-to-end allowance (compare.h). Streams of
// any chunk run on the CPU; live streams, the inputs' batch, on both.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/stream_session.h"
#include "graphs/compare.h"
#include "graphs/network.h"

namespace strand::graphs {

struct VerifyOptions {
  CompileOptions compile;  // all but the device
  std::vector<Device> devices = {Device{}};
  std::vector<int64_t> chunks = {1, 7, 64, 480, 4096};  // samples; random ones and the whole signal come on top
  std::vector<int64_t> tiles = {100, 1000, 10000};      // samples; those at or over the signal's length are left out
  uint64_t seed = 0;                                    // of the random chunks
  int threads = 1;
  std::function<void(std::string_view)> progress;
};

// One way to compute the outputs, against the offline run on the same device.
struct VerifiedRun {
  Device device;
  std::string way;
  std::string refused;    // why the network can't be computed so; nothing below is meant then
  int64_t compared = 0;   // elements
  int64_t different = 0;  // of these, with other bits
  double largest = 0;     // difference; infinite where an output has another length
  double bound = 0;
  bool ok() const { return refused.empty() && largest <= bound && (bound > 0 || different == 0); }
};

// `inputs` by name, on the host, float32.
std::vector<VerifiedRun> verify(const Network& network, const TensorMap& inputs, const VerifyOptions& options);

}  // namespace strand::graphs
