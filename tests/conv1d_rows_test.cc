// Conv1d's implementations against the double loop: how rows of inputs and outputs lie in memory, and how cuda.wgmma
// takes and stores them.

#include "tests/conv1d_check.h"

namespace strand::testing {
namespace {

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

}  // namespace
}  // namespace strand::testing
