// How cuda.direct cuts a convolution, and which implementation is expected to be fastest, without a GPU. The kernels
// themselves are held against the reference in conv1d_test.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>

#include "engine/checked.h"
#include "layers/conv1d/conv1d_direct_plan.h"
#include "layers/conv1d/conv1d_expected.h"
#include "tests/run_layer.h"

namespace strand::layers {
namespace {

constexpr int kProcessors = 132;
constexpr int64_t kShared = 232448;
constexpr int64_t kLimit = int64_t{256} << 20;

struct Problem {
  int64_t batch, in_channels, out_channels, length, kernel_size;
  int64_t stride = 1, dilation = 1, padding = 0, groups = 1;

  Conv1dProblem conv() const {
    Conv1dProblem p;
    p.batch = batch;
    p.in_channels = in_channels;
    p.out_channels = out_channels;
    p.length = length;
    p.kernel_size = kernel_size;
    p.stride = stride;
    p.dilation = dilation;
    p.pad_left = p.pad_right = padding;
    p.groups = groups;
    return normalised(p, output_length(p));
  }
};

// The least expected time first, of those that take the problem.
std::string fastest(const Problem& problem) {
  const Conv1dProblem p = problem.conv();
  const int64_t out_length = output_length(p);
  struct Row {
    double seconds;
    const char* name;
  };
  std::vector<Row> rows = {{plan_direct(p, out_length, kProcessors, kLimit).seconds, "direct"},
                           {few_channels_seconds(p, out_length, kProcessors), "few_channels"}};
  if (p.group_out() > 16 && p.reduction() >= 48) rows.pop_back();  // it declines those
  wgmma::Geometry geometry;
  if (wgmma::choose_geometry(p, kShared, geometry).empty()) {
    rows.push_back({wgmma_seconds(p, geometry, out_length, kProcessors), "wgmma"});
  }
  return std::ranges::min_element(rows, {}, &Row::seconds)->name;
}

TEST_CASE("cuda.direct: the parts of a reduction are all of it, none twice or empty, and fit") {
  std::mt19937_64 random(strand::testing::test_seed());
  const auto size = [&](int64_t most) {
    return static_cast<int64_t>(std::exp2(std::uniform_real_distribution<double>(0, std::log2(most))(random)));
  };
  int cut = 0;
  for (int i = 0; i < 5000; ++i) {
    const int64_t groups = size(4);
    Problem problem{size(64), groups * size(512), groups * size(512), 0, size(256), size(16), size(64), 0, groups};
    problem.length = problem.dilation * (problem.kernel_size - 1) + size(1 << 16);
    const Conv1dProblem p = problem.conv();
    const int64_t out_length = output_length(p);
    const int64_t limit = size(1 << 30);
    const DirectPlan plan = plan_direct(p, out_length, kProcessors, limit);
    CHECK(plan.seconds > 0);
    if (plan.thin) {
      CHECK(p.group_out() <= kThinOutputs);
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

TEST_CASE("cuda.direct: long sums of few outputs are cut, others are not") {
  for (const Problem& problem : {Problem{25, 58, 4, 178, 175}, Problem{5, 112, 146, 136, 168, 1, 1, 17},
                                 Problem{1, 404, 59, 109, 20}, Problem{1, 292, 2, 87, 44, 1, 2}}) {
    const Conv1dProblem p = problem.conv();
    CHECK(plan_direct(p, output_length(p), kProcessors, kLimit).parts > 8);
    CHECK(plan_direct(p, output_length(p), kProcessors, 0).parts == 1);  // nowhere to keep them
  }
  for (const Problem& problem : {Problem{32, 64, 128, 131072, 3}, Problem{16, 64, 128, 256, 3, 3, 4},
                                 Problem{1, 32, 32, 1024, 3, 1, 8}, Problem{16, 1, 512, 160000, 10, 5}}) {
    const Conv1dProblem p = problem.conv();
    CHECK(plan_direct(p, output_length(p), kProcessors, kLimit).parts == 1);
  }
}

// Of tools/bench/conv1d_cases.txt and of random problems, as measured (layers/conv1d/README.md).
TEST_CASE("conv1d: what is expected to be fastest is what was measured to be") {
  CHECK(fastest({64, 64, 128, 524280, 3, 3, 4}) == "wgmma");
  CHECK(fastest({32, 64, 128, 131072, 3}) == "wgmma");
  CHECK(fastest({8, 64, 128, 160000, 2, 1, 512}) == "wgmma");
  CHECK(fastest({16, 16, 16, 480000, 3, 1, 128}) == "wgmma");
  CHECK(fastest({16, 80, 512, 860, 7, 1, 1, 3}) == "wgmma");
  CHECK(fastest({4, 32, 32, 15000, 41, 1, 25, 500}) == "wgmma");
  CHECK(fastest({16, 32, 1, 220160, 7, 1, 1, 3}) == "few_channels");
  CHECK(fastest({16, 1, 512, 160000, 10, 5}) == "few_channels");
  CHECK(fastest({16, 1, 32, 480000, 7, 1, 1, 3}) == "few_channels");
  CHECK(fastest({8, 168, 5, 23986, 13}) == "few_channels");
  CHECK(fastest({16, 64, 128, 256, 3, 3, 4}) == "direct");
  CHECK(fastest({1, 32, 32, 1024, 3, 1, 8}) == "direct");
  CHECK(fastest({15, 225, 82, 2469, 86, 1, 29}) == "direct");    // 4 outputs a row
  CHECK(fastest({9, 10, 7, 1716, 151, 1, 8, 521}) == "direct");  // 7 outputs, dilated
  CHECK(fastest({29, 10, 7, 62014, 32, 1, 2895, 14878}) == "direct");
}

}  // namespace
}  // namespace strand::layers
