// cuda.tensor's plan without a GPU: its geometry, packing and tables, walked as the kernel walks them but in double.
// The kernel itself is held against the reference in conv1d_test.
#include "layers/conv1d/conv1d_tensor.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "engine/tensor.h"
#include "tests/conv1d_walk.h"
#include "tests/run_layer.h"

namespace strand::layers::tensor {
namespace {

using testing::half_value;
using testing::walk_problem;
using testing::WalkCase;

constexpr int64_t kSharedH200 = 232448;
constexpr int64_t kSharedAda = 99 << 10;

// What the kernel puts into value i of an octet's row, in the stage that starts at (channel, tap).
double octet_value(const WalkCase& c, const Geometry& g, int64_t n, int64_t group, int64_t channel, int64_t tap,
                   int64_t t0, int64_t octet, int64_t row, int64_t i, const std::vector<int32_t>& elements) {
  const Conv1dProblem& p = c.p;
  int64_t offset = tap * p.dilation - p.pad_left + t0 * p.stride;
  if (g.flat) {
    const int32_t element = elements[static_cast<size_t>(octet * 8 + i)];
    if (element < 0) return 0;
    channel += element >> 16;
    offset += row * p.stride + (element & 0xFFFF) * p.dilation;
    REQUIRE(row * p.stride + (element & 0xFFFF) * p.dilation + 3 < g.pitch);
  } else {
    channel += octet * 8 + i;
    const int64_t within = g.phase_start[row / g.phase_rows] + row % g.phase_rows * p.stride;
    offset += within;
  }
  return channel < p.group_in() ? c.padded(n, group * p.group_in() + channel, offset) : 0;
}

double walk(const WalkCase& c, const Geometry& g, const PackedWeights& packed, int64_t n, int64_t o, int64_t t) {
  const Conv1dProblem& p = c.p;
  const BlockShape shape = kBlockShapes[g.shape];
  const std::vector<int32_t> offsets = step_offsets(p, g);
  const std::vector<int32_t> elements = flat_elements(g);
  const int64_t group = o / p.group_out();
  const int64_t tiles = (p.group_out() + shape.rows() - 1) / shape.rows() * shape.rows() / 16;
  const int64_t row = o % p.group_out();
  const int64_t t0 = t / shape.columns() * shape.columns();
  double sum = 0;
  for (int64_t step = 0; step < g.total_steps(); ++step) {
    const int64_t stage = step / g.steps;
    const int64_t channel = stage / g.tap_stages * g.stage_channels;
    const int64_t tap = stage % g.tap_stages * g.stage_taps;
    const int64_t unit = offsets[static_cast<size_t>(step % g.steps)] / 16;
    const int64_t x_row = unit % g.rows + t - t0;
    REQUIRE(x_row < g.rows);
    for (int64_t k = 0; k < 16; ++k) {
      const int64_t lane = row % 8 * 4 + k % 8 / 2;
      const int64_t half = k / 8 * 4 + row % 16 / 8 * 2 + k % 2;
      const auto at =
          static_cast<size_t>((((group * tiles + row / 16) * g.total_steps() + step) * 64 + lane) * 8 + half);
      const double weight = half_value(packed.halves[at]) + half_value(packed.halves[at + 256]);
      if (weight == 0) continue;  // what is padded to whole steps meets a zero, whatever lies there
      sum += weight * octet_value(c, g, n, group, channel, tap, t0, unit / g.rows + k / 8, x_row, k % 8, elements);
    }
  }
  return sum * static_cast<double>(packed.unscale[static_cast<size_t>(group * tiles * 16 + row)]);
}

TEST_CASE("walking the plan of cuda.tensor gives the formula's sums") {
  const Conv1dProblem problems[] = {
      walk_problem(64, 128, 1000, 3, 3, 4, 0),     walk_problem(64, 128, 1300, 2, 1, 512, 0),
      walk_problem(16, 16, 700, 3, 1, 128, 0),     walk_problem(80, 48, 300, 7, 1, 1, 3),
      walk_problem(32, 64, 500, 4, 2, 1, 1),       walk_problem(40, 33, 300, 16, 8, 1, 4),
      walk_problem(96, 96, 300, 128, 1, 1, 64, 2), walk_problem(4, 70, 400, 15, 1, 1, 7),
      walk_problem(1, 128, 2000, 80, 4, 1, 38),    walk_problem(3, 17, 600, 40, 3, 5, 9),
      walk_problem(32, 32, 1500, 41, 1, 25, 500),  walk_problem(17, 20, 200, 5, 16, 3, 2),
      walk_problem(48, 130, 140, 1, 1, 1, 0),      walk_problem(24, 16, 999, 5, 2, 7, 3),
      walk_problem(32, 100, 2000, 32, 16, 1, 8),
  };
  for (const Conv1dProblem& p : problems) {
    for (const int64_t shared : {kSharedH200, kSharedAda}) {
      CAPTURE(p.in_channels);
      CAPTURE(p.kernel_size);
      CAPTURE(shared);
      Geometry g;
      REQUIRE(choose_geometry(p, shared, g) == "");
      CHECK(g.shared_bytes <= shared);
      CHECK(g.ring >= 2);
      for (int row = 0; row < g.rows && !g.flat; ++row) {
        const int64_t at = g.gathered ? row : g.phase_start[row / g.phase_rows] + row % g.phase_rows * p.stride + 3;
        CHECK(at < g.pitch);
      }
      CHECK(g.steps <= kMaxSteps);
      const WalkCase c(p);
      const PackedWeights packed = pack_weights(p, g, c.w);
      CHECK_FALSE(packed.exact_only);
      const int64_t length = output_length(p);
      for (const int64_t t : {int64_t{0}, int64_t{1}, length / 2, length - 1}) {
        for (const int64_t o : {int64_t{0}, p.out_channels / 2, p.out_channels - 1}) {
          const double unit = std::sqrt(static_cast<double>(p.reduction()));
          CHECK(std::fabs(walk(c, g, packed, 1, o, t) - c.truth(1, o, t)) < 1e-6 * unit);
        }
      }
    }
  }
}

TEST_CASE("division by a known number") {
  std::mt19937 random(testing::test_seed());
  for (const uint32_t divisor : {1U, 2U, 3U, 7U, 66U, 640U, 4096U, 65537U, 1000003U, 0x3FFFFFFFU, 0x7FFFFFFFU}) {
    const Divisor by(divisor);
    for (int i = 0; i < 2000; ++i) {
      const auto number = static_cast<uint32_t>(random() & 0x7FFFFFFFU) >> (i % 31);
      for (const uint32_t n : {number, number / divisor * divisor, 0x7FFFFFFFU}) CHECK(by.divide(n) == n / divisor);
    }
  }
}

TEST_CASE("what is not for tensor cores is declined with the reason") {
  Geometry g;
  CHECK(choose_geometry(walk_problem(4, 64, 100, 3, 1, 1, 0), kSharedH200, g).find("reduction of 12") !=
        std::string::npos);
  CHECK(choose_geometry(walk_problem(64, 1, 100, 3, 1, 1, 0), kSharedH200, g).find("1 output channels") !=
        std::string::npos);
  CHECK(choose_geometry(walk_problem(64, 64, 100, 3, 17, 1, 0), kSharedH200, g).find("stride") != std::string::npos);
}

TEST_CASE("weights that float16 pairs can't hold are computed in float32") {
  const Conv1dProblem p = walk_problem(64, 16, 100, 3, 1, 1, 0);
  Geometry g;
  REQUIRE(choose_geometry(p, kSharedH200, g) == "");
  for (const float odd : {INFINITY, NAN, 1e30F}) {
    std::vector<float> weights(static_cast<size_t>(p.out_channels * p.reduction()), 1.0F);
    weights[5] = odd;
    CHECK(pack_weights(p, g, weights).exact_only);
  }
  std::vector<float> weights(static_cast<size_t>(p.out_channels * p.reduction()), 0.0F);
  CHECK_FALSE(pack_weights(p, g, weights).exact_only);
}

}  // namespace
}  // namespace strand::layers::tensor
