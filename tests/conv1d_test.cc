// Conv1d's implementations against the double loop, over tables of shapes.

#include <algorithm>
#include <limits>
#include <random>

#include "engine/cuda_runtime.h"
#include "tests/conv1d_check.h"

namespace strand::testing {
namespace {

TEST_CASE("conv1d: channel counts at tile edges") { check_all(channel_cases()); }
TEST_CASE("conv1d: kernel sizes, dilations and strides") { check_all(geometry_cases()); }
TEST_CASE("conv1d: groups and depthwise") { check_all(group_cases()); }
TEST_CASE("conv1d: padding of every mode") { check_all(padding_cases()); }
TEST_CASE("conv1d: strides and few outputs") { check_all(tap_lanes_cases(), "cuda.direct"); }
TEST_CASE("conv1d: few channels") { check_all(few_cases(), "cuda.few_channels"); }

// cuda.depthwise makes short rows, and few of them, an output a thread, which leaves out the taps in zeros; the last
// ones go by rows, of which the middle is inside the input.
TEST_CASE("conv1d: depthwise with short rows and long kernels") {
  check_all({{3, 19, 19, 5, 67, 1, 1, 32, 19},
             {2, 7, 14, 31, 18, 1, 2, 2, 7},
             {2, 5, 5, 300, 160, 1, 8, 32, 5},
             {1, 6, 6, 2500, 27, 93, 1, 420, 6},
             {3, 40, 80, 258, 3, 1, 1, 1, 40},
             {2, 9, 9, 119, 9, 14, 10, 0, 9},
             {40, 64, 64, 257, 5, 1, 1, 2, 64},
             {9, 300, 300, 263, 4, 3, 1, 0, 300},
             {2, 6, 6, 40, 9, 3, 1, 5, 6, true, "reflect"},
             {3, 300, 300, 768, 3, 1, 1, 1, 300},
             {3, 300, 300, 768, 5, 1, 1, 2, 300},
             {3, 300, 300, 768, 7, 1, 1, 3, 300},
             {3, 300, 300, 771, 4, 1, 1, 0, 300},
             {3, 300, 300, 768, 3, 1, 1, 1, 300, true, "reflect"}},
            "cuda.depthwise");
}

TEST_CASE("conv1d: short sums on tensor cores") { check_all(short_sum_cases()); }
TEST_CASE("conv1d: tiles of 256 positions on tensor cores") { check_all(wide_tile_cases()); }
TEST_CASE("conv1d: octets of two taps in a step") { check_all(paired_cases()); }
TEST_CASE("conv1d: depthwise by windows") { check_all(window_cases(), "cuda.depthwise"); }

TEST_CASE("conv1d: more than 65,535 positions, and tiles that do not fit") {
  check_all({{1, 2, 17, 70001, 3, 1, 1, 1},
             {1, 3, 2, 140003, 3, 4, 2, 0},
             {1, 2, 2, 66000, 2, 1, 1, 0, 2},
             {1, 2, 33, 3000, 3, 1200, 1, 500},  // taps farther apart than a tile
             {1, 3, 12, 20000, 300, 50, 1, 0},   // more taps than a buffer holds
             {2, 1, 20, 16000, 12500, 1, 7, 0},  // one long tap row
             {1, 300, 20, 40, 3, 1, 1, 1},       // channels in several chunks
             {2, 2, 10, 9000, 5, 3, 1000, 700},  // stride far above the kernel
             {3000, 2, 18, 4, 2, 1, 1, 0},       // positions run through the batch
             {70000, 1, 9, 2, 1, 1, 1, 0}});
}

// cuda.direct sums parts of them in blocks of their own.
TEST_CASE("conv1d: parts of long sums") {
  check_all({{2, 133, 168, 67, 52, 1, 1, 0, 7},
             {3, 300, 5, 41, 13, 2, 3, {7, 2}, 1, false, "reflect"},
             {2, 257, 33, 19, 9, 1, 1, 3, 1, true, "circular"}});
}

TEST_CASE("conv1d: long sums of few outputs") {
  check_all({{25, 58, 4, 178, 175, 1, 1, 0},
             {5, 112, 146, 136, 168, 1, 1, 17},
             {1, 404, 59, 109, 20, 1, 1, 0},
             {1, 23, 7, 8940, 16, 64, 1, 0},
             {24, 2, 5, 67237, 47, 1443, 1, 0},  // cuda.few_channels: taps past a tile of 896 positions
             {7, 6, 356, 5, 1, 45, 5, 0},        // one output a row, of five inputs
             {14, 5, 5, 19427, 24, 135, 4, 0, 5},
             {4, 27, 54, 3490, 108, 1, 12, {100, 9}, 27, true, "replicate"}});
}

TEST_CASE("conv1d: random problems") {
  std::mt19937 generator(test_seed());
  const auto between = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(generator);
  };
  const char* modes[] = {"zeros", "reflect", "replicate", "circular"};
  std::vector<Conv1dCase> cases;
  while (cases.size() < 120) {
    Conv1dCase c;
    c.groups = between(0, 2) == 0 ? between(2, 6) : 1;
    c.batch = between(1, 4);
    c.in_channels = c.groups * between(1, 40);
    c.out_channels = c.groups * between(1, 80);
    c.kernel_size = between(1, 12);
    c.dilation = between(1, 20);
    c.stride = between(1, 9);
    c.length = between(40, 400);
    c.padding = {between(0, 39), between(0, 39)};
    c.bias = between(0, 1) == 0;
    c.padding_mode = modes[between(0, 3)];
    if (c.dilation * (c.kernel_size - 1) < c.length) cases.push_back(c);
  }
  check_all(cases);
}

TEST_CASE("conv1d: an empty batch gives an empty output") {
  Shares shares;
  check({0, 3, 20, 50, 3, 1, 1, 1}, shares);
  check({0, 3, 3, 50, 3, 1, 1, 1, 3}, shares);
}

// What is not finite reaches the outputs that the formula says, and no others.
TEST_CASE("conv1d: Inf and NaN") {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  for (const Conv1dCase& c : {Conv1dCase{2, 5, 37, 211, 3, 4, 3, 5}, Conv1dCase{1, 3, 3, 150, 5, 2, 1, 4, 3},
                              Conv1dCase{1, 19, 2, 77, 2, 1, 1, 0}, Conv1dCase{2, 20, 20, 40, 1, 1, 1, 0}}) {
    const std::unique_ptr<layers::Layer> layer = make_conv1d(c);
    for (const float value : {kInf, -kInf, kNaN}) {
      std::vector<Tensor> inputs;
      inputs.push_back(random_tensor({c.batch, c.in_channels, c.length}));
      Parameters parameters = random_parameters(*layer);
      SUBCASE("in the input") {
        for (size_t i = 0; i < inputs[0].as<float>().size(); i += 97) inputs[0].as<float>()[i] = value;
        check_against_reference(*layer, inputs, parameters, to_string(c));
      }
      SUBCASE("in the weights: times a padded zero it is NaN, past the end it is nothing") {
        auto weight = parameters.at("weight").as<float>();
        weight[0] = value;
        weight[weight.size() - 1] = value;
        check_against_reference(*layer, inputs, parameters, to_string(c));
      }
      SUBCASE("in the bias") {
        parameters.at("bias").as<float>()[1] = value;
        check_against_reference(*layer, inputs, parameters, to_string(c));
      }
    }
  }
}

// What is packed for one length serves others, of which one output is a problem of its own: its stride is 1.
TEST_CASE("conv1d: weights that many outputs share with a single one") {
  const Conv1dCase c{1, 16, 64, 0, 8, 1, 2, 0};
  const std::unique_ptr<layers::Layer> layer = make_conv1d(c);
  const Parameters parameters = random_parameters(*layer);
  for (const Device device : {Device{}, Device{DeviceType::kCuda, 0}}) {
    if (device.is_cuda() && !cuda_available()) continue;
    WeightStore store;
    layers::Weights weights("test", device, store);
    for (const auto& [name, tensor] : parameters) weights.set(name, tensor);
    for (const int64_t length : {300, 8, 300}) {
      const Tensor input = random_tensor({1, 16, length});
      const Truth truth = reference_truth(*layer, {&input, 1}, parameters);
      const std::vector<TensorType> types = {input.type()};
      const std::vector<TensorType> outputs = layer->infer(types);
      const layers::PrepareArgs args{types, outputs, device, kWorkspaceLimit, weights};
      for (const layers::Implementation& implementation : layer->implementations(args)) {
        if (!implementation.declined.empty() || (implementation.device == DeviceType::kCuda) != device.is_cuda())
          continue;
        if (implementation.name == "cpu.reference") continue;
        const std::vector<Tensor> found = run_kernel(*implementation.prepare(), {&input, 1}, outputs, device);
        const Comparison comparison = compare(found, truth);
        CHECK_MESSAGE(comparison.wrong == 0, implementation.name << ", length " << length << ": " << comparison.first);
      }
    }
  }
}

TEST_CASE("conv1d: cpu.eigen gives the same bits for any number of threads, and wherever a sample lies") {
  for (const Conv1dCase& c : {Conv1dCase{2, 33, 20, 900, 3, 5, 1}, Conv1dCase{1, 4, 4, 3000, 3, 16, 1, 0, 4},
                              Conv1dCase{1, 16, 1, 1200, 7, 1, 1}, Conv1dCase{1, 3, 9, 2000, 3, 700, 1},
                              Conv1dCase{1, 8, 4, 500, 3, 1, 1}, Conv1dCase{1, 8, 11, 500, 5, 2, 1}}) {
    const std::unique_ptr<layers::Layer> layer = make_conv1d(c);
    std::vector<Tensor> inputs;
    inputs.push_back(random_tensor({c.batch, c.in_channels, c.length}));
    const Parameters parameters = random_parameters(*layer);
    const std::vector<Tensor> one = run_implementation(*layer, "cpu.eigen", inputs, parameters);
    const std::vector<Tensor> three = run_implementation(*layer, "cpu.eigen", inputs, parameters, DType::kFloat32, 3);
    CHECK(std::ranges::equal(one[0].as<float>(), three[0].as<float>()));

    constexpr int64_t kShift = 37;
    Tensor shifted({DType::kFloat32, {c.batch, c.in_channels, c.length - kShift}, 2});
    const int64_t rows = c.batch * c.in_channels;
    for (int64_t row = 0; row < rows; ++row) {
      std::copy_n(inputs[0].view().ptr<float>() + row * c.length + kShift, c.length - kShift,
                  shifted.view().ptr<float>() + row * (c.length - kShift));
    }
    const std::vector<Tensor> later = run_implementation(*layer, "cpu.eigen", {&shifted, 1}, parameters);
    const int64_t full = one[0].shape()[2];
    const int64_t part = later[0].shape()[2];
    CHECK(part == full - kShift);
    for (int64_t row = 0; row < c.batch * c.out_channels; ++row) {
      CHECK(std::equal(later[0].view().ptr<float>() + row * part, later[0].view().ptr<float>() + (row + 1) * part,
                       one[0].view().ptr<float>() + row * full + kShift));
    }
  }
}

}  // namespace
}  // namespace strand::testing
