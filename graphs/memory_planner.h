#pragma once
// Places blocks of memory with known lifetimes in one arena, so that no two that live at the same time overlap.

#include <cstdint>
#include <span>

namespace strand::graphs {

struct MemoryBlock {
  int64_t bytes = 0;
  int first = 0;  // the steps during which it lives, both included
  int last = 0;
  int64_t offset = 0;  // the answer, a multiple of Buffer::kAlignment
};

// Fills in the offsets and returns the arena's bytes. Largest blocks first, each at the lowest place that is free
// during its whole life. Steps are numbered from 0.
int64_t plan_memory(std::span<MemoryBlock> blocks);

}  // namespace strand::graphs
