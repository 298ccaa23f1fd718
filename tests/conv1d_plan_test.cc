// How cuda.direct cuts a convolution, and which implementation comes first, without a GPU. The kernels themselves are
// held against the reference in conv1d_test.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <string>

#include "engine/checked.h"
#include "engine/cuda_runtime.h"
#include "layers/conv1d/conv1d_depthwise.h"
#include "layers/conv1d/conv1d_direct_plan.h"
#include "layers/conv1d/conv1d_few.h"
#include "layers/conv1d/conv1d_wgmma.h"
#include "tests/conv1d_table.h"
#include "tests/conv1d_walk.h"
#include "tests/run_layer.h"

namespace strand::testing {
namespace {

using layers::Conv1dProblem;
using layers::direct_blocks;
using layers::DirectPlan;
using layers::DirectTile;
using layers::kDirectTiles;
using layers::plan_direct;

constexpr int kProcessors = 132;
constexpr int64_t kLimit = int64_t{256} << 20;

Conv1dProblem problem_of(const Conv1dCase& c) {
  Conv1dProblem p = walk_problem(c.in_channels, c.out_channels, c.length, c.kernel_size, c.stride, c.dilation,
                                 c.padding.left, c.groups);
  p.batch = c.batch;
  return layers::normalised(p, output_length(p));
}

DirectPlan plan_of(const Conv1dCase& c, int64_t workspace_limit = kLimit) {
  const Conv1dProblem p = problem_of(c);
  return plan_direct(p, output_length(p), kProcessors, workspace_limit);
}

// What a network gets on a Hopper: the list for no GPU in particular is in the order of its sizes.
void check_first_on_cuda(const Conv1dCase& c, const std::string& expected, Precision precision = Precision::kFloat32) {
  const std::unique_ptr<layers::Layer> layer = make_conv1d(c);
  WeightStore store;
  const layers::Weights weights("test", {}, store);
  const std::vector<TensorType> inputs = {{DType::kFloat32, {c.batch, c.in_channels, c.length}, 2}};
  const std::vector<TensorType> outputs = layer->infer(inputs);
  const layers::PrepareArgs args{inputs, outputs, {}, kLimit, weights, precision};
  std::string first;
  for (const layers::Implementation& each : layer->implementations(args)) {
    if (each.declined == "built without sm_90a") return;
    if (first.empty() && each.device == DeviceType::kCuda && each.declined.empty()) first = each.name;
  }
  CHECK_MESSAGE(first == expected, to_string(c));
}

TEST_CASE("cuda.direct: the parts of a reduction are all of it, none twice or empty, and fit") {
  std::mt19937_64 random(test_seed());
  const auto size = [&](int64_t most) {
    return static_cast<int64_t>(std::exp2(std::uniform_real_distribution<double>(0, std::log2(most))(random)));
  };
  int cut = 0;
  for (int i = 0; i < 5000; ++i) {
    const int64_t groups = size(4);
    Conv1dCase c{size(64), groups * size(512), groups * size(512), 0, size(256), size(64), size(16), 0, groups};
    c.length = c.dilation * (c.kernel_size - 1) + size(1 << 16);
    const Conv1dProblem p = problem_of(c);
    const int64_t out_length = output_length(p);
    const int64_t limit = size(1 << 30);
    const DirectPlan plan = plan_direct(p, out_length, kProcessors, limit);
    CHECK(plan.seconds > 0);
    if (plan.thin) {
      CHECK(p.group_out() <= layers::kThinOutputs);
      continue;
    }
    const DirectTile& tile = kDirectTiles[plan.tile];
    const int64_t chunks = ceil_div(p.reduction(), tile.depth);
    CHECK(plan.parts * plan.part_chunks >= chunks);
    CHECK((plan.parts - 1) * plan.part_chunks < chunks);
    CHECK(direct_blocks(p, out_length, tile, plan.parts) <= 0x7FFFFFFF);
    if (plan.parts == 1) continue;
    ++cut;
    CHECK(plan.parts * p.batch * p.out_channels * out_length * 4 <= limit);
  }
  CHECK(cut > 100);
}

// A tile is no wider than its problem, where narrower ones fill the device.
TEST_CASE("cuda.direct: tiles that fit the outputs") {
  const auto outputs = [](const Conv1dCase& c) { return kDirectTiles[plan_of(c).tile].outputs; };
  CHECK(outputs({32, 64, 128, 131072, 3}) == 128);
  CHECK(outputs({19, 200, 19, 12937, 4, 1, 10}) == 32);
  CHECK(outputs({9, 58, 16, 24960, 3, 5, 6}) == 16);
  CHECK(outputs({16, 64, 128, 256, 3, 4, 3}) == 16);  // few positions
  // Samples that 32 bits do not count: eight outputs of them have a kernel without tiles.
  CHECK(plan_of({1, 16384, 8, 300000, 3}).thin);
  CHECK_FALSE(layers::direct_indices_fit(problem_of({1, 16384, 16, 300000, 3}), 299998));
  CHECK(layers::direct_indices_fit(problem_of({900, 16384, 16, 30000, 3}), 29998));
}

TEST_CASE("cuda.direct: strides whose taps are gathered side by side") {
  int of_tile[std::size(kDirectTiles)] = {};
  for (const Conv1dCase& c : tap_lanes_cases()) {
    const DirectPlan plan = plan_of(c);
    CHECK_MESSAGE(layers::gathers_taps(problem_of(c), plan.tile), to_string(c));
    ++of_tile[plan.tile];
  }
  CHECK(of_tile[4] >= 4);  // both tiles that do
  CHECK(of_tile[5] >= 4);
  for (int tile = 0; tile < static_cast<int>(std::size(kDirectTiles)); ++tile) {
    CHECK(layers::gathers_taps(problem_of({12, 22, 22, 21393, 4, 1, 2}), tile) == (tile >= 4));
    CHECK_FALSE(layers::gathers_taps(problem_of({12, 22, 22, 21393, 4, 1, 1}), tile));
    CHECK_FALSE(layers::gathers_taps(problem_of({12, 22, 22, 21393, 1, 1, 9}), tile));
  }
}

TEST_CASE("cuda.direct: without tiles, small problems have a block for each multiprocessor") {
  const auto blocks = [](const Conv1dCase& c) {
    const Conv1dProblem p = problem_of(c);
    const int64_t threads = layers::thin_threads(p, output_length(p), kProcessors);
    CHECK(threads % 32 == 0);
    CHECK(threads >= 32);
    CHECK(threads <= layers::kThinThreads);
    return c.batch * c.groups * ceil_div(output_length(p), threads * layers::kThinPositions);
  };
  CHECK(blocks({5, 1, 2, 53051, 15, 3, 9}) >= kProcessors);
  CHECK(plan_of({5, 1, 2, 53051, 15, 3, 9}).thin);
  CHECK(blocks({1, 1, 1, 100, 5}) == 1);                     // a warp is not split
  CHECK(blocks({1, 8, 1, 1 << 20, 3}) == (1 << 20) / 1024);  // enough: whole blocks
}

TEST_CASE("cuda.direct: long sums of few outputs are cut, others are not") {
  for (const Conv1dCase& c : {Conv1dCase{25, 58, 4, 178, 175}, Conv1dCase{5, 112, 146, 136, 168, 1, 1, 17},
                              Conv1dCase{1, 404, 59, 109, 20}, Conv1dCase{1, 292, 2, 87, 44, 2}}) {
    CHECK(plan_of(c).parts > 8);
    CHECK(plan_of(c, 0).parts == 1);  // nowhere to keep them
  }
  for (const Conv1dCase& c : {Conv1dCase{32, 64, 128, 131072, 3}, Conv1dCase{16, 64, 128, 256, 3, 4, 3},
                              Conv1dCase{1, 32, 32, 1024, 3, 8}, Conv1dCase{16, 1, 512, 160000, 10, 1, 5}}) {
    CHECK(plan_of(c).parts == 1);
  }
}

TEST_CASE("cuda.depthwise: which way its work is shared out") {
  using layers::DepthwiseWay;
  const auto way = [](const Conv1dCase& c) {
    const Conv1dProblem p = problem_of(c);
    return layers::depthwise_way(p, output_length(p), kProcessors);
  };
  for (const Conv1dCase& c : window_cases()) {
    CHECK_MESSAGE((way(c) == DepthwiseWay::kWindows) == (c.batch < 40), to_string(c));  // that one: 20 outputs a row
  }
  CHECK(way({16, 256, 256, 800, 3, 1, 1, 1, 256}) == DepthwiseWay::kWindows);
  CHECK(way({16, 512, 512, 32000, 3, 64, 1, 64, 512}) == DepthwiseWay::kRows);
  CHECK(way({4, 512, 512, 16000, 7, 1, 1, 3, 512}) == DepthwiseWay::kRows);
  CHECK(way({4, 512, 512, 16000, 8, 1, 1, 3, 512}) == DepthwiseWay::kWindows);
  CHECK(way({8, 512, 512, 2015, 15, 1, 2, 0, 512}) == DepthwiseWay::kRows);
  CHECK(way({3, 619, 619, 5, 67, 1, 1, 32, 619}) == DepthwiseWay::kElements);
  CHECK(way({1, 256, 256, 505, 3, 2, 1, 0, 256}) == DepthwiseWay::kElements);
}

TEST_CASE("cuda.depthwise: windows hold what is read of them") {
  for (int64_t dilation = 1; dilation <= 33; ++dilation) {
    for (const int64_t taps : {1, 2, 3, 4, 5, 31, 64, 127, 300, 700, 12288, 1 << 30}) {
      layers::DepthwiseWindows w;
      layers::Conv1dProblem p = problem_of({1, 2, 2, 99, 1, 1, 1, 0, 2});
      p.kernel_size = taps;
      p.dilation = dilation;
      const bool taken = layers::depthwise_windows(p, w);
      CHECK(taken == (w.outputs > 0));
      if (dilation > 32 || taps > 12000) CHECK_FALSE(taken);
      if (dilation == 1 && taps <= 700) CHECK(taken);
      if (!taken) continue;
      CHECK(w.outputs == w.groups * 4 * dilation);
      CHECK(w.outputs <= 128);
      CHECK(w.outputs > 96 - 4 * dilation);
      CHECK(w.block_bytes() <= 48 * 1024);
      CHECK(w.pitch % 4 == 0);
      CHECK(w.input_floats % 4 == 0);
      CHECK(w.tap_floats >= round_up(taps, 4));
      // The last lane's last four values, and the last position.
      CHECK(4 * (w.groups - 1) + (taps - 1) / 4 * 4 + 8 <= w.pitch);
      CHECK((w.positions - 1) / dilation < w.pitch);
      CHECK(dilation * w.pitch <= w.input_floats);
      if (dilation == 1) CHECK(round_up(w.positions, 32) <= w.input_floats);
    }
  }
}

// Those of conv1d_test and epilogue_test that mean this kernel, and their neighbours that do not.
TEST_CASE("cuda.few_channels: a single output of many long rows has twelve positions a thread") {
  const auto positions = [](int64_t batch, Conv1dProblem p) {
    p.batch = batch;
    return layers::positions_a_thread(p, layers::output_length(p));
  };
  CHECK(positions(20, walk_problem(6, 3, 4408, 5, 1, 1, 2, 3)) == layers::kManyPositions);
  CHECK(positions(55, walk_problem(2, 1, 4801, 20, 1, 1, 7)) == layers::kManyPositions);
  CHECK(positions(32, walk_problem(6, 2, 4203, 5, 1, 1, 2, 2)) == layers::kManyPositions);
  CHECK(positions(2, walk_problem(32, 1, 4408, 7, 1, 1, 3)) == layers::kFewPositions);     // few tiles
  CHECK(positions(55, walk_problem(2, 2, 4801, 20, 1, 1, 7)) == layers::kFewPositions);    // two outputs
  CHECK(positions(55, walk_problem(2, 1, 4801, 20, 1, 2, 7)) == layers::kFewPositions);    // taps apart
  CHECK(positions(99, walk_problem(2, 1, 9801, 20, 2, 1, 7)) == layers::kFewPositions);    // positions apart
  CHECK(positions(99, walk_problem(2, 1, 4801, 100, 1, 1, 50)) == layers::kFewPositions);  // many taps
}

TEST_CASE("cuda.wgmma takes the short sums that conv1d_test means for it") {
  constexpr int64_t kShared = 232448;
  for (const Conv1dCase& c : short_sum_cases()) {
    const Conv1dProblem p = problem_of(c);
    CHECK(p.reduction() < 48);
    layers::wgmma::Geometry geometry;
    CHECK_MESSAGE(layers::wgmma::choose_geometry(p, kShared, geometry) == "", to_string(c));
  }
}

TEST_CASE("cuda.wgmma pairs octets of two taps where conv1d_test means it to") {
  constexpr int64_t kShared = 232448;
  int odd = 0;
  int missing = 0;  // channels to the last stage
  std::set<layers::wgmma::Layout> layouts;
  for (const Conv1dCase& c : paired_cases()) {
    const Conv1dProblem p = problem_of(c);
    layers::wgmma::Geometry g;
    REQUIRE_MESSAGE(layers::wgmma::choose_geometry(p, kShared, g) == "", to_string(c));
    layouts.insert(layers::wgmma::carries_outputs(p, g, output_length(p)) ? layers::wgmma::Layout::kCarry : g.layout);
    odd += g.octets % 2;
    missing += g.channel_stages > 1 && p.group_in() % g.stage_channels != 0 ? 1 : 0;
  }
  CHECK(odd >= 15);
  CHECK(missing >= 4);
  CHECK(layouts.size() >= 5);
}

TEST_CASE("cuda.wgmma has large tiles where conv1d_test and conv1d_halves_test mean it to") {
  using layers::wgmma::Layout;
  constexpr int64_t kShared = 232448;
  const auto layout = [](const Conv1dCase& c, int products, int element_bytes) {
    layers::wgmma::Geometry g;
    REQUIRE_MESSAGE(layers::wgmma::choose_geometry(problem_of(c), kShared, g, products, element_bytes) == "",
                    to_string(c));
    return g.layout;
  };
  std::map<Layout, int> counts;
  for (const Conv1dCase& c : wide_tile_cases()) {
    for (const int products : {1, 3}) {
      const Layout found = layout(c, products, products == 1 ? 2 : 4);
      ++counts[found];
      CHECK_MESSAGE((found == Layout::kWide || found == Layout::kStack), to_string(c));
    }
  }
  CHECK(counts[Layout::kWide] >= 20);
  CHECK(counts[Layout::kStack] >= 20);
  std::vector<Conv1dCase> tall = tall_tile_cases();
  tall.push_back({1, 80, 344, 17000, 5, 1, 1, 2});
  tall.push_back({1, 64, 344, 17000, 4, 1, 1, 1});
  for (const Conv1dCase& c : tall) {
    for (const int element_bytes : {2, 4}) CHECK_MESSAGE(layout(c, 1, element_bytes) == Layout::kTall, to_string(c));
  }
}

// Of tools/bench/conv1d_cases.txt and of random problems, as measured (layers/conv1d/README.md).
TEST_CASE("conv1d: what was measured to be fastest comes first") {
  if (!cuda::built_with_cuda()) return;
  check_first_on_cuda({64, 64, 128, 524280, 3, 4, 3}, "cuda.wgmma");
  check_first_on_cuda({32, 64, 128, 131072, 3}, "cuda.wgmma");
  check_first_on_cuda({8, 64, 128, 160000, 2, 512}, "cuda.wgmma");
  check_first_on_cuda({16, 16, 16, 480000, 3, 128}, "cuda.wgmma");
  check_first_on_cuda({16, 80, 512, 860, 7, 1, 1, 3}, "cuda.wgmma");
  check_first_on_cuda({4, 32, 32, 15000, 41, 25, 1, 500}, "cuda.wgmma");
  check_first_on_cuda({16, 512, 512, 32000, 3, 64, 1, 64, 512}, "cuda.depthwise");
  check_first_on_cuda({16, 32, 1, 220160, 7, 1, 1, 3}, "cuda.few_channels");
  check_first_on_cuda({16, 32, 1, 220160, 7, 1, 1, 3}, "cuda.few_channels", Precision::kTf32);
  check_first_on_cuda({16, 16, 16, 480000, 3, 128}, "cuda.wgmma", Precision::kTf32);
  check_first_on_cuda({16, 1, 512, 160000, 10, 1, 5}, "cuda.few_channels");
  check_first_on_cuda({16, 1, 32, 480000, 7, 1, 1, 3}, "cuda.few_channels");
  check_first_on_cuda({8, 168, 5, 23986, 13}, "cuda.wgmma");
  check_first_on_cuda({10, 77, 12, 11405, 14, 176}, "cuda.wgmma");
  check_first_on_cuda({6, 220, 136, 3853, 4, 1038}, "cuda.wgmma");
  check_first_on_cuda({33, 10, 80, 49823, 126, 373}, "cuda.wgmma");
  check_first_on_cuda({9, 10, 7, 1716, 151, 8, 1, 521}, "cuda.wgmma");
  check_first_on_cuda({16, 64, 128, 256, 3, 4, 3}, "cuda.direct");
  check_first_on_cuda({1, 32, 32, 1024, 3, 8}, "cuda.direct");
  check_first_on_cuda({15, 225, 82, 2469, 86, 29}, "cuda.direct");  // 4 outputs a row
  check_first_on_cuda({44, 85, 43, 6761, 11, 25, 8, 32}, "cuda.direct");
  check_first_on_cuda({9, 200, 14, 3172, 1}, "cuda.direct");  // cuda.few_channels: 2.9 times cuDNN's
  check_first_on_cuda({58, 27, 2, 535, 4}, "cuda.wgmma");
  check_first_on_cuda({19, 200, 19, 12937, 4, 1, 10}, "cuda.direct");
  check_first_on_cuda({1, 70, 60, 58273, 2, 1, 6}, "cuda.direct");
  check_first_on_cuda({1, 13, 13, 2066694, 37, 56, 14}, "cuda.direct");
  check_first_on_cuda({28, 6, 3, 19898, 26, 236}, "cuda.direct");
  check_first_on_cuda({11, 30, 45, 93706, 12, 33, 14}, "cuda.direct");  // cuda.wgmma: 1.56 times cuDNN's
  check_first_on_cuda({16, 100, 30, 30001, 6, 40, 6}, "cuda.direct");   // 1.33
  check_first_on_cuda({28, 79, 61, 6899, 5, 1, 4}, "cuda.wgmma");       // cuda.direct: 2.1 times as long
  check_first_on_cuda({16, 32, 64, 480000, 4, 1, 2, 1}, "cuda.wgmma");
  check_first_on_cuda({29, 10, 7, 62014, 32, 2895, 1, 14878}, "cuda.direct");
  check_first_on_cuda({11, 715, 682, 155, 1}, "cuda.wgmma");   // cuda.tensor: 1.82
  check_first_on_cuda({16, 32, 64, 131072, 1}, "cuda.wgmma");  // short sums
  check_first_on_cuda({5, 6, 123, 25846, 7}, "cuda.wgmma");
  check_first_on_cuda({8, 5, 128, 16386, 3}, "cuda.wgmma");         // cuda.direct: 2.0
  check_first_on_cuda({16, 1, 512, 2001, 7}, "cuda.few_channels");  // 1.42
  check_first_on_cuda({8, 1, 128, 16386, 3}, "cuda.few_channels");
  check_first_on_cuda({1, 32, 64, 4096, 1}, "cuda.direct");
  check_first_on_cuda({57, 10, 790, 507, 2, 447}, "cuda.direct");
  check_first_on_cuda({16, 256, 256, 800, 33, 1, 1, 16, 256}, "cuda.depthwise");
  check_first_on_cuda({30, 207, 414, 4539, 153, 13, 7, 0, 207}, "cuda.direct");  // cuda.depthwise: 1.29
  check_first_on_cuda({16, 256, 512, 1701, 101, 1, 2, 0, 256}, "cuda.direct");
}

}  // namespace
}  // namespace strand::testing
