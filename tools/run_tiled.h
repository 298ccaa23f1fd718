#pragma once
// `strand run` in tiles, for signals whose activations would not fit in memory. Functions without state.

#include <chrono>
#include <string>

#include "graphs/io/tensor_map.h"
#include "graphs/tile.h"
#include "tools/progress.h"
#include "tools/tensor_files.h"

namespace strand::tools {

struct RunResult {
  TensorMap outputs;
  double prepare_ms = 0;
  double run_ms = 0;
  std::string tiles;  // how the signal was cut, for people; empty where it was not
};

inline double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

// Bytes, of "2GiB", "500MB" or a plain number. Error(kSchema) for anything else.
int64_t parse_bytes(const std::string& text);

// Only a window's activations are in memory, beside the inputs and outputs themselves.
RunResult compute_tiled(graphs::TiledSession& session, const Inputs& inputs, Progress& progress);

}  // namespace strand::tools
