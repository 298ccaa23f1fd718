// Which convolutions' tiles slide by a dilation in cuda.wgmma, and in which order: without a GPU. The kernel itself is
// held against the reference in conv1d_test.

#include <doctest/doctest.h>

#include <vector>

#include "layers/conv1d/conv1d_wgmma.h"
#include "tests/conv1d_walk.h"

namespace strand::layers::wgmma {
namespace {

using testing::walk_problem;

constexpr int64_t kShared = 232448;

Geometry plan(const Conv1dProblem& p, int products = 3) {
  Geometry g;
  REQUIRE(choose_geometry(p, kShared, g, products) == "");
  return g;
}
bool slides(const Conv1dProblem& p, int products = 3) { return plan(p, products).layout == Layout::kSlide; }
Conv1dProblem batch_of(int64_t batch, Conv1dProblem p) {
  p.batch = batch;
  return p;
}

}  // namespace

TEST_CASE("chains have every tile of a row once, each a dilation after the one before it") {
  for (const int count : {1, 2, 3, 8, 32}) {
    for (const int tiles : {1, 2, 3, 7, 31, 32, 33, 64, 65, 1250}) {
      CAPTURE(count);
      CAPTURE(tiles);
      const Chains chains(tiles, count);
      CHECK(chains.in_row == std::min(count, tiles));
      std::vector<bool> seen(static_cast<size_t>(tiles), false);
      int chain = 0;
      int expected = 0;
      for (int i = 0; i < tiles; ++i) {
        const Chains::Place place = chains.place(i);
        CHECK(place.chain == chain);
        CHECK(place.tile == expected);
        REQUIRE(place.tile < tiles);
        CHECK_FALSE(seen[static_cast<size_t>(place.tile)]);
        seen[static_cast<size_t>(place.tile)] = true;
        expected += count;
        CHECK(place.last == (expected >= tiles));
        if (place.last) expected = ++chain;
      }
      CHECK(chain == chains.in_row);
    }
  }
}

TEST_CASE("tiles slide where taps lie whole tiles apart and rows are long") {
  const Geometry g = plan(batch_of(8, walk_problem(64, 128, 160000, 2, 1, 512, 0)));
  CHECK(g.layout == Layout::kSlide);
  CHECK(g.stages() == 2);
  CHECK(g.stage_taps == 1);
  CHECK(g.slots == 4);
  CHECK(g.resident);
  CHECK(slides(walk_problem(64, 128, 160000, 2, 1, 128, 0)));
  CHECK(slides(walk_problem(32, 128, 160000, 3, 1, 512, 0)));
  CHECK_FALSE(slides(walk_problem(64, 128, 160002, 2, 1, 512, 0)));  // rows that share sectors
  CHECK_FALSE(slides(walk_problem(32, 128, 160000, 2, 1, 512, 0)));  // little to convert
  CHECK_FALSE(slides(walk_problem(64, 128, 160000, 2, 1, 512, 0), 1));
  CHECK_FALSE(slides(walk_problem(64, 128, 160000, 2, 1, 200, 0)));
  CHECK_FALSE(slides(walk_problem(64, 128, 160000, 2, 2, 512, 0)));
  CHECK_FALSE(slides(walk_problem(64, 128, 30000, 2, 1, 512, 0)));                // few tiles
  CHECK_FALSE(slides(batch_of(600, walk_problem(64, 128, 1528, 2, 1, 512, 0))));  // chains of one tile
  CHECK_FALSE(slides(walk_problem(64, 128, 160000, 3, 1, 512, 0)));  // stages for a tile and the next do not fit
  CHECK_FALSE(slides(walk_problem(96, 128, 160000, 2, 1, 512, 0)));
  CHECK_FALSE(slides(walk_problem(64, 64, 160000, 2, 1, 512, 0)));  // two warpgroups side by side
  // What conv1d_test and epilogue_test mean to slide.
  const auto padded = [](Conv1dProblem p, int64_t left, int64_t right) {
    p.pad_left = left;
    p.pad_right = right;
    return p;
  };
  CHECK(slides(batch_of(3, walk_problem(40, 80, 28288, 2, 1, 128, 0))));
  CHECK(slides(batch_of(1, padded(walk_problem(40, 72, 84481, 2, 1, 1024, 0), 1000, 31))));
  CHECK(slides(batch_of(1, padded(walk_problem(64, 144, 42496, 3, 1, 128, 0, 2), 156, 100))));
  CHECK(slides(batch_of(21, walk_problem(40, 72, 6256, 2, 1, 2048, 0))));
  CHECK(slides(batch_of(2, padded(walk_problem(24, 70, 42501, 3, 1, 256, 0), 512, 11))));
  CHECK(slides(batch_of(4, walk_problem(40, 72, 21560, 2, 1, 384, 0))));
  CHECK(slides(batch_of(1, padded(walk_problem(24, 72, 84481, 4, 1, 128, 0), 384, 7))));
  CHECK(plan(padded(walk_problem(16, 72, 84488, 7, 1, 128, 0), 768, 0)).slots == 8);
  CHECK(slides(batch_of(1, padded(walk_problem(16, 72, 84488, 7, 1, 128, 0), 768, 0))));
  CHECK(slides(batch_of(8, padded(walk_problem(64, 72, 43008, 2, 1, 256, 0), 256, 0))));
  CHECK(slides(batch_of(3, walk_problem(40, 72, 28288, 2, 1, 128, 0))));  // conv1d_accuracy_test
  Conv1dProblem fused = batch_of(3, walk_problem(40, 72, 28286, 2, 1, 128, 1));
  CHECK(slides(fused));
  fused.epilogue.gated = true;
  CHECK(slides(fused));
  // Phases that are interleaved share sectors.
  Conv1dProblem phases = walk_problem(64, 128, 160000, 2, 1, 512, 0);
  phases.interleave.length = 320000;
  CHECK_FALSE(may_slide(phases, 3));
}

}  // namespace strand::layers::wgmma
