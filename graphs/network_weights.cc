#include "graphs/network_weights.h"

#include <array>
#include <cmath>
#include <optional>
#include <set>

#include "engine/checked.h"
#include "engine/dtype.h"

namespace strand::graphs {
namespace {

// What PyTorch saves beside the weights and inference has no use for.
constexpr std::string_view kIgnoredSuffix = ".num_batches_tracked";
constexpr size_t kListedProblems = 20;
// Of random weights together; nobody needs more to try a network out, and a mistyped size must not fill the memory.
constexpr int64_t kMaxRandomBytes = int64_t{4} << 30;

// w = g * v / |v|, the norm over the axes in which g has size 1: torch.nn.utils.weight_norm.
Tensor fold_weight_norm(const Tensor& g, const Tensor& v) {
  const Shape& shape = v.shape();
  const int64_t rows = g.shape().elements();
  int axis = 0;
  while (axis + 1 < shape.rank() && g.shape()[axis] == 1) ++axis;
  if (rows == 1) axis = 0;
  const int64_t outer = rows == 1 ? 1 : shape.elements(0, axis);
  const int64_t inner = rows == 1 ? shape.elements() : shape.elements(axis + 1, shape.rank());
  Tensor result(TensorType{DType::kFloat32, shape});
  const auto in = v.as<const float>();
  const auto out = result.as<float>();
  const auto at = [&](int64_t o, int64_t row, int64_t i) { return static_cast<size_t>((o * rows + row) * inner + i); };
  for (int64_t row = 0; row < rows; ++row) {
    double square = 0;
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) square += std::pow(static_cast<double>(in[at(o, row, i)]), 2);
    }
    const double factor = static_cast<double>(g.as<const float>()[static_cast<size_t>(row)]) / std::sqrt(square);
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) out[at(o, row, i)] = static_cast<float>(in[at(o, row, i)] * factor);
    }
  }
  return result;
}

bool is_weight_norm_of(const Shape& g, const Shape& shape) {
  if (g.rank() != shape.rank()) return false;
  int kept = 0;
  for (int axis = 0; axis < g.rank(); ++axis) {
    if (g[axis] != 1 && g[axis] != shape[axis]) return false;
    kept += g[axis] != 1 ? 1 : 0;
  }
  return kept <= 1;
}

// Matches parameters with tensors and keeps a list of all that is wrong.
class Binder {
 public:
  Binder(const TensorMap& tensors, std::string_view dtype) : tensors_(tensors), dtype_(dtype) {}

  void bind(const Node& node, TensorMap& bound, bool required = true) {
    for (const layers::Parameter& parameter : node.layer->parameters()) {
      const std::string path = node.weights_path.empty() ? parameter.name : node.weights_path + "." + parameter.name;
      if (tensors_.contains(path)) {
        if (auto tensor = take(path, parameter.shape)) bound.emplace(parameter.name, std::move(*tensor));
      } else if (!bind_weight_norm(node, parameter, bound) && required) {
        problems_.push_back("missing '" + path + "' " + to_string(parameter.shape) + ", for " + node.where);
      }
    }
  }

  void check(const std::string& origin) {
    for (const auto& [name, tensor] : tensors_) {
      if (used_.contains(name) || name.ends_with(kIgnoredSuffix)) continue;
      problems_.push_back("unused '" + name + "' " + to_string(tensor.shape()));
    }
    if (problems_.empty()) return;
    std::string text = origin + ": " + std::to_string(problems_.size()) +
                       (problems_.size() == 1 ? " weight does not fit:" : " weights do not fit:");
    for (size_t i = 0; i < problems_.size() && i < kListedProblems; ++i) text += "\n  " + problems_[i];
    if (problems_.size() > kListedProblems) text += "\n  ...";
    throw Error(ErrorCategory::kWeights, text);
  }

 private:
  std::optional<Tensor> take(const std::string& name, const Shape& shape) {
    const Tensor& tensor = tensors_.find(name)->second;
    used_.insert(name);
    const std::string found = std::string(to_string(tensor.type().dtype));
    if (found != "float32" && found != dtype_) {
      problems_.push_back("'" + name + "' is " + found + ", expected float32 (another dtype is converted where the " +
                          "description says 'weights: {file: ..., dtype: " + found + "}')");
      return {};
    }
    if (tensor.shape() != shape) {
      problems_.push_back("'" + name + "' has shape " + to_string(tensor.shape()) + ", expected " + to_string(shape));
      return {};
    }
    return tensor.to(DType::kFloat32);
  }

  // Both of PyTorch's spellings. Returns false where neither is there.
  bool bind_weight_norm(const Node& node, const layers::Parameter& parameter, TensorMap& bound) {
    const std::string prefix = node.weights_path.empty() ? "" : node.weights_path + ".";
    const std::array<std::array<std::string, 2>, 2> spellings = {
        {{prefix + parameter.name + "_g", prefix + parameter.name + "_v"},
         {prefix + "parametrizations." + parameter.name + ".original0",
          prefix + "parametrizations." + parameter.name + ".original1"}}};
    for (const auto& [g_name, v_name] : spellings) {
      const auto found = tensors_.find(g_name);
      if (found == tensors_.end() || !tensors_.contains(v_name)) continue;
      if (!is_weight_norm_of(found->second.shape(), parameter.shape)) {
        problems_.push_back("'" + g_name + "' has shape " + to_string(found->second.shape()) +
                            ", which is no norm of " + to_string(parameter.shape));
        used_.insert({g_name, v_name});
        return true;
      }
      const auto g = take(g_name, found->second.shape());
      const auto v = take(v_name, parameter.shape);
      if (g && v) bound.emplace(parameter.name, fold_weight_norm(*g, *v));
      return true;
    }
    return false;
  }

  const TensorMap& tensors_;
  std::string_view dtype_;
  std::set<std::string, std::less<>> used_;
  std::vector<std::string> problems_;
};

// Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3" (2011).
std::array<uint32_t, 4> philox(uint64_t counter, uint64_t key) {
  std::array<uint32_t, 4> x = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0};
  auto key0 = static_cast<uint32_t>(key);
  auto key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * x[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * x[2];
    x = {static_cast<uint32_t>(b >> 32) ^ x[1] ^ key0, static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ x[3] ^ key1, static_cast<uint32_t>(a)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return x;
}

// FNV-1a over the seed and the tensor's path.
uint64_t stream_key(uint64_t seed, std::string_view path) {
  uint64_t hash = 0xCBF29CE484222325;
  const auto mix = [&](uint64_t byte) { hash = (hash ^ byte) * 0x100000001B3; };
  for (int shift = 0; shift < 64; shift += 8) mix((seed >> shift) & 0xFF);
  for (const char c : path) mix(static_cast<unsigned char>(c));
  return hash;
}

Tensor random_tensor(const layers::Parameter& parameter, uint64_t key) {
  Tensor tensor(TensorType{DType::kFloat32, parameter.shape});
  const auto values = tensor.as<float>();
  if (parameter.init != layers::Init::kUniform) {
    std::ranges::fill(values, parameter.init == layers::Init::kOnes ? 1.0F : 0.0F);
    return tensor;
  }
  const double bound = 1 / std::sqrt(static_cast<double>(std::max<int64_t>(parameter.fan_in, 1)));
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t bits = philox(i / 4, key)[i % 4] >> 8;
    values[i] = static_cast<float>((static_cast<double>(bits) * 0x1p-23 - 1) * bound);
  }
  return tensor;
}

// All of them before the first is made.
void check_random_bytes(const Graph& graph) {
  int64_t bytes = 0;
  for (const Node& node : graph.nodes) {
    for (const layers::Parameter& parameter : node.layer->parameters()) {
      bytes = checked_add(bytes, TensorType{DType::kFloat32, parameter.shape}.bytes());
      if (bytes <= kMaxRandomBytes) continue;
      throw Error(ErrorCategory::kLimit, node.where + ": random '" + parameter.name + "' " +
                                             to_string(parameter.shape) + " makes the network's weights " +
                                             std::to_string(bytes) + " bytes; the limit of random ones is " +
                                             std::to_string(kMaxRandomBytes));
    }
  }
}

}  // namespace

NetworkWeights bind_weights(const Graph& graph, const TensorMap& tensors, std::string_view dtype,
                            const std::string& origin) {
  NetworkWeights weights;
  Binder binder(tensors, dtype);
  for (const Node& node : graph.nodes) binder.bind(node, weights[node.path]);
  TensorMap unused;
  for (const Node& node : graph.unused) {
    binder.bind(node, unused, false);
    unused.clear();
  }
  binder.check(origin);
  return weights;
}

NetworkWeights random_weights(const Graph& graph, uint64_t seed) {
  NetworkWeights weights;
  check_random_bytes(graph);
  for (const Node& node : graph.nodes) {
    TensorMap& bound = weights[node.path];
    for (const layers::Parameter& parameter : node.layer->parameters()) {
      bound.emplace(parameter.name,
                    random_tensor(parameter, stream_key(seed, node.weights_path + "." + parameter.name)));
    }
  }
  return weights;
}

layers::Weights weights_of(const Node& node, const NetworkWeights& weights, Device device, WeightStore& store) {
  const auto own = [&](const std::string& path) {
    layers::Weights result(path, device, store);
    const auto found = weights.find(path);
    if (found == weights.end()) return result;  // put in by a compiler
    for (const auto& [name, tensor] : found->second) result.set(name, tensor);
    return result;
  };
  if (node.fused.empty()) return own(node.path);
  const std::string& first = node.fused[0].path;
  // Packed apart from its own: the layer may be compiled both ways.
  layers::Weights result = node.folded == nullptr ? own(first) : layers::Weights(first + "/folded", device, store);
  if (node.folded != nullptr) {
    for (const auto& [name, tensor] : *node.folded) result.set(name, tensor);
  }
  for (const FusedLayer& part : node.fused) {
    const auto found = weights.find(part.path);
    if (part.weights.empty() || found == weights.end()) continue;
    for (const auto& [name, tensor] : found->second) result.set(part.weights + name, tensor);
  }
  for (const layers::Parameter& parameter : node.layer->parameters()) {
    if (parameter.name != "epilogue") continue;
    for (const FusedLayer& part : node.fused) {
      const std::vector<float> values = part.layer->epilogue_coefficients(own(part.path), parameter.shape[1]);
      if (!values.empty()) result.set(parameter.name, Tensor(parameter.shape, std::span<const float>(values)));
    }
  }
  return result;
}

std::vector<std::string> describe_unusual(const NetworkWeights& weights) {
  std::vector<std::string> lines;
  for (const auto& [path, tensors] : weights) {
    for (const auto& [name, tensor] : tensors) {
      const auto count = std::ranges::count_if(tensor.as<const float>(), [](float x) { return !std::isfinite(x); });
      if (count == 0) continue;
      std::string line = std::to_string(count);
      line += " of " + std::to_string(tensor.shape().elements()) + " values of '" + path;
      lines.push_back(line + "." + name + "' are not finite");
    }
  }
  return lines;
}

}  // namespace strand::graphs
