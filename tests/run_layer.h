#pragma once
// Runs one implementation of one layer on host tensors, and holds all that this machine can run against cpu.reference
// in double. Outputs and workspaces are poisoned with NaN, and every buffer lies between guards that must stay intact.
// For tests only; an absent optional input is a default-constructed Tensor.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "engine/buffer.h"
#include "engine/error.h"
#include "layers/layer.h"
#include "tests/cuda_required.h"

namespace strand::testing {

using Parameters = std::map<std::string, Tensor>;

constexpr int64_t kWorkspaceLimit = int64_t{256} << 20;

// One a process: STRAND_TEST_SEED, or a fresh one; printed, so that a failure can be run again.
inline uint32_t test_seed() {
  static const uint32_t seed = [] {
    const char* given = std::getenv("STRAND_TEST_SEED");
    const uint32_t value =
        given != nullptr ? static_cast<uint32_t>(std::strtoul(given, nullptr, 10)) : std::random_device{}();
    std::printf("STRAND_TEST_SEED=%u\n", value);
    return value;
  }();
  return seed;
}

// Of long tables, which take minutes with a sanitizer, every third entry is tried there, from one of the first three
// on: for (size_t i = first_tried(size); i < size; i += tried_step(size)). tools/gpu_check says that it runs one.
inline size_t tried_step(size_t size = SIZE_MAX) {
  constexpr size_t kLong = 7;
  constexpr size_t kStep = 3;
#ifdef __SANITIZE_ADDRESS__
  const bool sanitized = true;
#else
  const bool sanitized = std::getenv("STRAND_SANITIZER") != nullptr;
#endif
  return sanitized && size >= kLong ? kStep : 1;
}
inline size_t first_tried(size_t size) { return test_seed() % tried_step(size); }

// N(0, 1) values from a stream of the process's seed; another at each call. Time is the last axis of a rank 3 tensor.
inline Tensor random_tensor(const Shape& shape) {
  static std::mt19937 generator(test_seed());
  std::normal_distribution<float> normal;
  Tensor tensor({DType::kFloat32, shape, shape.rank() == 3 ? 2 : TensorType::kNoTime});
  for (float& value : tensor.as<float>()) value = normal(generator);
  return tensor;
}

// Random values for each of the layer's parameters.
inline Parameters random_parameters(const layers::Layer& layer) {
  Parameters parameters;
  for (const layers::Parameter& parameter : layer.parameters()) {
    parameters.emplace(parameter.name, random_tensor(parameter.shape));
  }
  return parameters;
}

// A layer with the types, weights and device that its implementations are prepared from.
class PreparedLayer {
 public:
  PreparedLayer(const layers::Layer& layer, std::span<const Tensor> inputs, const Parameters& parameters, DType edge,
                Device device, Precision precision = Precision::kFloat32)
      : layer_(layer),
        types_(input_types(inputs, edge)),
        outputs_(layer.infer(types_)),
        weights_("test", device, store_),
        args_{types_, outputs_, device, kWorkspaceLimit, weights_, precision} {
    for (const auto& [name, tensor] : parameters) weights_.set(name, tensor);
  }
  PreparedLayer(const PreparedLayer&) = delete;
  PreparedLayer& operator=(const PreparedLayer&) = delete;

  const layers::PrepareArgs& args() const { return args_; }
  std::vector<layers::Implementation> implementations() const { return layer_.implementations(args_); }
  const std::vector<TensorType>& input_types() const { return types_; }
  const std::vector<TensorType>& output_types() const { return outputs_; }

 private:
  static std::vector<TensorType> input_types(std::span<const Tensor> inputs, DType edge) {
    std::vector<TensorType> types;
    for (const Tensor& input : inputs) {
      types.push_back(input.type());
      if (is_floating_point(types.back().dtype)) types.back().dtype = edge;
    }
    return types;
  }

  const layers::Layer& layer_;
  std::vector<TensorType> types_;
  std::vector<TensorType> outputs_;
  WeightStore store_;
  layers::Weights weights_;
  layers::PrepareArgs args_;
};

// Memory on a device between two guards; all of it, guards too, begins as NaN whatever the floating point type.
class GuardedBuffer {
 public:
  GuardedBuffer(Device device, int64_t bytes) : bytes_(bytes), buffer_(device, bytes + 2 * kGuard) {
    const std::vector<std::byte> poison(static_cast<size_t>(buffer_.bytes()), kPoison);
    copy_bytes(buffer_.data(), device, poison.data(), {}, buffer_.bytes());
  }
  std::byte* data() const { return buffer_.data() + kGuard; }

  void read(void* target) const {
    if (bytes_ > 0) copy_bytes(target, {}, data(), buffer_.device(), bytes_);
  }
  void write(const void* source) const {
    if (bytes_ > 0) copy_bytes(data(), buffer_.device(), source, {}, bytes_);
  }
  bool guards_intact() const {
    std::vector<std::byte> guard(static_cast<size_t>(kGuard));
    for (const int64_t offset : {int64_t{0}, kGuard + bytes_}) {
      copy_bytes(guard.data(), {}, buffer_.data() + offset, buffer_.device(), kGuard);
      // All poison: the first byte is, and each is like the one before it.
      if (guard[0] != kPoison || std::memcmp(guard.data(), guard.data() + 1, guard.size() - 1) != 0) return false;
    }
    return true;
  }

 private:
  static constexpr int64_t kGuard = 16 * Buffer::kAlignment;
  static constexpr std::byte kPoison{0xFF};
  int64_t bytes_;
  Buffer buffer_;
};

// Runs a kernel on host tensors of the types that it was prepared for, or on a stretch of their time.
inline std::vector<Tensor> run_kernel(const Kernel& kernel, std::span<const Tensor> inputs,
                                      std::span<const TensorType> outputs, Device device, int threads = 1,
                                      Window window = {}, std::byte* state = nullptr) {
  std::vector<GuardedBuffer> buffers;
  std::vector<TensorView> views;
  for (const Tensor& input : inputs) {
    if (input.shape().rank() == 0) {
      views.push_back({});
      continue;
    }
    buffers.emplace_back(device, input.type().bytes());
    buffers.back().write(input.view().data);
    views.push_back({input.type(), buffers.back().data(), device});
  }
  const size_t first_output = buffers.size();
  for (const TensorType& type : outputs) {
    buffers.emplace_back(device, type.bytes());
    views.push_back({type, buffers.back().data(), device});
  }
  buffers.emplace_back(device, kernel.workspace_bytes());
  const std::span<const TensorView> all = views;
  const Context context(device, threads);
  kernel.run(context, {all.first(inputs.size()), all.subspan(inputs.size()), buffers.back().data(), state, window});
  context.synchronize();

  std::vector<Tensor> results;
  for (size_t i = 0; i < outputs.size(); ++i) {
    results.emplace_back(outputs[i]);
    buffers[first_output + i].read(results.back().view().data);
  }
  for (const GuardedBuffer& buffer : buffers) CHECK_MESSAGE(buffer.guards_intact(), "wrote outside its buffers");
  return results;
}

inline std::vector<Tensor> converted(std::span<const Tensor> tensors, DType edge) {
  std::vector<Tensor> result;
  for (const Tensor& tensor : tensors) {
    if (tensor.shape().rank() == 0) {
      result.emplace_back();
    } else {
      result.push_back(is_floating_point(tensor.type().dtype) ? tensor.to(edge) : copy_of(tensor.view()));
    }
  }
  return result;
}

// The outputs, on the host, of the implementation of that name ("cuda.direct" runs on cuda:0); inputs are converted to
// `edge`. Error(kUnsupported) where there is none such or it declines.
inline std::vector<Tensor> run_implementation(const layers::Layer& layer, const std::string& name,
                                              std::span<const Tensor> inputs, const Parameters& parameters,
                                              DType edge = DType::kFloat32, int threads = 1,
                                              Precision precision = Precision::kFloat32) {
  const Device device{name.starts_with("cuda") ? DeviceType::kCuda : DeviceType::kCpu, 0};
  const PreparedLayer prepared(layer, inputs, parameters, edge, device, precision);
  for (const layers::Implementation& implementation : prepared.implementations()) {
    if (implementation.name != name) continue;
    if (!implementation.declined.empty()) {
      throw Error(ErrorCategory::kUnsupported, name + " declines: " + implementation.declined);
    }
    const std::unique_ptr<Kernel> kernel = implementation.prepare();
    return run_kernel(*kernel, converted(inputs, edge), prepared.output_types(), device, threads);
  }
  throw Error(ErrorCategory::kUnsupported, "no implementation " + name);
}

// The truth in double, and how far a float32 implementation may be from each element of it.
struct Truth {
  std::vector<Tensor> values;
  std::vector<Tensor> scales;  // |y - truth| <= factor * 2^-24 * scale
  double factor = 4;
};

// As many as there are cores where there is much to compute: its loops take most of the time of tests on a GPU.
inline int reference_threads(std::span<const TensorType> outputs) {
  constexpr int64_t kMuch = 1 << 14;
  int64_t elements = 0;
  for (const TensorType& output : outputs) elements += output.shape.elements();
  return elements < kMuch ? 1 : std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, 8);
}

inline Truth reference_truth(const layers::Layer& layer, std::span<const Tensor> inputs, const Parameters& parameters) {
  Truth truth;
  const PreparedLayer prepared(layer, inputs, parameters, DType::kFloat64, {});
  const int threads = reference_threads(prepared.output_types());
  truth.values = run_implementation(layer, "cpu.reference", inputs, parameters, DType::kFloat64, threads);
  const layers::ErrorBound bound = layer.error_bound(prepared.args());
  truth.factor = bound.factor;
  if (bound.scale != nullptr) {
    truth.scales = run_kernel(*bound.scale, converted(inputs, DType::kFloat64), prepared.output_types(), {}, threads);
    return truth;
  }
  for (const Tensor& value : truth.values) {
    truth.scales.push_back(copy_of(value.view()));
    if (value.type().dtype != DType::kFloat64) continue;
    for (double& scale : truth.scales.back().as<double>()) scale = std::fabs(scale);
  }
  return truth;
}

// How an implementation's outputs stand to the truth.
struct Comparison {
  double worst = 0;   // the largest error as a share of the bound: above 1 is a failure
  int64_t wrong = 0;  // elements outside the bound, or not the truth's Inf or NaN
  std::string first;  // where the first of them is
};

inline void compare_element(Comparison& comparison, float value, double truth, double scale, double factor,
                            int64_t port, int64_t element) {
  // Where the result is subnormal, rounding it alone takes half of the smallest float.
  constexpr double kEps = 0x1p-24;
  constexpr double kSubnormal = 0x1p-149;
  bool good = true;
  if (std::isnan(truth)) {
    good = std::isnan(value);
  } else if (std::isinf(truth)) {
    good = static_cast<double>(value) == truth;
  } else {
    const double share = std::fabs(static_cast<double>(value) - truth) / (factor * kEps * scale + kSubnormal);
    good = share <= 1;
    if (share > comparison.worst) comparison.worst = share;
  }
  if (good) return;
  if (comparison.wrong++ == 0) {
    char text[200];
    std::snprintf(text, sizeof text, "output %lld element %lld: %.9g, truth %.17g, scale %.6g",
                  static_cast<long long>(port), static_cast<long long>(element), static_cast<double>(value), truth,
                  scale);
    comparison.first = text;
  }
}

// Float32 outputs against the truth; other dtypes must be equal.
inline Comparison compare(std::span<const Tensor> outputs, const Truth& truth) {
  Comparison comparison;
  for (size_t port = 0; port < outputs.size(); ++port) {
    const Tensor& output = outputs[port];
    if (output.type().dtype != DType::kFloat32) {
      const bool equal =
          output.type() == truth.values[port].type() && std::memcmp(output.view().data, truth.values[port].view().data,
                                                                    static_cast<size_t>(output.type().bytes())) == 0;
      if (!equal && comparison.wrong++ == 0) comparison.first = "output " + std::to_string(port) + " differs";
      continue;
    }
    const std::span<const float> values = output.as<const float>();
    const std::span<const double> truths = truth.values[port].as<const double>();
    const std::span<const double> scales = truth.scales[port].as<const double>();
    for (size_t i = 0; i < values.size(); ++i) {
      compare_element(comparison, values[i], truths[i], scales[i], truth.factor, static_cast<int64_t>(port),
                      static_cast<int64_t>(i));
    }
  }
  return comparison;
}

// Whoever is given values stored as halves, which compiling asks of everyone, either declines or knows of them.
inline void check_halves(const layers::Layer& layer, std::span<const Tensor> inputs, const Parameters& parameters,
                         const std::string& what) {
  const PreparedLayer floats(layer, inputs, parameters, DType::kFloat32, {}, Precision::kFloat16);
  const auto halved = [](std::vector<TensorType> types) {
    for (TensorType& type : types) {
      if (is_floating_point(type.dtype)) type.dtype = DType::kFloat16;
    }
    return types;
  };
  const layers::PrepareArgs& base = floats.args();
  for (const bool in : {false, true}) {
    for (const bool out : {false, true}) {
      const std::vector<TensorType> types = in ? halved(floats.input_types()) : floats.input_types();
      const std::vector<TensorType> outputs = out ? halved(floats.output_types()) : floats.output_types();
      if (types == floats.input_types() && outputs == floats.output_types()) continue;
      const layers::PrepareArgs args{types, outputs, base.device, base.workspace_limit, base.weights, base.precision};
      for (const layers::Implementation& each : layer.implementations(args)) {
        const bool knows =
            each.name == "cuda.wgmma" || each.name == "cuda.depthwise" || each.name == "cuda.few_channels";
        CHECK_MESSAGE((!each.declined.empty() || knows), what << " " << each.name << " does not decline halves, in "
                                                              << static_cast<int>(in) << " out "
                                                              << static_cast<int>(out));
      }
    }
  }
}

// What check_against_reference did.
struct Report {
  int cpu = 0;   // implementations that accept the problem, the reference apart
  int cuda = 0;  // those on a device that is not here included
  int run = 0;
  std::map<std::string, double> worst;  // share of the bound, by implementation
  std::string text;                     // a line each
};

// Holds every implementation that accepts the problem and can run here against cpu.reference in double: a doctest CHECK
// each. `what` names the case in messages.
inline Report check_against_reference(const layers::Layer& layer, std::span<const Tensor> inputs,
                                      const Parameters& parameters, const std::string& what = "", int threads = 1) {
  Report report;
  check_halves(layer, inputs, parameters, what);
  const Truth truth = reference_truth(layer, inputs, parameters);
  std::vector<std::string> names;
  {
    const PreparedLayer prepared(layer, inputs, parameters, DType::kFloat32, {});
    for (const layers::Implementation& implementation : prepared.implementations()) {
      if (!implementation.declined.empty()) {
        report.text += implementation.name + " declines: " + implementation.declined + "\n";
        continue;
      }
      const bool on_cuda = implementation.device == DeviceType::kCuda;
      if (implementation.name != "cpu.reference") ++(on_cuda ? report.cuda : report.cpu);
      if (!on_cuda || cuda_available()) names.push_back(implementation.name);
    }
  }
  for (const std::string& name : names) {
    const std::vector<Tensor> outputs = run_implementation(layer, name, inputs, parameters, DType::kFloat32, threads);
    const Comparison comparison = compare(outputs, truth);
    ++report.run;
    report.worst[name] = comparison.worst;
    report.text += name + ": " + std::to_string(comparison.worst) + " of the bound\n";
    CHECK_MESSAGE(comparison.wrong == 0, what << " " << name << ": " << comparison.wrong << " wrong, first "
                                              << comparison.first << " (seed " << test_seed() << ")");
  }
  return report;
}

}  // namespace strand::testing
