// Conv1d's implementations against the double loop, over tables of shapes.

#include <algorithm>
#include <limits>
#include <random>

#include "engine/cuda_runtime.h"
#include "tests/conv1d_table.h"
#include "tests/run_layer.h"

namespace strand::testing {
namespace {

// The largest share of the bound that each implementation has used.
using Shares = std::map<std::string, double>;

std::string check(const Conv1dCase& c, Shares& shares, int threads = 1) {
  const std::string what = to_string(c);
  const std::unique_ptr<layers::Layer> layer = make_conv1d(c);
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({c.batch, c.in_channels, c.length}));
  const Report report = check_against_reference(*layer, inputs, random_parameters(*layer), what, threads);
  CHECK_MESSAGE(report.cpu >= 1, "no CPU implementation takes " << what << "\n" << report.text);
  if (cuda::built_with_cuda()) {
    CHECK_MESSAGE(report.cuda >= 2, "direct and naive should take " << what << "\n" << report.text);
  }
  for (const auto& [name, share] : report.worst) shares[name] = std::max(shares[name], share);
  return report.text;
}

// `taken_by`: an implementation that declines none of them.
void check_all(const std::vector<Conv1dCase>& cases, const std::string& taken_by = "nothing") {
  Shares shares;
  int threads = 1;
  for (size_t i = first_tried(cases.size()); i < cases.size(); i += tried_step(cases.size())) {
    const std::string report = check(cases[i], shares, threads = threads % 3 + 1);
    CHECK_MESSAGE(report.find(taken_by + " declines") == std::string::npos, report);
  }
  std::string text;
  for (const auto& [name, share] : shares) text += " " + name + " " + std::to_string(share);
  MESSAGE((cases.size() / tried_step(cases.size())) << " problems, largest error as a share of the bound:" << text);
}

TEST_CASE("conv1d: channel counts at tile edges") { check_all(channel_cases()); }
TEST_CASE("conv1d: kernel sizes, dilations and strides") { check_all(geometry_cases()); }
TEST_CASE("conv1d: groups and depthwise") { check_all(group_cases()); }
TEST_CASE("conv1d: padding of every mode") { check_all(padding_cases()); }
TEST_CASE("conv1d: few channels") { check_all(few_cases(), "cuda.few_channels"); }

// cuda.wgmma (but where it carries outputs) and cuda.few_channels (sums to 8) store 120 of 128 positions there: every
// layout, and rows that end all along the last part.
TEST_CASE("conv1d: long and odd rows of outputs") {
  std::vector<Conv1dCase> cases = {{2, 64, 128, 2407, 3, 1, 1, 0}, {1, 16, 70, 2411, 5, 2, 1, 3},
                                   {2, 16, 32, 2059, 3, 1, 1, 1},  {1, 16, 200, 2101, 3, 1, 1, 1},
                                   {3, 48, 100, 2603, 1, 1, 1, 0}, {1, 4, 100, 2051, 15, 1, 1, 7},
                                   {1, 1, 70, 12050, 10, 1, 5, 0}, {2, 1, 9, 2403, 7, 1, 1, 3}};
  for (int64_t length = 2161; length < 2176; length += 2) {
    cases.push_back({1, 16, 64, length, 3, 1, 1, 1});
    cases.push_back({2, 1, 5, length, 3, 1, 1, 1});
  }
  check_all(cases);
}

// How cuda.wgmma copies rows of inputs and outputs depends on where in 16 bytes, and in a sector, they begin: from
// before the input on, cut into boxes side by side, folded, in groups; outputs that fill no eight rows.
TEST_CASE("conv1d: rows of all alignments") {
  // Several tiles a block of threads: what is staged is used again.
  std::vector<Conv1dCase> cases = {{2, 64, 128, 12000, 3, 1, 1, 1}};
  for (int64_t length = 2401; length < 2409; ++length) {
    cases.push_back({2, 64, 128, length, 3, 1, 1, 1});
    cases.push_back({1, 32, 64, length, 5, 3, 1, CasePadding(17, 5)});
    cases.push_back({2, 64, 128, length, 2, 512, 1, CasePadding(512, 0)});
    cases.push_back({2, 16, 16, length, 3, 128, 1, CasePadding(130, 126)});
    cases.push_back({1, 64, 128, 2 * length + 1, 3, 1, 2, 2});
    cases.push_back({3, 64, 120, length / 2, 3, 1, 1, 1, 2});
    cases.push_back({1, 48, 90, length / 3, 7, 2, 1, 9});
    cases.push_back({1, 96, 34, length / 4, 1, 1, 1, 0});
    cases.push_back({2, 16, 64, 4 * length, 16, 1, 8, 4});
    cases.push_back({1, 6, 130, length, 16, 1, 8, 7});
  }
  check_all(cases);
}

// Where rows share sectors, and a block of threads of cuda.wgmma has several tiles side by side, which leave each other
// what fills no whole sector: at every place of a sector, through rows' ends, with a stride, in groups.
TEST_CASE("conv1d: outputs that are carried from tile to tile") {
  check_all({{1, 16, 128, 20001, 3, 1, 1, 1},
             {3, 16, 128, 8002, 3, 5, 1, 3},
             {2, 16, 256, 15004, 3, 1, 3, 2},
             {1, 5, 384, 9003, 15, 1, 1, 7},
             {1, 32, 256, 10004, 3, 1, 1, 1, 2},
             {1, 32, 256, 20005, 3, 1, 1, 1, 2}});
}

// Taps whole tiles apart: a block of threads of cuda.wgmma goes on by a dilation, and has all of a tile's input but the
// last tap's: in chains of two tiles and of hundreds, one of which may be longer, through the ends of rows and
// channels, with room for one stage more than there are taps, and twenty tiles a block.
TEST_CASE("conv1d: tiles that slide by a dilation") {
  if (!cuda_available()) return;  // the CPU has nothing of its own there, and would take a minute
  check_all({{3, 40, 80, 28288, 2, 128, 1, 0},
             {1, 40, 72, 84481, 2, 1024, 1, CasePadding(1000, 31)},
             {1, 64, 144, 42496, 3, 128, 1, CasePadding(156, 100), 2, false, "reflect"},
             {21, 40, 72, 6256, 2, 2048, 1, 0},
             {2, 24, 70, 42501, 3, 256, 1, CasePadding(512, 11)},
             {4, 40, 72, 21560, 2, 384, 1, 0},
             {1, 24, 72, 84481, 4, 128, 1, CasePadding(384, 7)},
             {1, 16, 72, 84488, 7, 128, 1, CasePadding(768, 0)},
             {8, 64, 72, 43008, 2, 256, 1, CasePadding(256, 0)}});
}

// Few channels, whose neighbours cuda.wgmma makes channels: at strides that divide 8 or 16, each value as often as
// windows overlap; of rows of all alignments, cut into boxes, in groups, more taps than windows have, several tiles a
// block.
TEST_CASE("conv1d: neighbours of few channels") {
  std::vector<Conv1dCase> cases = {{5, 1, 128, 16000, 80, 1, 4, 38}, {1, 4, 140, 24000, 15, 1, 1, 7},
                                   {3, 2, 300, 9001, 33, 1, 2, 5},   {1, 2, 33, 9002, 256, 1, 1, 100},
                                   {2, 1, 128, 33001, 50, 1, 2, 0},  {2, 4, 140, 3007, 24, 1, 2, 11, 2}};
  for (int64_t length = 2401; length < 2409; ++length) {
    const char* modes[] = {"zeros", "reflect", "replicate", "circular"};
    for (const int64_t stride : {1, 2, 4, 8, 16}) {
      const int64_t index = length * 5 + stride;
      const int64_t channels = 1 + index % 4;
      const int64_t taps = 48 / channels + index % 23;
      cases.push_back({2, channels, 20 + index % 61, length, taps, 1, stride, CasePadding(index % taps, length % 5), 1,
                       index % 2 == 0, modes[index % 7 % 4]});
    }
    cases.push_back({1, 4, 130, length, 16, 1, 1, 8});
    cases.push_back({1, 1, 64, 3 * length, 50, 1, 2, 4});
  }
  check_all(cases);
}

// A warp's second eight rows of outputs are staged apart from the first, over three and four tiles a block: copied,
// carried, and with ends and channels that there are not in between.
TEST_CASE("conv1d: eight rows staged apart from eight") {
  if (!cuda_available()) return;  // as above
  check_all({{1, 16, 128, 68000, 3, 1, 1, 1}, {1, 16, 128, 68003, 3, 1, 1, 1}, {10, 16, 200, 2404, 3, 1, 1, 1}});
}

// So many positions of up to 16 outputs that cuda.wgmma has these as the columns of its products, in tiles of 512: rows
// of all alignments, outputs that fill no eight rows, taps far apart, a fold, groups, weights that follow.
TEST_CASE("conv1d: few outputs of many positions") {
  std::vector<Conv1dCase> cases = {{1, 16, 16, 70000, 3, 128, 1, CasePadding(256, 0)},
                                   {2, 1024, 512, 611, 3, 1, 1, 1, 64},
                                   {64, 16, 14, 2100, 5, 1, 2, 2},
                                   {64, 16, 9, 4100, 7, 2, 3, 0},
                                   {32, 8, 16, 17000, 16, 1, 8, 4},
                                   {16, 144, 6, 4200, 9, 3, 1, 12}};
  for (int64_t length = 1024; length < 1032; ++length) {
    cases.push_back({64, 16, 16, length, 3, 1, 1, 1});
    cases.push_back({64, 20, 11, length, 3, 60, 1, CasePadding(length % 7, 100), 1, length % 2 == 0, "reflect"});
    cases.push_back({64, 32, 3, length, 2, 1, 1, 0});
    cases.push_back({128, 16, 13, length / 2 + 2, 3, 2, 1, CasePadding(0, 5), 1, true, "circular"});
  }
  check_all(cases);
}

// x ends within 16 bytes, of which cuda.wgmma copies the values one by one; rows shorter than 16 bytes pass its end
// too.
TEST_CASE("conv1d: inputs that end anywhere in 16 bytes") {
  std::vector<Conv1dCase> cases = {
      {26, 129, 119, 1, 1, 1, 1, 0}, {5, 67, 21, 1, 3, 1, 1, 1}, {3, 49, 5, 2, 5, 1, 1, 2}};
  for (int64_t length = 535; length < 539; ++length) {
    cases.push_back({1, 27, 2, length, 4, 1, 1, 0});
    cases.push_back({1, 17, 40, length, 3, 2, 3, 2});
    cases.push_back({1, 3, 70, length, 33, 1, 2, 7});
  }
  check_all(cases);
}

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
