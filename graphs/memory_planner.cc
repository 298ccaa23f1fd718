#include "graphs/memory_planner.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "engine/buffer.h"
#include "engine/checked.h"

namespace strand::graphs {
namespace {

struct Range {
  int64_t begin;
  int64_t end;
};

// The lowest offset at which `bytes` fit between the taken ranges.
int64_t lowest_gap(std::vector<Range>& taken, int64_t bytes) {
  std::ranges::sort(taken, {}, &Range::begin);
  int64_t offset = 0;
  for (const Range& range : taken) {
    if (checked_add(offset, bytes) <= range.begin) break;
    offset = std::max(offset, range.end);
  }
  return offset;
}

}  // namespace

int64_t plan_memory(std::span<MemoryBlock> blocks) {
  int steps = 0;
  for (const MemoryBlock& block : blocks) steps = std::max(steps, block.last + 1);
  std::vector<size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return blocks[a].bytes > blocks[b].bytes; });

  std::vector<std::vector<size_t>> placed_at(static_cast<size_t>(steps));  // by step, the blocks placed so far
  std::vector<size_t> seen_by(blocks.size(), blocks.size());
  std::vector<Range> taken;
  int64_t arena = 0;
  for (const size_t index : order) {
    MemoryBlock& block = blocks[index];
    if (block.bytes == 0) continue;
    const int64_t bytes = checked_add(block.bytes, Buffer::kAlignment - 1) / Buffer::kAlignment * Buffer::kAlignment;
    taken.clear();
    for (int step = block.first; step <= block.last; ++step) {
      for (const size_t other : placed_at[static_cast<size_t>(step)]) {
        if (seen_by[other] == index) continue;
        seen_by[other] = index;
        taken.push_back(
            {blocks[other].offset, blocks[other].offset + round_up(blocks[other].bytes, Buffer::kAlignment)});
      }
    }
    block.offset = lowest_gap(taken, bytes);
    arena = std::max(arena, checked_add(block.offset, bytes));
    for (int step = block.first; step <= block.last; ++step) placed_at[static_cast<size_t>(step)].push_back(index);
  }
  return arena;
}

}  // namespace strand::graphs
