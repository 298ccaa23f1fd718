#pragma once
// What a network is made of: layers, shapes, parameters, work, memory and how far it looks in time. `strand inspect`
// prints it. Plain values; any thread.

#include <cstdint>
#include <string>
#include <vector>

#include "graphs/network.h"
#include "graphs/receptive_field.h"

namespace strand::graphs {

struct PortSummary {
  std::string name;
  TensorType type;
};

struct LayerSummary {
  std::string path;
  std::string type;                   // "Conv1d + ReLU" of fused layers
  std::vector<std::string> fused;     // the paths of these, the last one's too
  std::vector<TensorType> outputs;    // as they are stored
  int64_t parameters = 0;             // elements, running statistics among them
  int64_t multiply_adds = 0;          // a run
  std::vector<Candidate> candidates;  // fastest first; none for a layer that only reshapes

  std::string implementation() const;  // the one picked; empty for a layer that only reshapes
};

// How far an output looks into an input; only where both have time.
struct ExtentSummary {
  std::string input;
  std::string output;
  TimeExtent extent;
};

// What a stream of the network takes, with pushes of one sample.
struct StreamSummary {
  std::string refused;  // the layer that can't run piece by piece, and why; nothing below is meant then
  int64_t latency = 0;  // input samples that can have come before the output at their time has, at most
  int64_t period = 1;   // input samples after which all strides are where they began
  int64_t state_bytes = 0;
};

struct NetworkSummary {
  std::string name;
  Device device;
  Precision precision = Precision::kFloat32;
  std::vector<PortSummary> inputs;
  std::vector<LayerSummary> layers;
  std::vector<PortSummary> outputs;
  std::vector<ExtentSummary> extents;
  StreamSummary stream;
  int64_t rate = 0;  // Hz, of the first input; 0: not said
  int64_t parameters = 0;
  int64_t multiply_adds = 0;
  int64_t weight_bytes = 0;
  int64_t arena_bytes = 0;  // activations and workspaces
  int64_t peak_bytes() const { return weight_bytes + arena_bytes; }
};

// Compiles the network to see what it takes; throws what compile() throws.
NetworkSummary summarise(const Network& network, const CompileOptions& options);

}  // namespace strand::graphs
