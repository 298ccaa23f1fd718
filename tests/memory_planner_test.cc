#include "graphs/memory_planner.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "engine/buffer.h"
#include "engine/checked.h"

namespace strand::graphs {
namespace {

bool live_together(const MemoryBlock& a, const MemoryBlock& b) { return a.first <= b.last && b.first <= a.last; }

bool overlap(const MemoryBlock& a, const MemoryBlock& b) {
  return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

// The most bytes that live in any one step: no arena can be smaller.
int64_t lower_bound(const std::vector<MemoryBlock>& blocks, int steps) {
  int64_t most = 0;
  for (int step = 0; step < steps; ++step) {
    int64_t bytes = 0;
    for (const MemoryBlock& block : blocks) {
      if (block.first <= step && step <= block.last) bytes += round_up(block.bytes, Buffer::kAlignment);
    }
    most = std::max(most, bytes);
  }
  return most;
}

TEST_CASE("no two blocks that live at the same time overlap, whatever the lifetimes") {
  const unsigned seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 200; ++round) {
    const int steps = 1 + static_cast<int>(random() % 40);
    std::vector<MemoryBlock> blocks(random() % 60);
    for (MemoryBlock& block : blocks) {
      block.bytes = static_cast<int64_t>(random() % 5000);
      block.first = static_cast<int>(random() % static_cast<unsigned>(steps));
      block.last = block.first + static_cast<int>(random() % static_cast<unsigned>(steps - block.first));
    }
    const int64_t arena = plan_memory(blocks);
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (blocks[i].bytes == 0) continue;
      REQUIRE(blocks[i].offset % Buffer::kAlignment == 0);
      REQUIRE(blocks[i].offset + blocks[i].bytes <= arena);
      for (size_t j = 0; j < i; ++j) {
        const bool clash = live_together(blocks[i], blocks[j]) && overlap(blocks[i], blocks[j]);
        REQUIRE_FALSE(clash);
      }
    }
    REQUIRE(arena >= lower_bound(blocks, steps));
  }
}

TEST_CASE("a chain needs its two largest neighbours, however long it is") {
  std::vector<MemoryBlock> blocks(20000);
  for (int i = 0; i < static_cast<int>(blocks.size()); ++i)
    blocks[static_cast<size_t>(i)] = {1024 + i % 7 * 256, i, i + 1};
  CHECK(plan_memory(blocks) == lower_bound({blocks.begin(), blocks.begin() + 20}, 20));
}

TEST_CASE("a skip connection keeps its memory until it is used") {
  std::vector<MemoryBlock> blocks = {{4096, 0, 5}, {4096, 0, 1}, {4096, 1, 2}, {4096, 2, 3}, {4096, 3, 4}};
  CHECK(plan_memory(blocks) == 3 * 4096);
}

TEST_CASE("sizes past 64 bits are an error, not a wrap") {
  std::vector<MemoryBlock> blocks = {{INT64_MAX - 10, 0, 1}, {INT64_MAX - 10, 1, 2}};
  CHECK_THROWS_AS(plan_memory(blocks), Error);
}

}  // namespace
}  // namespace strand::graphs
