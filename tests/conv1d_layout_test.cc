// How cuda.wgmma lays out which convolutions' tiles, octets and outputs, and in which order tiles slide: without a GPU.
// The kernel itself is held against the reference in conv1d_test and conv1d_rows_test.

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

Conv1dProblem gated(Conv1dProblem p) {
  p.epilogue.gated = true;
  return p;
}

}  // namespace

TEST_CASE("a warpgroup of cuda.wgmma stores whole sectors where rows are odd and that pays") {
  const auto stored = [](const Conv1dProblem& p) { return choose_stored_columns(p, plan(p), output_length(p)); };
  CHECK(stored(walk_problem(64, 128, 2405, 3, 1, 1, 0)) == 120);
  CHECK(stored(walk_problem(64, 128, 2410, 3, 1, 1, 0)) == 128);  // rows of whole sectors
  CHECK(stored(walk_problem(64, 128, 2408, 3, 1, 1, 0)) == 128);  // even ones that share them
  CHECK(stored(walk_problem(64, 128, 1205, 3, 1, 1, 0)) == 128);  // short rows
  CHECK(stored(walk_problem(64, 128, 2405, 7, 1, 1, 0)) == 128);  // long sums
  CHECK(stored(walk_problem(64, 128, 8000, 3, 3, 4, 0)) == 128);  // more to convert than to store
  CHECK(stored(walk_problem(16, 16, 2405, 3, 1, 128, 0)) == 128);
  for (const int64_t length : {int64_t{1}, int64_t{8}, int64_t{128}, int64_t{2401}, int64_t{2408}, int64_t{2409}}) {
    Geometry g;
    g.stored_columns = 120;
    // The last part has 128 columns, the others 120.
    CHECK(g.position_tiles(length) * 120 + 8 >= length);
    CHECK((g.position_tiles(length) == 1 || (g.position_tiles(length) - 1) * 120 + 8 < length));
  }
}

TEST_CASE("a block of cuda.wgmma carries outputs from tile to tile where rows share sectors") {
  const auto carries = [](const Conv1dProblem& p) { return carries_outputs(p, plan(p), output_length(p)); };
  CHECK(carries(walk_problem(64, 128, 2405, 3, 1, 1, 0)));
  CHECK(carries(walk_problem(64, 256, 2406, 3, 1, 1, 0)));
  CHECK(carries(walk_problem(64, 128, 8002, 3, 3, 4, 0)));  // however much is converted
  CHECK(carries(walk_problem(64, 128, 2405, 2, 1, 255, 0)));
  const Geometry single = plan(walk_problem(64, 128, 2406, 3, 1, 1, 0), 1);
  CHECK_FALSE(carries_outputs(walk_problem(64, 128, 2406, 3, 1, 1, 0), single, 2404));  // stores 120 columns
  CHECK(choose_stored_columns(walk_problem(64, 128, 2406, 3, 1, 1, 0), single, 2404) == 120);
  CHECK_FALSE(carries(walk_problem(64, 128, 2410, 3, 1, 1, 0)));         // rows of whole sectors
  CHECK_FALSE(carries(walk_problem(64, 128, 2045, 3, 1, 1, 0)));         // short rows
  CHECK_FALSE(carries(walk_problem(64, 128, 3405, 2, 1, 512, 0)));       // far taps
  CHECK_FALSE(carries(walk_problem(64, 120, 2405, 3, 1, 1, 0)));         // blocks with channels that there are not
  CHECK_FALSE(carries(walk_problem(64, 64, 2405, 3, 1, 1, 0)));          // two warpgroups side by side
  CHECK_FALSE(carries(walk_problem(256, 256, 2405, 11, 1, 1, 0)));       // weights that do not stay
  CHECK_FALSE(carries(gated(walk_problem(64, 128, 2405, 3, 1, 1, 0))));  // sums of results lie eight rows apart
  // A warp's eight rows are every eighth channel.
  Geometry g;
  g.layout = Layout::kCarry;
  const Conv1dProblem p = walk_problem(64, 256, 2405, 3, 1, 1, 0);
  std::vector<int> channel_of(128, -1);
  for (int channel = 128; channel < 256; ++channel) {
    const auto [block, within] = channel_place(p, g, channel);
    CHECK(block == 1);
    channel_of[static_cast<size_t>(within)] = channel;
  }
  for (size_t within = 0; within < 128; ++within) {
    CHECK(channel_of[within] >= 128);
    if (within % 8 > 0) CHECK(channel_of[within] == channel_of[within - 1] + 8);
  }
}

TEST_CASE("one product of long sums and many channels has tall tiles, and converters enough for a stage") {
  const Conv1dProblem long_sum = batch_of(40, walk_problem(96, 384, 611, 3, 1, 1, 1));
  CHECK(plan(long_sum, 1).layout == Layout::kTall);
  CHECK(plan(long_sum, 3).layout == Layout::kSplit);
  CHECK(plan(walk_problem(64, 256, 611, 3, 1, 1, 1), 1).layout == Layout::kSplit);  // a short one
  // Tall tiles would be half empty.
  CHECK(plan(batch_of(40, walk_problem(96, 160, 611, 3, 1, 1, 1)), 1).layout == Layout::kWide);
  CHECK(plan(walk_problem(256, 256, 611, 1, 1, 1, 0), 1).resident);
  const Geometry strided = plan(walk_problem(128, 256, 4096, 8, 4, 1, 2), 1);
  CHECK_FALSE(strided.flat);
  CHECK(strided.layout == Layout::kSplit);
  // Six warps that convert would have to take the taps in many stages.
  CHECK(plan(walk_problem(96, 128, 8192, 32, 4, 1, 0), 1).stages() == 6);
  CHECK(plan(long_sum, 1).converter_warps == kMostConverters - 1);
}

TEST_CASE("up to 16 outputs are the columns of products where there are many positions, up to 32 rows") {
  const auto layout = [](const Conv1dProblem& p, int products) {
    const Geometry g = plan(p, products);
    CHECK(g.slots >= 2);
    return g.layout;
  };
  for (const int products : {1, 3}) {
    CHECK(layout(walk_problem(16, 16, 480000, 3, 1, 128, 0), products) == Layout::kTurned);
    CHECK(layout(walk_problem(16, 16, 4800, 3, 1, 128, 0), products) == Layout::kStack);  // few tiles
    CHECK(layout(walk_problem(32, 17, 480000, 3, 1, 1, 0), products) == Layout::kStack);
    CHECK(layout(walk_problem(32, 33, 480000, 3, 1, 1, 0), products) == Layout::kWide);
    CHECK(layout(gated(walk_problem(32, 32, 480000, 3, 1, 1, 0)), products) == Layout::kWide);
    CHECK(layout(batch_of(8, walk_problem(64, 16, 480000, 16, 16, 1, 0)), products) == Layout::kTurned);
    CHECK(layout(batch_of(8, walk_problem(64, 16, 480000, 16, 16, 3, 0)), products) == Layout::kStack);  // does not fit
    // What other tests mean to have them.
    CHECK(layout(batch_of(64, walk_problem(16, 16, 1024, 3, 1, 1, 1)), products) == Layout::kTurned);
    CHECK(layout(batch_of(64, walk_problem(16, 14, 2100, 5, 2, 1, 2)), products) == Layout::kTurned);
    CHECK(layout(batch_of(32, walk_problem(8, 16, 17000, 16, 8, 1, 4)), products) == Layout::kTurned);
    CHECK(layout(batch_of(128, walk_problem(16, 13, 514, 3, 1, 2, 0)), products) == Layout::kTurned);
    CHECK(layout(batch_of(2, walk_problem(1024, 512, 611, 3, 1, 1, 1, 64)), products) == Layout::kTurned);
  }
  // Rows of the operand: of each octet high parts, then low ones; one product has but those.
  CHECK(weight_row(Layout::kTurned, 3, 5, 0, 0) == 5);
  CHECK(weight_row(Layout::kTurned, 3, 5, 1, 0) == 16 + 5);
  CHECK(weight_row(Layout::kTurned, 3, 5, 1, 1) == 32 + 16 + 5);
  CHECK(weight_row(Layout::kTurned, 1, 5, 0, 1) == 16 + 5);
}

TEST_CASE("neighbours of few channels are folded at strides that divide 8 or 16, if that takes no more products") {
  const auto fold = [](const Conv1dProblem& p) {
    const Geometry g = plan(p);
    CHECK(g.flat == (g.fold == 1));
    return g.fold;
  };
  const Conv1dProblem m5 = walk_problem(1, 128, 16000, 80, 4, 1, 38);
  CHECK(fold(m5) == 8);
  CHECK(plan(m5).items() == 128 + 9 * 2);  // ten windows, each two rows past the one before it
  CHECK(fold(walk_problem(4, 768, 196608, 15, 1, 1, 7)) == 8);
  CHECK(fold(walk_problem(2, 100, 9000, 33, 2, 1, 5)) == 8);
  CHECK(fold(walk_problem(3, 100, 9000, 20, 1, 1, 5)) == 1);  // six steps for four
  CHECK(fold(walk_problem(1, 64, 9000, 64, 8, 1, 0)) == 8);
  CHECK(fold(walk_problem(1, 64, 9000, 64, 16, 1, 0)) == 16);
  // What conv1d_rows_test means to be folded.
  for (const Conv1dProblem& p : {walk_problem(4, 140, 24000, 15, 1, 1, 7), walk_problem(2, 300, 9001, 33, 2, 1, 5),
                                 walk_problem(2, 33, 9002, 256, 1, 1, 100), walk_problem(1, 128, 33001, 50, 2, 1, 0),
                                 walk_problem(4, 140, 3007, 24, 2, 1, 11, 2), walk_problem(4, 130, 2401, 16, 1, 1, 8),
                                 walk_problem(1, 64, 7203, 50, 2, 1, 4)}) {
    CHECK(fold(p) > 1);
  }
  CHECK(fold(walk_problem(1, 64, 9000, 60, 3, 1, 0)) == 1);
  CHECK(fold(walk_problem(1, 64, 9000, 60, 2, 3, 0)) == 1);
}

// As measured: 0.377 instead of 0.550 ms, 0.256 instead of 0.494, 0.112 instead of 0.173; and 0.223 instead of 0.161.
TEST_CASE("taps far apart at a long stride are picked out, at a short one they are not") {
  CHECK(plan(batch_of(16, walk_problem(64, 128, 100000, 5, 8, 128, 0))).flat);
  CHECK(plan(batch_of(16, walk_problem(32, 128, 100000, 9, 8, 128, 0))).flat);
  CHECK(plan(batch_of(40, walk_problem(63, 64, 20001, 1, 8, 1, 0)), 1).flat);
  CHECK_FALSE(plan(batch_of(16, walk_problem(128, 128, 20000, 3, 2, 200, 0))).flat);
}

TEST_CASE("tiles are halved where they are too few for all multiprocessors, and that is expected to be faster") {
  const auto layout = [](int64_t batch, const Conv1dProblem& p, int products = 3) {
    return plan(batch_of(batch, p), products).layout;
  };
  const Conv1dProblem wide = walk_problem(174, 59, 207, 1, 1, 1, 0);
  CHECK(layout(47, wide) == Layout::kSplit);  // one of 256 positions a row, or two of 128
  CHECK(layout(400, wide) == Layout::kWide);
  const Conv1dProblem five_blocks = walk_problem(10, 259, 63, 27, 1, 1, 0);
  CHECK(layout(35, five_blocks) == Layout::kSplit);  // 175 tiles are two turns, three blocks of 128 one
  CHECK(layout(300, five_blocks) == Layout::kWide);
  const Conv1dProblem one_tile = walk_problem(174, 59, 101, 1, 1, 1, 0);
  CHECK(layout(400, one_tile) == Layout::kWide);
  const Conv1dProblem tall = walk_problem(128, 512, 1000, 7, 1, 1, 3);
  CHECK(layout(2, tall, 1) == Layout::kSplit);
  CHECK(layout(16, tall, 1) == Layout::kTall);
}

TEST_CASE("eight rows of outputs are staged apart from the next where sums are short and stages enough fit") {
  const auto apart = [](const Conv1dProblem& p, int products) {
    const Geometry g = plan(p, products);
    CHECK(g.shared_bytes <= kShared);
    if (g.second_staging > 0) CHECK((g.second_staging == kStagingBytes && g.resident));
    return g.second_staging > 0;
  };
  const Conv1dProblem wavenet = walk_problem(64, 128, 160000, 2, 1, 1, 0);
  CHECK(apart(wavenet, 3));
  CHECK(plan(wavenet).slots >= 4);
  CHECK(apart(walk_problem(1, 128, 16000, 80, 4, 1, 38), 1));
  CHECK_FALSE(apart(wavenet, 1));  // three stages would be left
  CHECK(apart(walk_problem(64, 128, 131072, 3, 1, 1, 0), 3));
  CHECK_FALSE(apart(walk_problem(64, 128, 131072, 3, 1, 1, 0), 1));   // one product of twelve steps
  CHECK_FALSE(apart(walk_problem(64, 128, 524280, 3, 3, 4, 0), 3));   // three stages would be left
  CHECK_FALSE(apart(walk_problem(80, 384, 3000, 3, 1, 1, 1), 3));     // four of a tile's five stages would be left
  CHECK_FALSE(apart(walk_problem(128, 512, 32003, 1, 1, 1, 0), 3));   // four stages a tile for two, row by row
  CHECK_FALSE(apart(walk_problem(512, 512, 31999, 3, 2, 1, 0), 3));   // weights follow
  CHECK_FALSE(apart(walk_problem(64, 64, 160000, 2, 1, 1, 0), 3));    // two warpgroups side by side
  CHECK_FALSE(apart(walk_problem(16, 16, 480000, 3, 1, 128, 0), 3));  // or turned
  CHECK(plan(batch_of(9, walk_problem(7, 588, 3887, 14, 5, 1, 0)), 1).total_steps() ==
        7);                                                                 // no more, for smaller stages
  CHECK_FALSE(apart(gated(walk_problem(64, 128, 160000, 2, 1, 1, 0)), 3));  // which has eight results of sixteen rows
  const Conv1dProblem slides = batch_of(8, walk_problem(64, 128, 160000, 2, 1, 512, 0));
  CHECK(apart(slides, 3));
  CHECK(plan(slides).slots == 3);
}

TEST_CASE("rows have room for what may lie before a stage's first position, and no more") {
  const auto slots = [](int64_t length) { return plan(walk_problem(64, 128, length, 3, 3, 4, 0)).slots; };
  CHECK(slots(524280) == 4);
  CHECK(slots(524286) == 4);  // two values at most
  CHECK(slots(524285) == 3);  // three
}

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
  CHECK(g.slots == 3);
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
  // What conv1d_rows_test and epilogue_test mean to slide.
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
