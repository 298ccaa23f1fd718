#pragma once
// Plans for live streams (engine/live_streams.h): the network on one chunk of each of N streams, with a window of the
// signal in front of each layer that looks back or ahead, or whose inputs come at different delays.

#include <memory>

#include "engine/live_streams.h"
#include "graphs/network.h"

namespace strand::graphs {

struct LiveOptions {
  int64_t streams = 1;  // the batch
  int64_t chunk = 480;  // samples a push, a multiple of the network's stride period
  StreamStart start = StreamStart::kPadding;
};

// Error(kShape) for a chunk that is no multiple of the period, saying it; Error(kUnsupported) naming a layer that can't
// be computed so: one with a state, one that mirrors its input or has padding that is more than zeros or a repeated
// sample (with start kContext these may be), and those that no stream can have.
std::shared_ptr<const LivePlan> compile_live(const Network& network, const CompileOptions& options,
                                             const LiveOptions& live);

}  // namespace strand::graphs
