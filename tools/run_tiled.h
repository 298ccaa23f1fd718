#pragma once
// `strand run` in tiles, for signals whose activations would not fit in memory. Functions without state.

#include <chrono>
#include <string>

#include "graphs/io/tensor_map.h"
#include "graphs/tile.h"
#include "tools/progress.h"
#include "tools/tensor_files.h"
#include "tools/value_range.h"

namespace strand::tools {

struct RunResult {
  TensorMap outputs;  // those that are held as a whole
  std::map<std::string, TensorType> types;
  std::map<std::string, ValueRange> ranges;
  double prepare_ms = 0;
  double run_ms = 0;
  std::string tiles;  // how the signal was cut, for people; empty where it was not
};

inline double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

// Bytes, of "2GiB", "500MB" or a plain number. Error(kSchema) for anything else.
int64_t parse_bytes(const std::string& text);

// The largest tile with which compute_tiled() keeps within `bytes`. On the CPU all that this process has resident
// counts: the program, weights, inputs and outputs that are held as a whole, and a window's activations, inputs and
// outputs. On CUDA the device's weights and activations do, and the window's inputs and outputs. `whole` is the
// signal's plan, from before. Error(kLimit) telling the least that would do.
int64_t choose_tile(const graphs::Network& network, const graphs::CompileOptions& options, int64_t bytes,
                    const Plan& whole, const OutputFiles& files);

// Reads the inputs and writes the .npy and audio files piece by piece: in memory are a window's activations, inputs
// that are not in `inputs.files`, and outputs that go to archives. Those are written last, and then all files appear.
RunResult compute_tiled(graphs::TiledSession& session, const Inputs& inputs, const OutputFiles& files, int rate,
                        Progress& progress);

}  // namespace strand::tools
