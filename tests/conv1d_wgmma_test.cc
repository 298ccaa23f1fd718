// cuda.wgmma's plan without a GPU: its geometry, packing and tables, walked as the kernel walks them but in double.
// The kernel itself is held against the reference in conv1d_test and conv1d_rows_test.
#include "layers/conv1d/conv1d_wgmma.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "engine/checked.h"
#include "engine/tensor.h"
#include "tests/conv1d_walk.h"

namespace strand::layers::wgmma {
namespace {

using testing::half_value;
using testing::walk_problem;
using testing::WalkCase;

constexpr int64_t kShared = 232448;

// Value i of an octet's row, in the stage that starts at (channel, tap); NaN where the kernel writes nothing.
double octet_value(const WalkCase& c, const Geometry& g, int64_t group, int64_t channel, int64_t tap, int64_t t0,
                   int64_t slot_row, int64_t i, const std::vector<int32_t>& elements) {
  const Conv1dProblem& p = c.p;
  int64_t position = 0;
  if (g.flat) {
    const int32_t element = elements[static_cast<size_t>(slot_row / g.octet_rows * 8 + i)];
    channel += element >> 16;
    position = slot_row % g.octet_rows * p.stride + (element & 0xFFFF) * p.dilation;
  } else if (g.fold > 1) {
    const int64_t value = slot_row / g.octet_rows * 8 + i;
    REQUIRE(value < g.octets * 8);
    channel += value / g.fold;
    position = slot_row % g.octet_rows * p.stride + value % g.fold;
  } else {
    const int64_t phase = slot_row / g.phase_rows;
    const int64_t octet = slot_row % g.phase_rows / g.octet_rows;
    channel += octet * 8 + i;
    position = slot_row % g.phase_rows % g.octet_rows * p.stride + phase;
    REQUIRE(octet < g.octets);
    REQUIRE(phase < p.stride);
  }
  if (position >= g.positions) return NAN;
  return channel < p.group_in()
             ? c.padded(1, group * p.group_in() + channel, position + tap * p.dilation - p.pad_left + t0 * p.stride)
             : 0;
}

// Values from a boundary of 16 bytes to what a stage needs of a row: the most of all rows, tiles and stages.
int64_t largest_lead(const Conv1dProblem& p, const Geometry& g) {
  int64_t largest = 0;
  const int64_t piece = g.piece();
  for (int64_t row = 0; row < piece; ++row) {
    for (int64_t tile = 0; tile < 4; ++tile) {
      for (int64_t stage = 0; stage < g.tap_stages; ++stage) {
        const int64_t tap = stage * g.stage_taps;
        const int64_t first = row * p.length + tile * g.tile_columns() * p.stride + tap * p.dilation - p.pad_left;
        largest = std::max(largest, (first % piece + piece) % piece);
      }
    }
  }
  return largest;
}

double walk(const WalkCase& c, const Geometry& g, const PackedWeights& packed, int64_t o, int64_t t) {
  const Conv1dProblem& p = c.p;
  const BlockShape shape = g.shape();
  const std::vector<int32_t> rows = step_rows(p, g);
  for (const int32_t row : rows) CHECK((row >> 16) > 0);  // two different octets
  const std::vector<int32_t> elements = flat_elements(p, g);
  const int64_t group = o / p.group_out();
  const auto [block_in_group, within] = channel_place(p, g, o % p.group_out());
  const int64_t block = group * ceil_div(p.group_out(), shape.channels) + block_in_group;
  const Layout layout = packed_layout(g.layout, p.group_out() - block_in_group * shape.channels);
  const int64_t tile = std::min(t / g.tile_columns(), g.position_tiles(output_length(p)) - 1);
  const int64_t t0 = tile * g.tile_columns();
  double sum = 0;
  for (int64_t step = 0; step < g.total_steps(); ++step) {
    const int64_t stage = step / g.steps;
    const int64_t channel = stage / g.tap_stages * g.stage_channels;
    const int64_t tap = stage % g.tap_stages * g.stage_taps;
    for (int64_t k = 0; k < 16; ++k) {
      double weight = 0;
      for (int part = 0; part < g.parts(); ++part) {
        const int row = weight_row(layout, g.products, within, part, static_cast<int>(k / 8));
        REQUIRE(row < step_weight_rows(layout, g.products));
        const int64_t place = block * g.total_steps() * g.step_bytes() / 2 +
                              step * step_weight_rows(layout, g.products) * 8 + row * 8 + k % 8;
        weight += half_value(packed.halves[static_cast<size_t>(place)]);
      }
      const int32_t step_row = rows[static_cast<size_t>(step % g.steps)];
      const int64_t slot_row = step_row % 65536 + k / 8 * (step_row / 65536) + t - t0;
      REQUIRE(slot_row * 16 < g.part_bytes);
      sum += weight * octet_value(c, g, group, channel, tap, t0, slot_row, k % 8, elements);
    }
  }
  return sum * static_cast<double>(packed.unscale[static_cast<size_t>(block * shape.channels + within)]);
}

Conv1dProblem gated(Conv1dProblem p) {
  p.epilogue.gated = true;
  return p;
}

// Tensor copies write boxes one behind the other: each raw value that is converted lies in one, with its row's lead.
void check_boxes(const Conv1dProblem& p, const Geometry& g) {
  if (g.boxes == 0) {
    CHECK(g.row_values == g.pitch);
    return;
  }
  CHECK(p.padding_mode == PaddingMode::kZeros);
  CHECK(p.length % g.piece() == 0);
  CHECK(g.row_values <= kMaxBoxValues);
  CHECK(g.row_values * g.element_bytes % 16 == 0);
  CHECK(g.box_step * g.element_bytes % 16 == 0);
  CHECK(g.stage_channels * g.row_values * g.element_bytes % 128 == 0);
  CHECK(g.boxes * g.box_step >= g.positions);
  CHECK(g.boxes * g.stage_channels * g.row_values * g.element_bytes <= g.slot_bytes);
  const int64_t lead = largest_lead(p, g);
  for (int channel = 0; channel < g.stage_channels; ++channel) {
    for (int position = 0; position < g.positions; ++position) {
      const int place = g.raw_place(channel, position);
      const int box = position / g.box_step;
      REQUIRE(place / g.row_values == box * g.stage_channels + channel);
      REQUIRE(place % g.row_values == position - box * g.box_step);
      REQUIRE(place % g.row_values + lead < g.row_values);
      // Neighbours that are folded end in the box in which they begin.
      const bool begins = g.fold > 1 && position % std::min<int64_t>(p.stride, 8) == 0 && position + 7 < g.positions;
      if (begins) REQUIRE(place % g.row_values + lead + 7 < g.row_values);
    }
  }
}

// A step's operand is in shared memory, and also if it is taken for one piece from its first row on.
void check_operands(const Conv1dProblem& p, const Geometry& g) {
  const int64_t slot = g.staging_bytes() + g.table_bytes() + int64_t{g.weight_slots} * g.weight_slot_bytes +
                       int64_t{g.slots - 1} * g.slot_bytes + g.raw_bytes;
  const int64_t low = int64_t{g.parts() - 1} * g.part_bytes;
  const int64_t octet = kPartColumns * 16;
  const int64_t last_part = g.shape().columns / kPartColumns - 1;
  for (const int32_t row : step_rows(p, g)) {
    const int64_t start = slot + low + last_part * g.stored_columns * 16 + row % 65536 * 16;
    CHECK(start + int64_t{row >> 16} * 16 + octet <= slot + low + g.part_bytes);
    CHECK(start + 2 * octet <= g.shared_bytes);
  }
}

TEST_CASE("cuda.wgmma copies a stage's rows at once where they begin at multiples of 16 bytes") {
  const auto boxes = [](Conv1dProblem p, int products, int element_bytes) {
    Geometry g;
    REQUIRE(choose_geometry(p, kShared, g, products, element_bytes) == "");
    check_boxes(p, g);
    return g.boxes;
  };
  CHECK(boxes(walk_problem(64, 128, 500, 3, 1, 1, 1), 3, 4) == 1);
  CHECK(boxes(walk_problem(64, 128, 500, 3, 2, 1, 1), 3, 4) == 2);
  CHECK(boxes(walk_problem(64, 128, 502, 3, 1, 1, 1), 3, 4) == 0);  // rows that begin at 8 bytes
  CHECK(boxes(walk_problem(64, 128, 500, 3, 1, 1, 1), 1, 2) == 0);  // the same
  CHECK(boxes(walk_problem(64, 128, 504, 3, 1, 1, 1), 1, 2) == 1);
  CHECK(boxes(walk_problem(4, 70, 400, 15, 1, 1, 7), 3, 4) == 1);  // windows that share values
  CHECK(boxes(walk_problem(3, 70, 400, 40, 3, 1, 7), 3, 4) == 0);  // flat
  CHECK(boxes(walk_problem(1, 128, 2000, 80, 4, 1, 38), 3, 4) == 3);
  CHECK(boxes(walk_problem(64, 128, 2104, 16, 8, 1, 4), 1, 2) == 5);  // folded, with a lead
  Conv1dProblem mirrored = walk_problem(64, 128, 500, 3, 1, 1, 1);
  mirrored.padding_mode = PaddingMode::kReflect;
  CHECK(boxes(mirrored, 3, 4) == 0);
  mirrored.pad_left = mirrored.pad_right = 0;
  Geometry g;
  REQUIRE(choose_geometry(mirrored, kShared, g) == "");
  CHECK(g.boxes == 1);  // padded by nothing
  g.copy_by_rows();
  CHECK(g.boxes == 0);
  CHECK(g.row_values == g.pitch);
  CHECK(g.raw_place(1, 5) == g.pitch + 5);
}

TEST_CASE("walking the plan of cuda.wgmma gives the formula's sums") {
  const Conv1dProblem problems[] = {
      gated(walk_problem(64, 128, 500, 2, 1, 4, 0)),  gated(walk_problem(20, 20, 300, 3, 1, 1, 1)),
      gated(walk_problem(32, 340, 300, 3, 1, 1, 1)),  walk_problem(64, 128, 1000, 3, 3, 4, 0),
      walk_problem(64, 128, 1300, 2, 1, 512, 0),      walk_problem(16, 16, 700, 3, 1, 128, 0),
      walk_problem(80, 512, 300, 7, 1, 1, 3),         walk_problem(32, 64, 500, 4, 2, 1, 1),
      walk_problem(40, 33, 300, 16, 8, 1, 4),         walk_problem(96, 96, 300, 128, 1, 1, 64, 2),
      walk_problem(4, 70, 400, 15, 1, 1, 7),          walk_problem(1, 128, 2000, 80, 4, 1, 38),
      walk_problem(3, 17, 600, 40, 3, 5, 9),          walk_problem(32, 32, 1500, 41, 1, 25, 500),
      walk_problem(17, 20, 200, 5, 16, 3, 2),         walk_problem(48, 130, 140, 1, 1, 1, 0),
      walk_problem(24, 16, 999, 5, 2, 7, 3),          walk_problem(32, 100, 2000, 32, 16, 1, 8),
      walk_problem(256, 256, 900, 11, 1, 5, 25),      walk_problem(64, 32, 4500, 2, 1, 4096, 0),
      walk_problem(20, 48, 3000, 256, 2, 3, 100),     walk_problem(64, 128, 2100, 16, 8, 1, 4),
      walk_problem(6, 20, 3001, 9, 8, 1, 0),          walk_problem(3, 24, 5001, 33, 16, 1, 7),
      walk_problem(64, 128, 2405, 3, 1, 1, 0),        walk_problem(16, 16, 2407, 3, 1, 1, 1),
      gated(walk_problem(64, 128, 2405, 3, 1, 1, 0)), walk_problem(32, 512, 2407, 5, 1, 3, 6, 2),
      walk_problem(16, 16, 70003, 3, 1, 128, 0),      walk_problem(20, 7, 150005, 5, 2, 3, 2),
      walk_problem(24, 128, 43000, 3, 1, 128, 0),     walk_problem(1, 70, 3001, 60, 1, 1, 3),
      walk_problem(16, 64, 700, 1, 1, 1, 0),          walk_problem(1, 40, 2405, 47, 1, 1, 5),
      walk_problem(3, 130, 1100, 7, 2, 2, 3),         walk_problem(41, 20, 300, 1, 1, 1, 0),
      walk_problem(2, 40, 2000, 33, 2, 1, 5),         walk_problem(2, 64, 4004, 40, 8, 1, 4),
      walk_problem(1, 32, 5000, 64, 8, 1, 0),         walk_problem(96, 384, 611, 3, 1, 1, 1),
      walk_problem(128, 344, 300, 3, 1, 1, 1),        gated(walk_problem(128, 344, 300, 3, 1, 1, 1)),
      walk_problem(1, 300, 3000, 256, 2, 1, 0),       walk_problem(8, 70, 900, 3, 1, 8, 8),
      walk_problem(24, 40, 1501, 15, 1, 1, 7),        walk_problem(17, 20, 1001, 9, 3, 2, 5),
      walk_problem(40, 130, 700, 4, 2, 3, 3),         walk_problem(8, 16, 90000, 5, 1, 1, 2),
      walk_problem(40, 96, 600, 1, 1, 1, 0),          walk_problem(80, 96, 500, 3, 1, 1, 1, 4),
      walk_problem(24, 64, 3001, 5, 1, 400, 1600),    walk_problem(3, 100, 900, 24, 1, 1, 5),
      walk_problem(17, 143, 483, 134, 1, 1, 0),       walk_problem(12, 64, 901, 16, 2, 1, 7),
      walk_problem(79, 61, 2500, 5, 4, 1, 0),         walk_problem(53, 31, 3000, 1, 13, 1, 0),
      walk_problem(11, 30, 1500, 9, 6, 5, 12),        walk_problem(40, 300, 801, 7, 1, 1, 3),
  };
  for (const Conv1dProblem& p : problems) {
    struct Kind {
      int products;
      int element_bytes;
    };
    for (const Kind& kind : {Kind{3, 4}, Kind{1, 4}, Kind{1, 2}}) {
      const int products = kind.products;
      const int element_bytes = kind.element_bytes;
      CAPTURE(products);
      CAPTURE(element_bytes);
      CAPTURE(p.in_channels);
      CAPTURE(p.kernel_size);
      CAPTURE(p.stride);
      Geometry g;
      REQUIRE(choose_geometry(p, kShared, g, products, element_bytes) == "");
      CHECK(g.element_bytes == element_bytes);
      CHECK(g.pitch % g.piece() == 0);
      if (carries_outputs(p, g, output_length(p))) {
        g.layout = Layout::kCarry;
      } else {
        g.stored_columns = choose_stored_columns(p, g, output_length(p));
      }
      // Strides of whole octets, and few channels whose taps about fill them; else as time has it, or not.
      const int64_t fold = std::max<int64_t>(p.stride, 8);
      const bool may_fold = p.dilation == 1 && fold % p.stride == 0 && fold % 8 == 0;
      const bool fills = 4 * round_up(p.kernel_size, fold) <= 5 * p.kernel_size;
      const bool folds = may_fold && (p.group_in() >= 8 ? p.stride >= 8 : p.group_in() <= 4 && fills);
      const bool by_time = may_fold && !folds && p.group_in() < 32 && p.group_in() % 8 != 0;
      CHECK((g.fold == (folds ? fold : 1) || (by_time && g.fold == fold)));
      CHECK(g.staging_bytes() == (g.second_staging > 0 ? 2 : 1) * kStagingBytes);
      CHECK(g.shared_bytes <= kShared);
      CHECK(g.slots >= 2);
      CHECK(g.slots <= kMaxSlots);
      check_operands(p, g);
      CHECK(g.steps <= kMaxSteps);
      CHECK(g.octets * 8 <= kMaxElements);
      CHECK(g.pitch == round_up(g.positions + largest_lead(p, g), g.piece()));  // all, and no more
      CHECK(g.raw_bytes + g.parts() * g.part_bytes <= g.slot_bytes);
      CHECK(g.stage_channels * g.pitch * element_bytes <= (g.flat ? g.raw_bytes : g.slot_bytes));
      CHECK((g.resident ? g.total_steps() : g.chunk_steps) * g.step_bytes() <= g.weight_slot_bytes);
      if (!g.flat) CHECK(g.items() <= g.converter_threads() * items_per_thread(g.layout, g.element_bytes));
      check_boxes(p, g);
      const WalkCase c(p);
      const PackedWeights packed = pack_weights(p, g, c.w);
      CHECK_FALSE(packed.exact_only);
      const int64_t length = output_length(p);
      for (const int64_t t : {int64_t{0}, int64_t{1}, length / 2, length - 1}) {
        for (const int64_t o : {int64_t{0}, p.out_channels / 2, p.out_channels - 1}) {
          const double unit = std::sqrt(static_cast<double>(p.reduction()));
          CHECK(std::fabs(walk(c, g, packed, o, t) - c.truth(1, o, t)) < (products == 3 ? 1e-6 : 2e-3) * unit);
        }
      }
    }
  }
}

TEST_CASE("what is not for warpgroup products is declined with the reason") {
  Geometry g;
  CHECK(choose_geometry(walk_problem(4, 64, 100, 3, 1, 1, 0), kShared, g).find("reduction of 12") != std::string::npos);
  CHECK(choose_geometry(walk_problem(64, 64, 100, 3, 17, 1, 0), kShared, g).find("stride") != std::string::npos);
  // Channels whose rows do not fit at once: a step for six of them.
  CHECK(choose_geometry(walk_problem(47, 31, 66526, 1, 16, 1, 0), kShared, g) ==
        "a reduction of 47 products in 8 steps of 16");
  Conv1dProblem few = walk_problem(64, 8, 100, 3, 1, 1, 0);
  CHECK(choose_geometry(few, kShared, g) == "");
  few.epilogue.gated = true;
  CHECK(choose_geometry(few, kShared, g).find("8 output channels") != std::string::npos);
}

// Whose octets of eight channels, or flat ones, would make too many steps where another kind does not.
TEST_CASE("short sums are taken if any kind of octets makes few enough steps") {
  for (const int products : {1, 3}) {
    for (const Conv1dProblem& p : {walk_problem(3, 17, 30000, 13, 1, 28, 0), walk_problem(3, 2, 52628, 9, 1, 14, 0),
                                   walk_problem(2, 8, 2109, 22, 1, 1, 0), walk_problem(1, 4, 871, 33, 1, 27, 0),
                                   walk_problem(2, 29, 30000, 21, 1, 17, 0)}) {
      Geometry g;
      CHECK(choose_geometry(p, kShared, g, products) == "");
    }
  }
}

TEST_CASE("one output is for warpgroup products too: its time decides") {
  Geometry g;
  CHECK(choose_geometry(walk_problem(64, 1, 100, 3, 1, 1, 0), kShared, g) == "");
}

TEST_CASE("cuda.wgmma interleaves the phases of strides that are powers of two up to 8") {
  Conv1dProblem p = walk_problem(64, 64, 100, 3, 1, 1, 0);
  Geometry g;
  for (const int stride : {1, 2, 4, 8}) {
    for (int divisor = 1; divisor <= stride; divisor *= 2) {
      p.interleave = {stride, divisor, 1, 98 * stride};
      CHECK(choose_geometry(p, kShared, g) == "");
    }
  }
  for (const int stride : {3, 6, 16}) {
    p.interleave = {stride, 1, 0, 98 * stride};
    CHECK(choose_geometry(p, kShared, g) == "interleaves " + std::to_string(stride) + " outputs a position");
  }
}

// Sizes that were once counted in 32 bits: weights of 2^31 bytes and more a block of output channels, and rows of raw
// input of 2^26 samples. Geometry alone, so that the weights need not exist.
TEST_CASE("cuda.wgmma plans what is larger than 32 bits count") {
  for (const Conv1dProblem& p :
       {walk_problem(1024, 128, 8192, 4096, 1, 1, 0), walk_problem(2048, 128, 4096, 4096, 1, 1, 0),
        walk_problem(3072, 128, 4096, 4096, 1, 1, 0), walk_problem(1024, 128, 9000, 8192, 8, 1, 0),
        walk_problem(64, 64, 1 << 27, 3, 16, 1 << 25, 0)}) {
    CAPTURE(p.in_channels);
    CAPTURE(p.kernel_size);
    Geometry g;
    REQUIRE(choose_geometry(p, kShared, g) == "");
    CHECK(g.weight_slot_bytes == int64_t{g.resident ? g.total_steps() : g.chunk_steps} * g.step_bytes());
    CHECK(g.stage_channels * int64_t{g.pitch} * 4 <= kShared);
    CHECK(g.shared_bytes > 0);
    CHECK(g.shared_bytes <= kShared);
    CHECK(g.slots * int64_t{g.slot_bytes} < g.shared_bytes);
  }
}

TEST_CASE("weights that float16 pairs can't hold are computed in float32 by cuda.wgmma") {
  const Conv1dProblem p = walk_problem(64, 16, 100, 3, 1, 1, 0);
  Geometry g;
  REQUIRE(choose_geometry(p, kShared, g) == "");
  for (const float odd : {INFINITY, NAN, 1e30F}) {
    std::vector<float> weights(static_cast<size_t>(p.out_channels * p.reduction()), 1.0F);
    weights[5] = odd;
    CHECK(pack_weights(p, g, weights).exact_only);
  }
}

}  // namespace
}  // namespace strand::layers::wgmma
