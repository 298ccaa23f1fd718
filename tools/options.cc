#include "tools/options.h"

#include <fmt/core.h>

#include <charconv>
#include <cstdio>

#include "engine/cuda_runtime.h"
#include "engine/error.h"

namespace strand::tools {
namespace {

constexpr const char* kRandomWeights = "random";
constexpr const char* kNoTuning = "none";

graphs::Dimensions parse_sizes(const std::vector<std::string>& texts) {
  graphs::Dimensions sizes;
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    int64_t size = 0;
    const char* begin = text.data() + (equals == std::string::npos ? text.size() : equals + 1);
    const char* end = text.data() + text.size();
    const auto [rest, status] = std::from_chars(begin, end, size);
    if (equals == 0 || status != std::errc() || rest != end || size < 0) {
      throw Error(ErrorCategory::kShape, "--set " + text + ": expected NAME=SIZE, such as length=16000");
    }
    const auto [known, is_new] = sizes.insert({text.substr(0, equals), size});
    if (!is_new && known->second != size) throw Error(ErrorCategory::kShape, "--set " + text + ": was set before");
  }
  return sizes;
}

}  // namespace

CLI::Option* add_list(CLI::App& app, const std::string& name, std::vector<std::string>& values,
                      const std::string& help) {
  return app.add_option(name, values, help)->allow_extra_args(false)->take_all();
}

void add_network_argument(CLI::App& app, NetworkOptions& options) {
  app.add_option("NET", options.network, "The network's description (YAML)")->required();
}

void add_device_option(CLI::App& app, NetworkOptions& options) {
  app.add_option("--device", options.device, "cpu, cuda (the first one) or cuda:1")->capture_default_str();
}

void add_network_options(CLI::App& app, NetworkOptions& options) {
  app.add_option("--weights", options.weights,
                 "Weights (safetensors) instead of the description's, or 'random' for random ones from --seed");
  add_list(app, "--set", options.sizes, "Size of an input's symbol: length=16000; several times");
  app.add_option("--implementation", options.implementation,
                 "Use this implementation (such as cuda.im2col) in every layer that has it");
  app.add_option("--precision", options.precision,
                 "float32; tf32, float16 or bfloat16 (faster on CUDA, 2^-11 or 2^-8 for 2^-24); or float64 (the "
                 "reference, on the CPU)")
      ->capture_default_str();
  app.add_flag("--no-fuse", options.no_fuse,
               "Compute each layer apart, none as the end of a convolution or in its weights");
  app.add_flag("--no-half-storage", options.no_half_storage,
               "Keep float32 between layers on CUDA where float16 or bfloat16 computes");
  app.add_option("--tune-cache", options.tuning,
                 "The choices of `strand tune` (default: strand/tuning.txt in $XDG_CACHE_HOME or ~/.cache), or 'none'");
  app.add_option("--seed", options.seed, "Seed of random inputs and of --weights random")->capture_default_str();
  app.add_option("--threads", options.threads, "Threads for CPU work; 0: one a core")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
}

graphs::Network load_network(const NetworkOptions& options) {
  graphs::LoadOptions load;
  if (options.weights == kRandomWeights) {
    load.seed = options.seed;
  } else {
    load.weights = options.weights;
  }
  graphs::Network network = graphs::Network::load(options.network, load);
  for (const std::string& warning : network.warnings()) fmt::print(stderr, "strand: warning: {}\n", warning);
  return network;
}

graphs::CompileOptions compile_options(const NetworkOptions& options) {
  graphs::CompileOptions compile;
  compile.device = parse_device(options.device);
  if (compile.device.is_cuda()) cuda::check_device(compile.device.index);
  compile.precision = parse_precision(options.precision);
  compile.dimensions = parse_sizes(options.sizes);
  compile.implementation = options.implementation;
  compile.fuse = !options.no_fuse;
  compile.half_storage = !options.no_half_storage;
  if (options.tuning != kNoTuning) {
    const bool named = !options.tuning.empty();
    const std::filesystem::path path = named ? std::filesystem::path(options.tuning) : graphs::default_tuning_path();
    const graphs::TuningFile file = graphs::read_tuning(path, compile.device);
    if (!file.note.empty() && (named || file.found)) fmt::print(stderr, "strand: note: {}\n", file.note);
    compile.tuning = std::make_shared<const graphs::Tuning>(file.tuning);
  }
  return compile;
}

void match_sizes(const graphs::Graph& graph, const std::map<std::string, Shape>& shapes,
                 graphs::CompileOptions& compile) {
  for (const auto& [name, size] : graphs::match_dimensions(graph, shapes)) {
    const auto [known, is_new] = compile.dimensions.insert({name, size});
    if (!is_new && known->second != size) {
      throw Error(ErrorCategory::kShape,
                  fmt::format("--set {}={}, but the inputs given have {}={}", name, known->second, name, size));
    }
  }
}

}  // namespace strand::tools
