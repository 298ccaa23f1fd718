#pragma once
// Plans for streams and tiles: compiled for a signal that is long enough for every stretch that they run on.

#include <memory>

#include "engine/stream_session.h"
#include "graphs/network.h"

namespace strand::graphs {

// The symbol that is the inputs' time axis: "length". Error(kUnsupported) where the inputs have none, or several.
std::string time_symbol(const Graph& graph);

// A plan that a StreamSession can run with pushes of `max_chunk` samples. What options.dimensions say of the length
// counts where padding depends on it (padding same_tf); the plan's own is that or a longer one of the same remainder.
std::shared_ptr<const Plan> compile_stream(const Network& network, CompileOptions options, int64_t max_chunk);

}  // namespace strand::graphs
