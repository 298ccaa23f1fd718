#pragma once
// A described network with its weights, from which Plans are compiled for a device and a size. Cheap to move; compile()
// may be called from several threads, and Plans outlive the Network.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/device.h"
#include "engine/dtype.h"
#include "engine/plan.h"
#include "engine/weight_store.h"
#include "graphs/graph.h"
#include "graphs/io/tensor_map.h"
#include "graphs/network_weights.h"
#include "graphs/tuning.h"
#include "layers/registry.h"

namespace strand::graphs {

struct LoadOptions {
  std::filesystem::path weights;                    // instead of the file that the description names
  std::optional<uint64_t> seed;                     // random weights instead of either
  const layers::LayerRegistry* registry = nullptr;  // default_registry() unless given
};

struct CompileOptions {
  Device device = {};
  Precision precision = Precision::kFloat32;
  Dimensions dimensions = {};       // defaults fill in what is left out
  std::string implementation = {};  // by name, for every layer that has one of that name; empty: each layer's first
  bool keep_values = false;         // every value keeps its own memory until the next run, for comparison
  // Layers, by path, whose (first) output exists as Plan::kept, whatever is fused.
  std::vector<std::string> keep = {};
  bool fuse = true;  // layers into those before them (fuse.h); never in float64, the reference
  // On CUDA in float16 and bfloat16: values between layers have that type where all who touch them can (storage.h).
  bool half_storage = true;
  int64_t workspace_limit = int64_t{256} << 20;  // bytes a layer
  // Where nothing is asked for by name: measured choices, before each layer's first (read_tuning(), tuning.h).
  std::shared_ptr<const Tuning> tuning = {};
};

// An implementation of one node, and why it was not picked.
struct Candidate {
  std::string name;
  std::string declined;
  bool picked = false;
  bool tuned = false;  // picked because it was measured to be the fastest
};

class Network {
 public:
  // Reads the YAML file and its weights. Throws Error with file, line or tensor.
  static Network load(const std::filesystem::path& path, const LoadOptions& options = {});
  // From memory: the description's text, and the weights by state_dict name (none where the text says {seed: ...}).
  // A weights file named in the text is not looked for.
  static Network from_memory(std::string_view yaml, const TensorMap& weights, const LoadOptions& options = {});

  const Graph& graph() const { return graph_; }
  // The parameters of one node, float32 on the host, by their names in the layer.
  const TensorMap& weights(const Node& node) const;

  // The same, as its kernels are prepared from it; packed copies go to `store`.
  layers::Weights weights(const Node& node, Device device, WeightStore& store) const {
    return weights_of(node, weights_, device, store);
  }

  // What a user should know of the weights: values that are not finite.
  const std::vector<std::string>& warnings() const { return warnings_; }

  // Error with the layer's line where shapes do not fit, no implementation does, or memory does not suffice.
  std::shared_ptr<const Plan> compile(const CompileOptions& options = {}) const;
  // What compile() makes kernels of: the graph after the passes.
  Graph compiled_graph(const CompileOptions& options) const;
  // The same of a graph that was made from such a one, with the same options.
  std::shared_ptr<const Plan> compile(const Graph& graph, const CompileOptions& options) const;
  // What compile() would choose from, for each node of it that is not a view.
  std::vector<std::vector<Candidate>> candidates(const CompileOptions& options) const;
  // What choices are kept by, for each node of it; empty for those that are not worth measuring.
  std::vector<std::string> tuning_keys(const CompileOptions& options) const;

 private:
  Network() = default;

  Graph graph_;
  NetworkWeights weights_;
  std::vector<std::string> warnings_;
  std::shared_ptr<WeightStore> store_ = std::make_shared<WeightStore>();
};

}  // namespace strand::graphs
