#pragma once
// `strand stream --streams`: how long a push of so many live streams takes. Noise in, nothing out.

#include <cstdint>
#include <string>
#include <vector>

#include "graphs/live.h"

namespace strand::tools {

struct LiveArguments {
  std::vector<int64_t> streams;  // a row each
  int64_t chunk = 480;
  int64_t rate = 0;     // Hz
  double seconds = 10;  // of sound, that are pushed one chunk after another
  StreamStart start = StreamStart::kPadding;
  int threads = 1;
};

// Prints a table. A row for which memory does not suffice says so.
void time_live_streams(const graphs::Network& network, const graphs::CompileOptions& options,
                       const LiveArguments& arguments);

}  // namespace strand::tools
