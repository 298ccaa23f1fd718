// Session::run allocates nothing from its second call on, and StreamSession::push from its first. malloc itself is
// intercepted, in every thread, since Eigen and the standard library do not all go through operator new.

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "engine/session.h"
#include "graphs/live.h"
#include "graphs/network.h"
#include "graphs/stream.h"
#include "layers/function_kernel.h"
#include "layers/registry.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define STRAND_TEST_INTERCEPTS 0
#else
#define STRAND_TEST_INTERCEPTS 1
#endif

namespace {

constexpr bool kIntercepts = STRAND_TEST_INTERCEPTS != 0;
std::atomic<bool> counting{false};
std::atomic<int> allocations{0};

[[maybe_unused]] void count() {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

#if STRAND_TEST_INTERCEPTS
// glibc's own entry points; free() needs no interception.
extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming)
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* pointer, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)

void* malloc(size_t bytes) {
  count();
  return __libc_malloc(bytes);
}
void* calloc(size_t number, size_t bytes) {
  count();
  return __libc_calloc(number, bytes);
}
void* realloc(void* pointer, size_t bytes) {
  count();
  return __libc_realloc(pointer, bytes);
}
void* memalign(size_t alignment, size_t bytes) {
  count();
  return __libc_memalign(alignment, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) {
  count();
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** pointer, size_t alignment, size_t bytes) {
  count();
  *pointer = __libc_memalign(alignment, bytes);
  return *pointer == nullptr ? ENOMEM : 0;
}
}
#endif

namespace strand {
namespace {

// Its names are longer than what a std::string holds without allocating.
constexpr const char* kNetwork = R"(
strand: 1
name: allocations
weights: {seed: 3}
inputs:
  an_input_with_a_long_name: {shape: [2, 8, length], defaults: {length: 600}}
layers:
  - {name: conv, type: Conv1d, in_channels: 8, out_channels: 16, kernel_size: 5, padding: same}
  - {name: relu, type: ReLU}
  - {name: dilated, type: Conv1d, in_channels: 16, out_channels: 16, kernel_size: 3, dilation: 4, padding: causal}
  - {name: add, type: Add, inputs: [dilated, relu]}
  - {name: depthwise, type: Conv1d, in_channels: 16, out_channels: 16, kernel_size: 4, stride: 2, groups: 16}
  - {name: norm, type: BatchNorm1d, num_features: 16}
  - {name: max, type: MaxPool1d, kernel_size: 3, stride: 2}
  - {name: average, type: AvgPool1d, kernel_size: 2}
  - {name: reflect, type: Conv1d, in_channels: 16, out_channels: 4, kernel_size: 3, padding: 1, padding_mode: reflect}
  - {name: gelu, type: GELU}
  - {name: adaptive, type: AdaptiveAvgPool1d, output_size: 6}
  - {name: flatten, type: Flatten}
  - {name: linear, type: Linear, in_features: 24, out_features: 5}
  - {name: an_output_with_a_long_name, type: Softmax, dim: -1}
outputs: [an_output_with_a_long_name]
)";

// Branches of different delay, ends of every kind, strides, a vector that has no time.
constexpr const char* kStreamed = R"(
strand: 1
name: streamed
weights: {seed: 3}
inputs:
  an_input_with_a_long_name: {shape: [2, 3, length], defaults: {length: 600}}
  a_condition_with_a_long_name: {shape: [2, 3, 1]}
layers:
  - {name: told, type: Add, inputs: [an_input_with_a_long_name, a_condition_with_a_long_name]}
  - {name: stem, type: Conv1d, in_channels: 3, out_channels: 8, kernel_size: 7, padding: 3, padding_mode: reflect}
  - {name: relu, type: ReLU}
  - {name: past, type: Conv1d, in_channels: 8, out_channels: 8, kernel_size: 3, dilation: 9, padding: causal}
  - {name: add, type: Add, inputs: [past, relu]}
  - {name: edge, type: Conv1d, in_channels: 8, out_channels: 8, kernel_size: 4, padding: [2, 1], padding_mode: replicate}
  - {name: both, type: Concat, inputs: [edge, add], dim: 1}
  - {name: half, type: Conv1d, in_channels: 16, out_channels: 16, kernel_size: 4, stride: 2, groups: 16}
  - {name: norm, type: BatchNorm1d, num_features: 16}
  - {name: max, type: MaxPool1d, kernel_size: 3, stride: 3, padding: 1}
  - {name: gelu, type: GELU}
  - {name: an_output_with_a_long_name, type: ConvTranspose1d, in_channels: 16, out_channels: 2, kernel_size: 5, stride: 2}
outputs: [an_output_with_a_long_name, half]
)";

constexpr const char* kAllocating = R"(
strand: 1
name: allocating
inputs:
  x: {shape: [1, 1, 4]}
layers:
  - {name: bad, type: Allocating, with: NAME}
outputs: [bad]
)";

// Its kernel does what no kernel may.
class Allocating final : public layers::Layer {
 public:
  explicit Allocating(std::string with) : with_(std::move(with)) {}
  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override { return {inputs[0]}; }
  std::vector<layers::Implementation> implementations(const layers::PrepareArgs& /*args*/) const override {
    auto prepare = [with = with_]() -> std::unique_ptr<Kernel> {
      return layers::function_kernel([with](const Context&, const Bindings&) {
        void* volatile pointer = nullptr;
        if (with == "malloc") pointer = std::malloc(64);
        if (with == "calloc") pointer = std::calloc(4, 16);
        if (with == "realloc") pointer = std::realloc(nullptr, 64);
        if (with == "aligned_alloc") pointer = std::aligned_alloc(64, 64);
        if (with == "posix_memalign" && ::posix_memalign(const_cast<void**>(&pointer), 64, 64) != 0) std::abort();
        if (with == "new") {
          int* volatile number = new int(1);
          delete number;
        }
        std::free(pointer);
      });
    };
    return {{"cpu.allocating", DeviceType::kCpu, "", prepare}};
  }

 private:
  std::string with_;
};

// The allocations of a session's second and third run.
int allocations_of(const graphs::Network& network, int threads, const std::string& implementation = "") {
  graphs::CompileOptions options;
  options.implementation = implementation;
  Session session(network.compile(options), threads);
  const Tensor x(session.plan().input_type(0));
  for (float& value : x.as<float>()) value = 0.5F;
  const std::array inputs{x.view()};
  std::vector<Tensor> outputs;
  outputs.emplace_back(session.plan().output_type(0));
  const std::array targets{outputs[0].view()};
  session.run(inputs);
  session.run_into(inputs, targets);

  allocations = 0;
  counting = true;
  session.run(inputs);
  session.run_into(inputs, targets);
  counting = false;
  return allocations;
}

// Those of pushes of every size up to the largest and down again, from the first on.
int allocations_of_stream(const graphs::Network& network, StreamStart start, int64_t max_chunk) {
  StreamSession session(graphs::compile_stream(network, {}, max_chunk), {.max_chunk = max_chunk, .start = start});
  const Tensor chunk({DType::kFloat32, {2, 3, max_chunk}, 2});
  for (float& value : chunk.as<float>()) value = 0.5F;
  const Tensor condition({2, 3, 1}, std::array<float, 6>{1, 2, 3, 4, 5, 6});
  std::array inputs{chunk.view(), condition.view()};
  allocations = 0;
  for (int round = 0; round < 2; ++round) {
    counting = true;
    for (int64_t size = 0; size <= 2 * max_chunk; ++size) {
      inputs[0].type.shape.set(2, size <= max_chunk ? size : 2 * max_chunk - size);
      session.push(inputs);
    }
    counting = false;
    session.reset();
  }
  return allocations;
}

// Those of pushes of live streams, and of resets between them.
int allocations_of_live(StreamStart start) {
  std::string yaml = kStreamed;
  for (const std::string refused : {", padding_mode: reflect", ", padding: 1}\n  - {name: gelu"}) {
    yaml.replace(yaml.find(refused), refused.size(), refused.ends_with("gelu") ? "}\n  - {name: gelu" : "");
  }
  LiveStreams live(graphs::compile_live(graphs::Network::from_memory(yaml, {}), {}, {2, 48, start}));
  const Tensor chunk({DType::kFloat32, {2, 3, 48}, 2});
  for (float& value : chunk.as<float>()) value = 0.5F;
  const Tensor condition({2, 3, 1}, std::array<float, 6>{1, 2, 3, 4, 5, 6});
  const std::array inputs{chunk.view(), condition.view()};
  allocations = 0;
  counting = true;
  for (int push = 0; push < 6; ++push) {
    live.push(inputs);
    live.reset(push % 2);
  }
  counting = false;
  return allocations;
}

bool skipped(const char* name) {
  if (!kIntercepts) std::printf("SKIPPED: %s: malloc can't be intercepted in this build\n", name);
  return !kIntercepts;
}

TEST_CASE("a second run allocates nothing") {
  if (skipped("a second run allocates nothing")) return;
  const auto network = graphs::Network::from_memory(kNetwork, {});
  for (const int threads : {1, 2}) {
    for (const std::string implementation : {"", "cpu.reference"}) {
      CAPTURE(threads);
      CAPTURE(implementation);
      CHECK(allocations_of(network, threads, implementation) == 0);
    }
  }
}

TEST_CASE("pushes into a stream allocate nothing, whatever their size") {
  if (skipped("pushes into a stream allocate nothing")) return;
  const auto network = graphs::Network::from_memory(kStreamed, {});
  for (const StreamStart start : {StreamStart::kPadding, StreamStart::kSilence, StreamStart::kContext}) {
    for (const int64_t max_chunk : {1, 7, 64}) {
      CAPTURE(static_cast<int>(start));
      CAPTURE(max_chunk);
      CHECK(allocations_of_stream(network, start, max_chunk) == 0);
    }
  }
}

TEST_CASE("pushes into live streams allocate nothing") {
  if (skipped("pushes into live streams allocate nothing")) return;
  for (const StreamStart start : {StreamStart::kPadding, StreamStart::kContext}) {
    CAPTURE(static_cast<int>(start));
    CHECK(allocations_of_live(start) == 0);
  }
}

TEST_CASE("a kernel that allocates is seen, whichever way it does") {
  if (skipped("a kernel that allocates is seen")) return;
  layers::LayerRegistry registry;
  registry.add({"Allocating", "", {{"with", layers::kString, "function"}}, [](const layers::Attributes& attributes) {
                  return std::make_unique<Allocating>(attributes.string("with"));
                }});
  graphs::LoadOptions options;
  options.registry = &registry;
  for (const std::string name : {"malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign", "new"}) {
    CAPTURE(name);
    std::string text = kAllocating;
    text.replace(text.find("NAME"), 4, name);
    const auto network = graphs::Network::from_memory(text, {}, options);
    CHECK(allocations_of(network, 1) == 2);
  }
}

}  // namespace
}  // namespace strand
