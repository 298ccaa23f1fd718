#pragma once
// The warps of cuda.wgmma that start copies, whenever a ring has room.

#include "engine/cuda_launch.h"
#include "layers/conv1d/conv1d_wgmma_load.cuh"

namespace strand::layers::wgmma {

#ifdef STRAND_WGMMA

// Walks over the stages of this block's tiles, whose raw rows are copied.
template <class X, Order WalkOrder>
struct RowsWalk {
  const Arguments& a;
  const Shared& s;
  Walk<WalkOrder> walk{a};
  Tile tile = walk.tile();
  int stage = 0;
  Cursor cursor{0, 1};

  __device__ bool done() const { return walk.done(); }
  __device__ bool has_room() const { return phase_done(s.empty(cursor.slot), cursor.parity); }
  // All lanes wait for room, for they may all copy.
  __device__ __forceinline__ void load() {
    wait(s.empty(cursor.slot), cursor.parity);
    load_rows<X>(a, s, tile, stage, cursor.slot);
    cursor.advance(a.g.slots);
    if (++stage < a.g.stages()) return;
    stage = walk.goes_on() ? stage - 1 : 0;
    walk.advance();
    tile = walk.tile();
  }
};

// Walks over the chunks of weights of this block's tiles, which follow from the L2 cache. One lane copies.
template <Order WalkOrder>
struct WeightsWalk {
  const Arguments& a;
  const Shared& s;
  Walk<WalkOrder> walk{a};
  int step_bytes = 0;       // of the tile
  uint64_t next = first();  // the address of the next chunk, which follow one another
  int stage = 0;
  int step = 0;
  Cursor cursor{0, 1};

  __device__ bool done() const { return walk.done(); }
  __device__ bool has_room() const { return phase_done(s.weights_empty(cursor.slot), cursor.parity); }
  __device__ void await_room() const { wait(s.weights_empty(cursor.slot), cursor.parity); }
  __device__ uint64_t first() {
    const Tile tile = walk.tile();
    step_bytes = step_weight_rows(packed_layout(a, tile), a.g.products) * 16;
    return reinterpret_cast<uint64_t>(a.packed) + int64_t{tile.block} * a.g.total_steps() * a.g.step_bytes();
  }
  __device__ __forceinline__ void load(int slot, int bytes) const {
    if (elected()) {
      arrive_expecting(s.weights_full(slot), bytes);
      bulk_load(s.weights(slot * a.g.weight_slot_bytes), next, bytes, s.weights_full(slot));
    }
    __syncwarp();
  }
  // All weights of the block, which stay.
  __device__ __forceinline__ void load_resident() const { load(0, a.g.total_steps() * step_bytes); }
  // A chunk, for which there is room.
  __device__ __forceinline__ void load() {
    const int steps = min(a.g.chunk_steps, a.g.steps - step);
    load(cursor.slot, steps * step_bytes);
    next += steps * step_bytes;
    cursor.advance(a.g.weight_slots);
    step += steps;
    if (step < a.g.steps) return;
    step = 0;
    if (++stage < a.g.stages()) return;
    stage = 0;
    walk.advance();
    next = first();
  }
};

// One warp: starts copies of raw rows and, if they do not stay, of weights, whichever ring has room; after those of a
// stage's rows up to a stage's weights.
template <class X, Order WalkOrder>
__device__ __forceinline__ void load_both(const Arguments& a, const Shared& s) {
  const auto agreed = [](bool room) { return __shfl_sync(~0U, static_cast<int>(room), 0) != 0; };
  const bool follow = !a.g.resident;
  const int chunks = (a.g.steps + a.g.chunk_steps - 1) / a.g.chunk_steps;  // of weights, a stage
  RowsWalk<X, WalkOrder> rows{a, s};
  WeightsWalk<WalkOrder> weights{a, s};
  if (!follow) weights.load_resident();
  cuda::await_kernels_before();  // for x
  while (!rows.done() || (follow && !weights.done())) {
    if (!rows.done() && (!follow || agreed(rows.has_room()))) rows.load();
    for (int i = 0; i < chunks && follow && !weights.done() && agreed(weights.has_room()); ++i) weights.load();
  }
}

// Or a warp each.
template <class X, Order WalkOrder>
__device__ __forceinline__ void load_all_rows(const Arguments& a, const Shared& s) {
  RowsWalk<X, WalkOrder> rows{a, s};
  cuda::await_kernels_before();  // for x
  while (!rows.done()) rows.load();
}
template <Order WalkOrder>
__device__ __forceinline__ void load_all_weights(const Arguments& a, const Shared& s) {
  WeightsWalk<WalkOrder> weights{a, s};
  while (!weights.done()) {
    weights.await_room();
    weights.load();
  }
}

template <class X, int Products, Order WalkOrder>
__device__ __forceinline__ void load_values(const Arguments& a, const Shared& s) {
  if (Products > 1 || a.g.converter_warps == kMostConverters) return load_both<X, WalkOrder>(a, s);
  if (threadIdx.x / 32 == kBlockThreads / 32 - 1) return load_all_weights<WalkOrder>(a, s);
  load_all_rows<X, WalkOrder>(a, s);
}

template <int Products, bool Halves, Order WalkOrder>
__device__ __forceinline__ void load(const Arguments& a, const Shared& s) {
  if (Halves && a.x_type != DType::kFloat32) return load_values<uint16_t, Products, WalkOrder>(a, s);
  load_values<float, Products, WalkOrder>(a, s);
}

#endif

}  // namespace strand::layers::wgmma
