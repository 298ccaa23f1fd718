#pragma once
// The options that the subcommands share: which network, on which device, with which sizes and weights. Plain values.

#include <CLI/App.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "graphs/network.h"

namespace strand::tools {

struct NetworkOptions {
  std::string network;
  std::string device = "cpu";
  std::string weights;
  std::vector<std::string> sizes;  // "length=16000"
  std::string implementation;
  std::string precision = "float32";
  bool no_fuse = false;
  bool no_half_storage = false;
  uint64_t seed = 0;
  int threads = 0;
  std::string tuning;  // the file of `strand tune`; empty: the default one; "none": none
};

// --weights, --set, --implementation, --precision, --no-fuse, --no-half-storage, --tune-cache, --seed and --threads.
void add_network_options(CLI::App& app, NetworkOptions& options);
// The description's path, and --device.
void add_network_argument(CLI::App& app, NetworkOptions& options);
void add_device_option(CLI::App& app, NetworkOptions& options);
// An option that takes one value each time it is given.
CLI::Option* add_list(CLI::App& app, const std::string& name, std::vector<std::string>& values,
                      const std::string& help);

// Reads the network; what its weights warn of goes to stderr.
graphs::Network load_network(const NetworkOptions& options);

// Device, precision, sizes, implementation and what `strand tune` measured; what is wrong with that file goes to
// stderr. Error(kDevice) where the device is not there.
graphs::CompileOptions compile_options(const NetworkOptions& options);

// The sizes that `shapes` (by input) bring, joined with --set's. Error(kShape) where they disagree.
void match_sizes(const graphs::Graph& graph, const std::map<std::string, Shape>& shapes,
                 graphs::CompileOptions& compile);

}  // namespace strand::tools
