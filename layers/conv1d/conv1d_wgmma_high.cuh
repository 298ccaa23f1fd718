#pragma once
// The warpgroups of cuda.wgmma that multiply where one product is asked for, of the high parts alone.

#include <type_traits>

#include "engine/cuda_launch.h"
#include "layers/conv1d/conv1d_wgmma_store.cuh"

namespace strand::layers::wgmma {

#ifdef STRAND_WGMMA

// Keeps the compiler from moving or copying sums that products under way write.
template <int Count>
__device__ __forceinline__ void pin(float (&sum)[Count]) {
#pragma unroll
  for (float& value : sum) asm volatile("" : "+f"(value)::"memory");
}

// Products of the 64 positions that each fourth of `sums` is of.
template <int Columns, int Count>
__device__ __forceinline__ void multiply_turned(float (&sums)[Count], Operand x, uint64_t w, bool add) {
#pragma unroll
  for (int i = 0; i < 4; ++i) multiply<Columns>(sums + i * Count / 4, x + i * 64, w, add);
}

// A thread's sums. Arrays of their own, and not one of two, which would not stay in registers.
template <Layout BlockLayout, int MostSteps>
struct HighSums {
  static constexpr bool kTall = BlockLayout == Layout::kTall;
  static constexpr bool kTurned = BlockLayout == Layout::kTurned;
  static constexpr int kSums = kTurned ? 32 : 64;
  float first[kSums];
  float second[64];  // of a tall tile's second half

  __device__ __forceinline__ void await() {
    wait_products<0>();
    pin_all();
  }
  __device__ __forceinline__ void pin_all() {
    pin(first);
    if constexpr (kTall) pin(second);
  }
  __device__ __forceinline__ void operator*=(float factor) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
      first[i] *= factor;
      if constexpr (kTall) second[i] *= factor;
    }
  }
  __device__ __forceinline__ void take_second() {
#pragma unroll
    for (int i = 0; i < 64; ++i) first[i] = second[i];
  }
  // Starts the products of a chunk; `add`: onto what there is. `step_row`: a step a lane, rows to its octets. `Both`:
  // of a tall tile's halves, or what is packed as its first one alone.
  template <int Steps, bool Both>
  __device__ __forceinline__ void start(Operand w, Operand x, int step_row, bool add) {
    constexpr int kHalfRows = Part<BlockLayout>::kShape.channels;  // of weights, of a tall tile's half
    constexpr int kStepRows = step_weight_rows(Both ? BlockLayout : Layout::kSplit, 1);
    int high[Steps];
#pragma unroll
    for (int step = 0; step < Steps; ++step) high[step] = __shfl_sync(~0U, step_row, step);
    w.low = __shfl_sync(~0U, w.low, 0);
    x.low = __shfl_sync(~0U, x.low, 0);
    begin_products();
#pragma unroll
    for (int step = 0; step < Steps; ++step) {
      const int w_high = step * kStepRows;
      if constexpr (kTurned) {
        multiply_turned<block_shape(BlockLayout).channels>(first, x.moved(high[step]), w + w_high, add || step > 0);
      } else {
        multiply(first, w + w_high, x + high[step], add || step > 0);
      }
      if constexpr (kTall && Both) multiply(second, w + (w_high + kHalfRows), x + high[step], add || step > 0);
    }
    commit_products();
  }
  template <bool Both>
  __device__ __forceinline__ void start(int steps, Operand w, Operand x, int step_row, bool add) {
    if constexpr (MostSteps > 4) {
      if (steps > 4) {
        if (steps == 8) return start<8, Both>(w, x, step_row, add);
        if (steps == 7) return start<7, Both>(w, x, step_row, add);
        if (steps == 6) return start<6, Both>(w, x, step_row, add);
        return start<5, Both>(w, x, step_row, add);
      }
    }
    if constexpr (MostSteps > 2) {
      if (steps == 4) return start<4, Both>(w, x, step_row, add);
      if (steps == 3) return start<3, Both>(w, x, step_row, add);
    }
    if (steps == 2) return start<2, Both>(w, x, step_row, add);
    start<1, Both>(w, x, step_row, add);
  }
};

// Sums of a single product, whose own error is far above what tensor cores lose by rounding towards zero: they keep
// them for a whole tile, and a chunk's products begin before those of the one before it have ended.
template <Layout BlockLayout, bool Plain, bool Halves>
__device__ __forceinline__ void multiply_high_tiles(const Arguments& a, const Shared& s) {
  constexpr int kHalves = Part<BlockLayout>::kHalves;
  const Geometry& g = a.g;
  const int warpgroup = threadIdx.x / 128;
  // A warpgroup's half of the rows, or of the positions.
  const int weights_at = is_split(BlockLayout) ? warpgroup * 64 * 16 : 0;
  const int octets_at =
      g.raw_bytes + (is_split(BlockLayout) ? 0 : warpgroup * parts_of(BlockLayout) * g.stored_columns * 16);
  const Operand x(shared_address(s.slot(0)) + octets_at, 0);  // see step_rows
  const int lane = __shfl_sync(~0U, static_cast<int>(threadIdx.x) % 32, static_cast<int>(threadIdx.x) % 32);
  const auto number = [&](Number which) { return load_shared<int>(s.number(which)); };
  const bool resident = number(kResident) != 0;
  const int stages = number(kStages);
  const int slots = number(kSlots);
  const int slot_rows = number(kSlotRows);
  const int chunk_steps = number(kChunkSteps);
  const int steps = number(kSteps);
  const int weight_ring = number(kWeightRing);
  const uint32_t my_step = shared_address(s.step_rows()) + lane % kMaxChunkSteps * 4;
  const uint32_t unscales = shared_address(&s.unscale(0));
  const uint32_t full = s.full(0);
  const uint32_t empty = s.empty(0);
  Cursor stage_slot;
  Cursor weight_slot;
  if (resident) wait(s.weights_full(0), 0);
  // The second warpgroup starts some stages after the first, as where there are three products, but in tall tiles.
  int ahead = resident && kHalves == 1 ? min(slots - 2, (stages + 1) / 2) : 0;
  if (kHalves == 1 && warpgroup == 1) {
    if (ahead > 0) asm volatile("bar.sync 2, 256;" ::: "memory");
    ahead = 0;
  }
  TileEnd<BlockLayout, Plain, Halves> end(a, s, lane);
  cuda::await_kernels_before();  // for y and the residual
  const auto before = [](int slot, int ring) { return (slot > 0 ? slot : ring) - 1; };
  for (Walk<order_of(BlockLayout)> walk(a); !walk.done(); walk.advance()) {
    if constexpr (kHalves == 1) end.begin(walk);
    float unscale = 0;
    HighSums<BlockLayout, most_chunk_steps(BlockLayout, 1, Halves ? 2 : 4, true)> sums;
    sums.pin_all();
    // Whether a tall tile's halves both have channels. Found twice: kept, it would take a register that is not there.
    const auto has_both = [&] { return packed_layout(a, walk.tile()) == Layout::kTall; };
    const auto sum_stages = [&](auto of_both) {
      constexpr bool kBoth = decltype(of_both)::value;
      constexpr int kOctetRows = octet_weight_rows(kBoth ? BlockLayout : Layout::kSplit, 1);
      const Operand w(s.weights(0) + weights_at, kOctetRows * 16);
      int weights = 0;  // rows to those of the next step
      for (int stage = 0; stage < stages; ++stage) {
        wait(full + stage_slot.slot * 8, stage_slot.parity);
        const float unscale_x = load_shared<float>(unscales + stage_slot.slot * 4);
        if (unscale_x != unscale) {
          if (stage > 0) {
            sums.await();
            sums *= unscale * __uint_as_float((254U << 23) - __float_as_uint(unscale_x));
          }
          unscale = unscale_x;
        }
        const Operand octets = x.moved(stage_slot.slot * slot_rows);
#pragma unroll 1
        for (int first = 0; first < steps; first += chunk_steps) {
          const int count = min(chunk_steps, steps - first);
          const int step_row = load_shared<int>(my_step + first * 4);
          if (!resident) weights = weight_slot.slot * chunk_steps * step_weight_rows(BlockLayout, 1);
          if (!resident) wait(s.weights_full(weight_slot.slot), weight_slot.parity);
          const bool add = stage + first > 0;
          sums.template start<kBoth>(count, w.moved(weights), octets, step_row, add);
          weights += count * step_weight_rows(kBoth ? BlockLayout : Layout::kSplit, 1);
          wait_products<1>();
          if (add && elected()) {
            if (!resident) arrive(s.weights_empty(before(weight_slot.slot, weight_ring)));
            if (first == 0) arrive(empty + before(stage_slot.slot, slots) * 8);
          }
          if (!resident) weight_slot.advance(weight_ring);
        }
        __syncwarp();  // after what all lanes have read of the stage
        if (kHalves == 1 && --ahead == 0) asm volatile("bar.arrive 2, 256;" ::: "memory");
        stage_slot.advance(slots);
      }
    };
    if constexpr (kHalves == 1) {
      sum_stages(std::true_type());
    } else if (has_both()) {
      sum_stages(std::true_type());
    } else {
      sum_stages(std::false_type());
    }
    sums.await();
    if (elected()) {
      if (!resident) arrive(s.weights_empty(before(weight_slot.slot, weight_ring)));
      arrive(empty + before(stage_slot.slot, slots) * 8);
    }
    if (unscale == 0) {
      if constexpr (kHalves == 1) end.skip();
      const Tile tile = walk.tile();
#pragma unroll
      for (int i = 0; i < kHalves; ++i) {
        if (i > 0 && !has_both()) break;
        compute_exactly<BlockLayout, Plain, Halves>(a, Part<BlockLayout>::half_of(tile, i));
      }
    } else {
      sums *= unscale;
      if constexpr (kHalves == 1) {
        end.store(sums.first);
      } else {
#pragma unroll 1
        for (int half = 0; half < (has_both() ? kHalves : 1); ++half) {
          TileEnd<BlockLayout, Plain, Halves> end(a, s, lane);
          end.begin(walk, half);
          end.store(sums.first);
          sums.take_second();
        }
      }
    }
  }
  if (elected()) await_stores_read<0>();
}

#endif

}  // namespace strand::layers::wgmma
