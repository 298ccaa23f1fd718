// Conv1d past 2^31 elements, in input and output: some 40 GB of host and 18 GB of device memory, so only where
// STRAND_LARGE_TESTS=1 asks for it.

#include <algorithm>
#include <random>

#include "tests/conv1d_table.h"
#include "tests/run_layer.h"

namespace strand::testing {
namespace {

bool asked_for() {
  const char* asked = std::getenv("STRAND_LARGE_TESTS");
  if (asked != nullptr && std::string(asked) == "1") return true;
  std::printf("SKIPPED: STRAND_LARGE_TESTS=1 runs the large problems\n");
  return false;
}

// Cheap values in [-1, 1) without a short period.
Tensor large_tensor(const Shape& shape) {
  Tensor tensor({DType::kFloat32, shape, 2});
  uint64_t state = test_seed() | 1U;
  for (float& value : tensor.as<float>()) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    value = static_cast<float>(static_cast<int64_t>(state) >> 32) * 0x1p-31F;
  }
  return tensor;
}

// One output, and the sum of its terms' magnitudes, by the formula.
std::pair<double, double> truth_at(const Conv1dCase& c, const float* x, const Parameters& parameters, int64_t n,
                                   int64_t o, int64_t t) {
  const int64_t group_in = c.in_channels / c.groups;
  const int64_t first = n * c.in_channels + o / (c.out_channels / c.groups) * group_in;
  const std::span<const float> weight = parameters.at("weight").as<const float>();
  double sum = parameters.at("bias").as<const float>()[static_cast<size_t>(o)];
  double magnitude = std::fabs(sum);
  for (int64_t i = 0; i < group_in * c.kernel_size; ++i) {
    const int64_t at = t * c.stride + i % c.kernel_size * c.dilation;
    const double term = static_cast<double>(weight[static_cast<size_t>(o * group_in * c.kernel_size + i)]) *
                        x[(first + i / c.kernel_size) * c.length + at];
    sum += term;
    magnitude += std::fabs(term);
  }
  return {sum, magnitude};
}

void check(const Conv1dCase& c, std::span<const Tensor> inputs, const std::string& name) {
  const std::unique_ptr<layers::Layer> layer = make_conv1d(c);
  const Parameters parameters = random_parameters(*layer);
  const std::vector<Tensor> outputs = run_implementation(*layer, name, inputs, parameters);
  const int64_t length = outputs[0].shape()[2];
  const int64_t count = outputs[0].shape().elements();
  const std::span<const float> y = outputs[0].as<const float>();
  std::mt19937_64 generator(test_seed());
  Comparison comparison;
  for (int64_t sample = 0; sample < 5000; ++sample) {
    // 4,096 anywhere, then the last ones.
    const int64_t at =
        sample < 4096 ? std::uniform_int_distribution<int64_t>(0, count - 1)(generator) : count - 1 - (sample - 4096);
    const auto [truth, scale] = truth_at(c, inputs[0].view().ptr<const float>(), parameters,
                                         at / length / c.out_channels, at / length % c.out_channels, at % length);
    compare_element(comparison, y[static_cast<size_t>(at)], truth, scale, 8, 0, at);
  }
  CHECK_MESSAGE(comparison.wrong == 0, name << ": " << comparison.wrong << " wrong, first " << comparison.first);
}

TEST_CASE("conv1d: more than 2^31 elements") {
  if (!asked_for() || !cuda_available()) return;
  constexpr int64_t kLength = 360'000'011;
  std::vector<Tensor> inputs;
  inputs.push_back(large_tensor({2, 3, kLength}));
  for (const char* name : {"cuda.direct", "cuda.naive", "cuda.im2col"}) {
    check({2, 3, 9, kLength, 3, 4, 3}, inputs, name);
  }
  check({2, 3, 3, kLength, 3, 4, 3, 0, 3}, inputs, "cuda.direct");
}

}  // namespace
}  // namespace strand::testing
