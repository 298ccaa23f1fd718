#include "tools/bench_problem.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "engine/checked.h"
#include "engine/error.h"
#include "graphs/normal.h"
#include "layers/half_storage.h"
#include "layers/registry.h"
#include "layers/weights.h"
#include "tools/table.h"

namespace strand::tools {
namespace {

constexpr int64_t kRandomChecks = 4096;
constexpr int64_t kCacheMultiple = 4;  // inputs and outputs together, of the cache
constexpr int64_t kMaxRotations = 1024;
constexpr int64_t kWorkspaceLimit = int64_t{256} << 20;     // bytes, of our implementations
constexpr int64_t kCudnnWorkspaceLimit = int64_t{1} << 30;  // bytes
constexpr int64_t kAlignedFloats = Buffer::kAlignment / static_cast<int64_t>(sizeof(float));

std::unique_ptr<layers::Layer> make_layer(const ConvSizes& sizes) {
  layers::Attributes attributes;
  attributes.set("in_channels", sizes.in_channels);
  attributes.set("out_channels", sizes.out_channels);
  attributes.set("kernel_size", sizes.kernel_size);
  attributes.set("stride", sizes.stride);
  attributes.set("padding", sizes.padding);
  attributes.set("dilation", sizes.dilation);
  attributes.set("groups", sizes.groups);
  return layers::default_registry().make("Conv1d", attributes);
}

// Random outputs, and those at the edges of every tile of a power of two up to 256, in the corners of batch and
// channels.
std::vector<int64_t> choose_checks(const ConvSizes& sizes, uint64_t seed) {
  const int64_t length = sizes.output_length();
  std::vector<int64_t> times = {0, length - 1};
  for (int64_t tile = 2; tile <= 256 && tile <= length; tile *= 2) {
    const int64_t last_tile = (length - 1) / tile * tile;
    for (const int64_t t : {tile - 1, tile, last_tile - 1, last_tile})
      times.push_back(std::clamp<int64_t>(t, 0, length - 1));
  }
  std::vector<int64_t> indices;
  for (const int64_t n : {int64_t{0}, sizes.batch - 1}) {
    for (const int64_t o : {int64_t{0}, sizes.out_channels / 2, sizes.out_channels - 1}) {
      for (const int64_t t : times) indices.push_back((n * sizes.out_channels + o) * length + t);
    }
  }
  std::mt19937_64 random(seed);
  for (int64_t i = 0; i < kRandomChecks; ++i) {
    indices.push_back(static_cast<int64_t>(random() % static_cast<uint64_t>(sizes.outputs())));
  }
  std::ranges::sort(indices);
  indices.erase(std::unique(indices.begin(), indices.end()), indices.end());
  return indices;
}

Tensor random_parameter(Shape shape, uint64_t seed) {
  Tensor tensor(TensorType{DType::kFloat32, shape});
  graphs::fill_normal(tensor.as<float>(), seed);
  return tensor;
}

float* floats(const Buffer& buffer) { return reinterpret_cast<float*>(buffer.data()); }

}  // namespace

DType ConvRequest::stored(Device device) const {
  return half_storage && device.is_cuda() ? layers::stored_type(precision) : DType::kFloat32;
}

ConvProblem::ConvProblem(const BenchDevice& device, const ConvSizes& sizes, const ConvRequest& request, uint64_t seed)
    : device_(device),
      sizes_(sizes),
      request_(request),
      stored_(request.stored(device.context().device())),
      eps_(eps_of(request.precision)),
      rotations_(std::clamp<int64_t>(ceil_div(kCacheMultiple * device.cache_bytes(), sizes.bytes(size_of(stored_))), 1,
                                     kMaxRotations)),
      input_step_(round_up(sizes.inputs(), kAlignedFloats)),
      output_step_(round_up(sizes.outputs(), kAlignedFloats)) {
  const Device where = device.context().device();
  const int64_t half_bytes = layers::is_half(stored_) ? 2 * rotations_ * input_step_ : 0;
  const int64_t bytes = checked_mul(rotations_ * 4, input_step_ + output_step_) + half_bytes;
  const int64_t needed = bytes + kWorkspaceLimit + (built_with_cudnn() ? kCudnnWorkspaceLimit : 0);
  if (needed > device.free_bytes()) {
    throw Error(ErrorCategory::kLimit, fmt::format("needs {} of memory, {} are free", format_bytes(needed),
                                                   format_bytes(device.free_bytes())));
  }
  inputs_ = Buffer(where, rotations_ * input_step_ * 4);
  outputs_ = Buffer(where, rotations_ * output_step_ * 4);
  device.fill_normal(floats(inputs_), rotations_ * input_step_, seed);
  if (half_bytes > 0) {
    half_inputs_ = Buffer(where, half_bytes);
    device.round(floats(inputs_), half_inputs_.data(), stored_, rotations_ * input_step_);
  }
  const Shape shape{sizes.out_channels, sizes.in_channels / sizes.groups, sizes.kernel_size};
  parameters_.emplace("weight", random_parameter(shape, seed + 1));
  parameters_.emplace("bias", random_parameter({sizes.out_channels}, seed + 2));
  weight_ = Buffer(where, sizes.weights() * 4);
  bias_ = Buffer(where, sizes.out_channels * 4);
  copy_bytes(weight_.data(), where, parameters_.find("weight")->second.view().data, {}, weight_.bytes());
  copy_bytes(bias_.data(), where, parameters_.find("bias")->second.view().data, {}, bias_.bytes());
  checked_ = choose_checks(sizes, seed);
}

float* ConvProblem::input(int64_t turn) const { return floats(inputs_) + turn % rotations_ * input_step_; }
float* ConvProblem::output(int64_t turn) const { return floats(outputs_) + turn % rotations_ * output_step_; }

void* ConvProblem::stored_input(DType stored, int64_t turn) const {
  const Buffer& buffer = layers::is_half(stored) ? half_inputs_ : inputs_;
  return buffer.data() + turn % rotations_ * input_step_ * size_of(stored);
}
// Halves lie where other floats are written.
void* ConvProblem::stored_output(DType stored, int64_t turn) const {
  return outputs_.data() + turn % rotations_ * output_step_ * size_of(stored);
}

void ConvProblem::measure(const std::function<void(int64_t)>& run, DType stored, int repeats, ConvTiming& timing) {
  device_.poison(output(0), output_step_);
  run(0);
  const auto outputs =
      device_.check(sizes_, input(0), floats(weight_), floats(bias_), stored_output(stored, 0), stored, checked_);
  timing.checked = static_cast<int64_t>(outputs.size());
  for (const CheckedOutput& output : outputs) {
    const double error = std::max(
        0.0, std::fabs(static_cast<double>(output.found) - output.exact.value) - layers::storing_floor(stored));
    // A NaN, such as an output that was never written, is the largest error there is.
    const double share = error == 0 ? 0 : error / (eps_ * output.exact.magnitude);
    timing.error = std::max(timing.error, std::isnan(share) ? std::numeric_limits<double>::infinity() : share);
  }
  if (repeats > 0) timing.milliseconds = device_.time(run, rotations_, repeats);
}

ConvTiming ConvProblem::time_kernel(const layers::Implementation& implementation, DType stored, double promise,
                                    int repeats) {
  std::string name = implementation.name;
  if (layers::is_half(stored)) name += " (" + std::string(to_string(stored)) + " stored)";
  ConvTiming timing{std::move(name), implementation.declined, 0, 0, promise, 0};
  if (!implementation.declined.empty()) return timing;
  const Device where = device_.context().device();
  const std::unique_ptr<Kernel> kernel = implementation.prepare();
  const Buffer workspace(where, kernel->workspace_bytes());
  const TensorType in{stored, {sizes_.batch, sizes_.in_channels, sizes_.length}, 2};
  const TensorType out{stored, {sizes_.batch, sizes_.out_channels, sizes_.output_length()}, 2};
  const auto run = [&](int64_t turn) {
    const TensorView x{in, stored_input(stored, turn), where};
    const TensorView y{out, stored_output(stored, turn), where};
    kernel->run(device_.context(), {{&x, 1}, {&y, 1}, workspace.data()});
  };
  measure(run, stored, repeats, timing);
  return timing;
}

ConvTiming ConvProblem::time_cudnn(CudnnMath math, CudnnSearch search, int repeats) {
  const std::string name = math == CudnnMath::kTf32 ? "cudnn tf32" : "cudnn float32";
  ConvTiming best{name, "no algorithm", 0, 0, 0, 0};
  try {
    const CudnnConvolution convolution(device_.context(), sizes_, math, search, input(0), floats(weight_), output(0),
                                       kCudnnWorkspaceLimit);
    for (int candidate = 0; candidate < convolution.candidates(); ++candidate) {
      ConvTiming timing{fmt::format("{} ({})", name, convolution.algorithm(candidate)), "", 0, 0, 0, 0};
      const auto run = [&](int64_t turn) {
        convolution.run(candidate, input(turn), floats(weight_), floats(bias_), output(turn));
      };
      try {
        measure(run, DType::kFloat32, repeats, timing);
      } catch (const Error& error) {
        timing.declined = error.what();
      }
      const bool faster =
          timing.declined.empty() && (!best.declined.empty() || timing.milliseconds < best.milliseconds);
      if (faster || candidate == 0) best = timing;
    }
  } catch (const Error& error) {
    best.declined = error.what();
  }
  return best;
}

std::vector<ConvTiming> ConvProblem::time_all(const std::function<void(std::string_view)>& progress) {
  const ConvRequest& request = request_;
  const std::string& only = request.only;
  const std::unique_ptr<layers::Layer> layer = make_layer(sizes_);
  const Device where = device_.context().device();
  layers::Weights weights("conv", where, store_);
  for (const auto& [name, tensor] : parameters_) weights.set(name, tensor);
  const std::vector<TensorType> inputs = {{DType::kFloat32, {sizes_.batch, sizes_.in_channels, sizes_.length}, 2}};
  const std::vector<TensorType> outputs = layer->infer(inputs);
  const layers::PrepareArgs args{inputs, outputs, where, kWorkspaceLimit, weights, request.precision};
  const double promise = layer->error_bound(args).factor;
  std::vector<TensorType> stored_types[] = {inputs, outputs};
  for (std::vector<TensorType>& types : stored_types) types[0].dtype = stored_;
  const layers::PrepareArgs stored_args{stored_types[0], stored_types[1], where,
                                        kWorkspaceLimit, weights,         request.precision};
  const std::vector<layers::Implementation> floats = layer->implementations(args);
  const std::vector<layers::Implementation> halves = layer->implementations(stored_args);
  std::vector<ConvTiming> timings;
  for (size_t i = 0; i < floats.size(); ++i) {
    // As a network would: halves where this one takes them.
    const bool takes = i < halves.size() && halves[i].name == floats[i].name && halves[i].declined.empty();
    const layers::Implementation& implementation = takes ? halves[i] : floats[i];
    const DType stored = takes ? stored_ : DType::kFloat32;
    const bool wanted = only.empty() ? implementation.name != "cpu.reference" : implementation.name == only;
    if (implementation.device != where.type || !wanted) continue;
    progress(implementation.name);
    const bool timed = request.scope == Scope::kAll || std::ranges::none_of(timings, &ConvTiming::ran);
    if (!timed && request.scope == Scope::kPicked) break;
    // Storing rounds what may itself be off by the promise.
    const double rounds = layers::is_half(stored) ? 1 + promise * eps_ : 0;
    timings.push_back(time_kernel(implementation, stored, promise + rounds, timed ? request.repeats : 0));
  }
  if (timings.empty()) throw Error(ErrorCategory::kUnsupported, "Conv1d has no implementation '" + only + "' here");
  if (!built_with_cudnn() || !where.is_cuda() || !only.empty() || request.scope == Scope::kPicked) {
    return timings;
  }
  for (const CudnnMath math : {CudnnMath::kFloat32, CudnnMath::kTf32}) {
    if (math == CudnnMath::kTf32 && request.scope != Scope::kAll) continue;
    progress("cudnn");
    const CudnnSearch search = request.scope == Scope::kAll ? CudnnSearch::kMeasured : CudnnSearch::kExpected;
    timings.push_back(time_cudnn(math, search, request.repeats));
  }
  return timings;
}

}  // namespace strand::tools
