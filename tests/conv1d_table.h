#pragma once
// Conv1d problems for tests, and the layer of each. Plain values.

#include <cstdint>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "layers/conv1d/conv1d.h"
#include "layers/registry.h"

namespace strand::testing {

// An integer, [left, right] or a name.
struct CasePadding {
  int64_t left = 0;
  int64_t right = 0;
  const char* name = nullptr;

  CasePadding(int both) : left(both), right(both) {}
  CasePadding(int64_t both) : left(both), right(both) {}
  CasePadding(int64_t first, int64_t last) : left(first), right(last) {}
  CasePadding(const char* rule) : name(rule) {}

  layers::AttributeValue value() const {
    if (name != nullptr) return std::string(name);
    if (left == right) return left;
    return std::vector<int64_t>{left, right};
  }
};

struct Conv1dCase {
  int64_t batch = 1;
  int64_t in_channels = 1;
  int64_t out_channels = 1;
  int64_t length = 1;
  int64_t kernel_size = 1;
  int64_t dilation = 1;
  int64_t stride = 1;
  CasePadding padding = 0;
  int64_t groups = 1;
  bool bias = true;
  const char* padding_mode = "zeros";
};

inline std::string to_string(const Conv1dCase& c) {
  std::ostringstream text;
  text << "[" << c.batch << ", " << c.in_channels << ", " << c.length << "] -> " << c.out_channels
       << " channels, kernel_size " << c.kernel_size << ", dilation " << c.dilation << ", stride " << c.stride
       << ", padding " << layers::to_string(c.padding.value()) << " " << c.padding_mode << ", groups " << c.groups
       << (c.bias ? "" : ", no bias");
  return text.str();
}

inline layers::Attributes attributes_of(const Conv1dCase& c) {
  layers::Attributes attributes;
  attributes.set("in_channels", c.in_channels);
  attributes.set("out_channels", c.out_channels);
  attributes.set("kernel_size", c.kernel_size);
  attributes.set("dilation", c.dilation);
  attributes.set("stride", c.stride);
  attributes.set("padding", c.padding.value());
  attributes.set("groups", c.groups);
  attributes.set("bias", c.bias);
  attributes.set("padding_mode", std::string(c.padding_mode));
  return attributes;
}

inline std::unique_ptr<layers::Layer> make_conv1d(const Conv1dCase& c) {
  return layers::default_registry().make("Conv1d", attributes_of(c));
}

// Every pair of channel counts at the edges of tiles, each with another geometry and length.
inline std::vector<Conv1dCase> channel_cases() {
  struct Geometry {
    int64_t kernel_size, dilation, stride, padding;
  };
  constexpr Geometry kGeometries[] = {{3, 1, 1, 1}, {1, 1, 1, 0}, {3, 4, 3, 0}, {2, 1, 1, 0}, {5, 2, 2, 4},
                                      {4, 3, 1, 2}, {7, 1, 1, 3}, {1, 1, 2, 0}, {3, 8, 1, 8}};
  constexpr int64_t kChannels[] = {1, 3, 7, 15, 16, 17, 31, 32, 33, 64, 127, 128};
  std::vector<Conv1dCase> cases;
  for (const int64_t in : kChannels) {
    for (const int64_t out : kChannels) {
      const auto index = static_cast<int64_t>(cases.size());
      const Geometry& g = kGeometries[index % 9];
      const int64_t length = 25 + index * 37 % 120;  // no multiple of anything
      cases.push_back(
          {1 + index % 3, in, out, length, g.kernel_size, g.dilation, g.stride, g.padding, 1, index % 2 == 0});
    }
  }
  return cases;
}

// Kernel sizes, dilations and strides against each other, at a few channel counts; the last length gives one output.
inline std::vector<Conv1dCase> geometry_cases() {
  std::vector<Conv1dCase> cases;
  for (const int64_t kernel_size : {1, 2, 3, 4, 8, 13}) {
    for (const int64_t dilation : {1, 2, 5, 12}) {
      for (const int64_t stride : {1, 2, 3, 7, 40}) {
        const auto index = static_cast<int64_t>(cases.size());
        const int64_t extent = dilation * (kernel_size - 1) + 1;
        const int64_t outputs[] = {1, 9, 12, 20, 40};
        for (const int64_t length : {extent, extent + 61 + index % 17}) {
          cases.push_back({2, 1 + index % 5, outputs[index % 5], length, kernel_size, dilation, stride,
                           CasePadding(index % 4, index % 3), 1, index % 3 != 0});
        }
      }
    }
  }
  // Strides of 8 and 16, whose positions are channels of their own on tensor cores; rows on and off 16 bytes.
  for (const int64_t stride : {8, 16}) {
    for (const int64_t kernel_size : {stride, 2 * stride, 2 * stride + 3}) {
      for (const int64_t length : {1200, 1203}) {
        cases.push_back({2, 20, 33, length, kernel_size, 1, stride, CasePadding(stride / 2, 3), 1, true});
        cases.push_back({1, 6, 70, length, kernel_size, 1, stride, CasePadding(5, 4), 2, false, "reflect"});
      }
    }
  }
  // Taps in several chunks on the CPU, the last of which has few taps and many channels.
  cases.push_back({1, 2, 3, 199 * 300 + 90, 200, 300, 1, CasePadding(0, 0), 1, true});
  cases.push_back({2, 3, 2, 500, 200, 40, 1, CasePadding(3980, 3980), 1, true});
  return cases;
}

inline std::vector<Conv1dCase> group_cases() {
  struct Groups {
    int64_t in_channels, out_channels, groups;
  };
  // Depthwise, with multipliers up to more than a thin kernel takes, and groups at the edges of tiles.
  constexpr Groups kGroups[] = {{7, 7, 7},   {8, 16, 8},  {5, 15, 5}, {6, 48, 6},    {4, 36, 4},   {16, 16, 16},
                                {6, 9, 3},   {12, 12, 2}, {64, 4, 2}, {96, 96, 2},   {34, 66, 2},  {10, 15, 5},
                                {33, 99, 3}, {3, 51, 3},  {4, 64, 2}, {128, 128, 4}, {40, 40, 40}, {130, 130, 2}};
  std::vector<Conv1dCase> cases;
  for (const Groups& g : kGroups) {
    const auto index = static_cast<int64_t>(cases.size());
    cases.push_back({2, g.in_channels, g.out_channels, 90 + index, 3, 1, 1, 1, g.groups});
    cases.push_back({3, g.in_channels, g.out_channels, 71 + index, 4, 5, 3, 6, g.groups, false});
    cases.push_back({1, g.in_channels, g.out_channels, 300 + index, 2, 64, 1, "causal", g.groups});
  }
  return cases;
}

// Sums of 13 to 47 products that cuda.wgmma takes: octets of channels, flat ones and folded neighbours, steps that are
// not full, in all ways that tiles lie, groups, phases of a stride, rows that share sectors.
inline std::vector<Conv1dCase> short_sum_cases() {
  return {{2, 16, 64, 1300, 1, 1, 1, 0},
          {1, 32, 129, 2405, 1, 1, 1, 0},
          {3, 41, 30, 517, 1, 1, 1, 0},
          {2, 1, 64, 2001, 16, 1, 1, 0},
          {1, 1, 72, 4403, 47, 1, 1, 23, 1, true, "reflect"},
          {2, 3, 33, 1103, 7, 2, 1, CasePadding(3, 5)},
          {1, 12, 128, 2406, 3, 1, 1, 1, 1, false},
          {2, 5, 19, 700, 9, 3, 1, 4, 1, true, "circular"},
          {2, 4, 70, 1501, 4, 100, 1, 200},
          {1, 16, 40, 3000, 2, 1, 4, "causal"},
          {70, 24, 12, 1041, 1, 1, 1, 0},
          {2, 64, 128, 601, 1, 1, 1, 0, 4},
          {1, 88, 200, 900, 2, 7, 3, 2, 4},
          {1, 2, 260, 2111, 10, 4, 1, 3},
          {1, 7, 45, 1999, 5, 1, 2, 2, 1, true, "replicate"},
          {2, 5, 70, 1203, 3, 1, 1, 1},
          {1, 13, 40, 900, 1, 1, 1, 0}};
}

// Channels of an odd number of octets, so that cuda.wgmma multiplies one tap's with another's: in all ways that tiles
// lie, at strides and dilations, with stages of some channels or taps, folded, and flat ones where channels are missing
// to a stage.
inline std::vector<Conv1dCase> paired_cases() {
  return {{2, 8, 70, 900, 3, 8, 1, 8},
          {1, 24, 40, 1501, 15, 1, 1, 7},
          {2, 17, 20, 1001, 9, 2, 3, 5, 1, false},
          {3, 40, 130, 700, 4, 3, 2, 3, 1, true, "reflect"},
          {1, 72, 64, 777, 5, 4, 1, CasePadding(2, 9)},
          {64, 8, 16, 1024, 3, 1, 1, 1},
          {70, 24, 14, 1100, 5, 1, 1, 4},
          {1, 24, 128, 2405, 3, 1, 1, 0},
          {1, 8, 256, 2406, 5, 1, 2, 0},
          {2, 40, 96, 600, 1, 1, 1, 0},
          {1, 80, 96, 500, 3, 1, 1, 1, 4},
          {1, 100, 130, 500, 3, 1, 1, 1},
          {1, 24, 64, 3001, 5, 400, 1, "causal"},
          {2, 3, 100, 900, 20, 1, 1, 5},
          {1, 17, 143, 483, 134, 1, 1, 0},
          {2, 12, 64, 901, 16, 1, 2, 7, 1, true, "circular"},
          {1, 3, 70, 5000, 64, 1, 16, 0},
          {1, 21, 40, 3003, 11, 1, 8, 4},
          {1, 79, 61, 2500, 5, 1, 4, 0},
          {1, 53, 31, 3000, 1, 1, 13, 0},
          {2, 11, 30, 1500, 9, 5, 6, 12, 1, true, "replicate"},
          {1, 40, 300, 801, 7, 1, 1, 3},
          {2, 5, 33, 1203, 15, 2, 1, 14}};
}

// So many tiles that cuda.wgmma does not halve them: of 64 or 32 outputs and 256 positions, whose rows begin anywhere
// in 16 bytes, with weights that stay and that follow, a stride, groups, folds and flat octets.
inline std::vector<Conv1dCase> wide_tile_cases() {
  std::vector<Conv1dCase> cases = {{24, 24, 64, 771, 3, 1, 1, 1},   {24, 20, 32, 771, 5, 2, 1, 3, 1, true, "reflect"},
                                   {36, 64, 40, 300, 11, 1, 1, 5},  {24, 16, 20, 1543, 3, 1, 2, 1, 1, false},
                                   {8, 64, 64, 777, 3, 1, 1, 1, 4}, {24, 16, 64, 1543, 4, 3, 2, 0},
                                   {24, 4, 40, 773, 15, 1, 1, 7},   {24, 2, 32, 773, 33, 1, 1, 0, 1, true, "circular"},
                                   {24, 3, 50, 1030, 19, 2, 1, 20}, {24, 96, 64, 771, 2, 5, 1, 0}};
  for (int64_t length = 2401; length < 2409; ++length) {
    cases.push_back({8, 16, 40 + length % 25, length, 3, 1, 1, 1});
    cases.push_back({8, 16, 17 + length % 16, length, 3, 1, 1, CasePadding(2, length % 3)});
  }
  return cases;
}

// The same of 256 channels, of one product: where weights follow and where they stay, some channels empty, in groups,
// with strides, far taps and folded.
inline std::vector<Conv1dCase> tall_tile_cases() {
  return {{24, 96, 256, 380, 3, 1, 1, 1},
          {36, 256, 256, 203, 1, 1, 1, 0},
          {18, 128, 384, 300, 2, 9, 1, 0},
          {36, 96, 200, 411, 3, 1, 2, 1, 1, false},
          {18, 64, 256, 3084, 16, 1, 8, 4},
          {12, 192, 512, 301, 3, 1, 1, 1, 2},
          {24, 64, 256, 280, 5, 60, 1, CasePadding(120, 119), 1, true, "reflect"},
          {18, 40, 256, 513, 7, 1, 1, 3}};
}

// What cuda.depthwise makes by windows: taps of every count modulo four, dilations that divide a warp and that do not,
// rows that end in and at a warp's piece, multipliers, all paddings.
inline std::vector<Conv1dCase> window_cases() {
  return {{3, 40, 40, 128 + 8, 9, 1, 1, 0, 40},
          {3, 40, 40, 127 + 9, 10, 1, 1, 0, 40},
          {2, 30, 30, 129, 11, 1, 1, 5, 30},
          {2, 30, 30, 800, 12, 1, 1, CasePadding(6, 5), 30, false},
          {1, 64, 64, 1000, 31, 1, 1, 15, 64},
          {2, 20, 60, 333, 33, 1, 1, 16, 20},
          {1, 12, 24, 700, 127, 1, 1, 63, 12, false, "reflect"},
          {1, 3, 3, 301, 300, 1, 1, 299, 3},
          {2, 16, 16, 259, 13, 2, 1, 12, 16},
          {2, 10, 20, 400, 8, 3, 1, 10, 10, true, "circular"},
          {1, 15, 15, 513, 17, 5, 1, "causal", 15},
          {1, 8, 8, 640, 9, 20, 1, 80, 8, true, "replicate"},
          {1, 6, 6, 1200, 14, 32, 1, 208, 6},
          {1, 4, 4, 64, 9, 1, 1, 4, 4, true, "circular"},  // a row that ends long before the warp's piece
          {40, 7, 7, 20, 15, 1, 1, 7, 7}};
}

// Strides at which cuda.direct gathers taps side by side, of both tiles that do: kernels and channels that fill no
// chunk, samples that end within a tile, parts of a sum, groups.
inline std::vector<Conv1dCase> tap_lanes_cases() {
  return {{12, 22, 22, 21393, 4, 33, 9, 0},
          {44, 15, 46, 4369, 10, 5, 16, 1},
          {35, 10, 35, 7062, 5, 33, 7, CasePadding(60, 9), 1, false, "reflect"},
          {8, 11, 56, 23785, 9, 1, 12, 3, 1, true, "circular"},
          {2, 60, 52, 8003, 11, 3, 9, 12},
          {4, 100, 24, 20000, 3, 1, 8, 1},
          {4, 100, 24, 20000, 2, 1, 8, 0},
          {9, 26, 60, 9001, 6, 2, 5, 4, 2, true, "replicate"},
          {9, 13, 37, 2101, 5, 3, 7, 4},
          {31, 9, 30, 777, 7, 2, 9, 5, 1, false, "circular"},
          {6, 25, 20, 3601, 9, 1, 11, 0},
          {3, 17, 5, 5294, 24, 2, 9, 0},
          {14, 21, 33, 1007, 3, 1, 6, 2, 1, true, "replicate"},
          {4, 30, 96, 4001, 5, 1, 6, 2, 2, true, "reflect"}};
}

// What cuda.few_channels takes: each of its kernels and ways to lay out rows, over several tiles, at odd alignments.
inline std::vector<Conv1dCase> few_cases() {
  std::vector<Conv1dCase> cases;
  for (const char* mode : {"zeros", "reflect", "replicate", "circular"}) {
    for (const int64_t length : {2204, 2205, 2206, 2207}) {
      cases.push_back({2, 1, 70, length, 10, 1, 5, 0, 1, true, mode});                // few inputs, past 64 outputs
      cases.push_back({1, 4, 9, length, 3, 200, 1, 200, 1, false, mode});             // and far taps
      cases.push_back({2, 32, 1, length, 7, 1, 1, 3, 1, true, mode});                 // few outputs, neighbouring taps
      cases.push_back({1, 6, 8, length, 3, 1, 1, CasePadding(2, 0), 2, true, mode});  // in groups
      cases.push_back({1, 16, 16, length, 3, 128, 1, "causal", 1, true, mode});       // far taps in a row
      cases.push_back({1, 5, 3, length, 2, 700, 1, CasePadding(1, 699), 1, true, mode});  // by tap: past a tile
      cases.push_back({1, 9, 5, length, 4, 3, 2, 5, 1, true, mode});                      // by tap: a stride
      cases.push_back({1, 7, 40, length, 6, 2, 1, 5, 1, true, mode});                     // more outputs than at once
      cases.push_back({2, 2, 140, length - 1800, 5, 1, 1, 2, 1, true, mode});             // every eighth output
      cases.push_back({20, 6, 3, 2 * length + length % 2, 5, 1, 1, 2, 3, true, mode});    // twelve positions a thread
    }
  }
  cases.push_back({2, 1, 530, 1211, 3, 1, 1, 1});     // every eighth output, in two sets
  cases.push_back({55, 2, 1, 4801, 20, 1, 1, 7});     // twelve positions a thread, taps in three pieces
  cases.push_back({1, 40, 7, 1500, 13, 1, 1, 6});     // taps in two pieces, channels in several stages
  cases.push_back({1, 1, 1, 9000, 5000, 1, 1, 0});    // more taps than a row holds
  cases.push_back({1, 20, 16, 4100, 3, 1023, 1, 0});  // the widest row
  cases.push_back({1, 2, 2, 9000, 5, 3, 1000, 700});
  return cases;
}

inline std::vector<Conv1dCase> padding_cases() {
  std::vector<Conv1dCase> cases;
  for (const char* mode : {"zeros", "reflect", "replicate", "circular"}) {
    for (const int64_t out : {1, 3, 8, 17, 40, 70, 130}) {
      const auto index = static_cast<int64_t>(cases.size());
      cases.push_back({2, 3, out, 50 + index, 5, 3, 1, "same", 1, true, mode});
      cases.push_back({1, 4, out, 41 + index, 4, 2, 1, "same", 1, true, mode});
      cases.push_back({2, 2, out, 37, 7, 1, 2, CasePadding(36, 1), 1, false, mode});
      cases.push_back({2, 2, out, 37, 3, 9, 4, "same_tf", 1, true, mode});
      cases.push_back({1, 3, out, 29, 6, 5, 1, "causal", 1, true, mode});
    }
  }
  // Padding longer than the signal; an empty signal.
  cases.push_back({1, 2, 20, 3, 5, 2, 1, 40});
  cases.push_back({1, 2, 3, 3, 5, 2, 1, 40, 1, true, "replicate"});
  cases.push_back({1, 2, 3, 0, 3, 1, 1, 2});
  return cases;
}

}  // namespace strand::testing
