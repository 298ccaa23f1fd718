#pragma once
// The kernel of cuda.wgmma, see conv1d_wgmma.cu. Four .cu files compile it, so that it takes a quarter of the time.

#include "layers/conv1d/conv1d_wgmma_convert.cuh"
#include "layers/conv1d/conv1d_wgmma_high.cuh"
#include "layers/conv1d/conv1d_wgmma_loaders.cuh"
#include "layers/conv1d/conv1d_wgmma_store.cuh"

namespace strand::layers::wgmma {

#ifdef STRAND_WGMMA

// Starts the products of some steps of a stage: into `part`, or onto what it holds if `Add`. `low`: rows from high
// octets to low ones; `step_row`: a step a lane, rows to its high octets. Straight code: the compiler waits after every
// product that it finds in a loop. Shuffles tell it what all lanes share, so that it is counted on with once a warp.
template <Layout BlockLayout, bool Add, int Steps>
__device__ __forceinline__ void start_steps(Operand w, Operand x, int low, int step_row, float (&part)[64]) {
  constexpr int kChannels = block_shape(BlockLayout).channels;
  constexpr int kStepRows = step_weight_rows(BlockLayout, 3);
  int high[Steps];
#pragma unroll
  for (int step = 0; step < Steps; ++step) high[step] = __shfl_sync(~0U, step_row, step);
  w.low = __shfl_sync(~0U, w.low, 0);
  x.low = __shfl_sync(~0U, x.low, 0);
  begin_products();
  // Small terms first, all of them: each product that is added rounds the sum that it finds.
  if constexpr (BlockLayout == Layout::kTurned) {
#pragma unroll
    for (int i = 0; i < 2 * Steps; ++i) {
      const int row = high[i % Steps] + (i < Steps ? low : 0);
      multiply_turned<2 * kChannels>(part, x.moved(row), w + i % Steps * kStepRows, Add || i > 0);
    }
  } else {
#pragma unroll
    for (int step = 0; step < Steps; ++step) {
      const int w_high = step * kStepRows;
      if constexpr (BlockLayout != Layout::kStack) {
        multiply(part, w + (w_high + 2 * kChannels), x + high[step], Add || step > 0);
      }
      multiply(part, w + w_high, x + (high[step] + low), Add || step > 0 || BlockLayout != Layout::kStack);
    }
#pragma unroll
    for (int step = 0; step < Steps; ++step) multiply(part, w + step * kStepRows, x + high[step], true);
  }
  commit_products();
}

template <Layout BlockLayout, bool Add>
__device__ __forceinline__ void start_chunk(int steps, Operand w, Operand x, int low, int step_row, float (&part)[64]) {
  if (steps > 2) {
    if (steps == 3) return start_steps<BlockLayout, Add, 3>(w, x, low, step_row, part);
    return start_steps<BlockLayout, Add, 4>(w, x, low, step_row, part);
  }
  if (steps == 2) return start_steps<BlockLayout, Add, 2>(w, x, low, step_row, part);
  start_steps<BlockLayout, Add, 1>(w, x, low, step_row, part);
}

// Adds what the tensor cores have summed.
template <Layout BlockLayout, int Count>
__device__ __forceinline__ void add_part(const float (&part)[64], float unscale, float (&sum)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    if constexpr (BlockLayout == Layout::kTurned) {  // of high weights and, eight numbers on, of low ones
      const int at = i / 8 * 16 + i % 8;
      sum[i] = fmaf(part[at] + part[at + 8], unscale, sum[i]);
    } else {
      sum[i] = fmaf(part[i], unscale, sum[i]);
    }
  }
}

// Three products. Where sums are long, two chunks are summed by the tensor cores, so that these have always work; where
// they are short, one, whose errors average out less.
template <Layout BlockLayout, bool Plain>
__device__ __forceinline__ void multiply_tiles(const Arguments& a, const Shared& s) {
  const Geometry& g = a.g;
  const int warpgroup = threadIdx.x / 128;
  // A warpgroup's half of the rows, or of the positions.
  const int weights_at = is_split(BlockLayout) ? warpgroup * 64 * 16 : 0;
  const int octets_at =
      g.raw_bytes + (is_split(BlockLayout) ? 0 : warpgroup * parts_of(BlockLayout) * g.stored_columns * 16);
  const Operand w(s.weights(0) + weights_at, octet_weight_rows(BlockLayout, 3) * 16);
  const Operand x(shared_address(s.slot(0)) + octets_at, 0);  // see step_rows
  const int lane = __shfl_sync(~0U, static_cast<int>(threadIdx.x) % 32, static_cast<int>(threadIdx.x) % 32);
  const bool signals = lane == 0;
  // By way of shared memory: numbers that are arguments the compiler would load anew in each round, and wait.
  const auto number = [&](Number which) { return load_shared<int>(s.number(which)); };
  const bool resident = number(kResident) != 0;
  const int stages = number(kStages);
  const int slots = number(kSlots);
  const int slot_rows = number(kSlotRows);
  const int low = number(kLowRows);
  const int chunk_steps = number(kChunkSteps);
  const int sum_steps = number(kSumSteps);
  const int steps = number(kSteps);
  const uint32_t my_step = shared_address(s.step_rows()) + lane % kMaxChunkSteps * 4;
  const uint32_t unscales = shared_address(&s.unscale(0));
  const uint32_t full = s.full(0);
  const uint32_t empty = s.empty(0);
  Cursor stage_slot;
  Cursor weight_slot;
  if (resident) wait(s.weights_full(0), 0);
  int weights = 0;  // rows to those of the next step
  const auto await_weights = [&] {
    if (resident) return;
    wait(s.weights_full(weight_slot.slot), weight_slot.parity);
    weights = weight_slot.slot * number(kWeightRows);
  };
  const auto free_weights = [&](int slot) {
    if (signals) arrive(s.weights_empty(slot));
  };
  // The second warpgroup starts some stages after the first, so that one multiplies while the other stores. Weights
  // that follow in chunks do not let it.
  int ahead = resident ? min(slots - 2, (stages + 1) / 2) : 0;
  if (ahead > 0 && warpgroup == 1) asm volatile("bar.sync 2, 256;" ::: "memory");
  TileEnd<BlockLayout, Plain, false> end(a, s, lane);
  cuda::await_kernels_before();  // for y and the residual
  for (Walk<order_of(BlockLayout)> walk(a); !walk.done(); walk.advance()) {
    end.begin(walk);
    const bool goes_on = walk.goes_on();
    float least_unscale = a.exact_only ? 0.0F : 1.0F;
    float sum[BlockLayout == Layout::kTurned ? 32 : 64] = {};
    if (resident) weights = 0;
    for (int stage = 0; stage < stages; ++stage) {
      int step_row = load_shared<int>(my_step);
      wait(full + stage_slot.slot * 8, stage_slot.parity);
      const float unscale_x = load_shared<float>(unscales + stage_slot.slot * 4);
      least_unscale = fminf(least_unscale, unscale_x);
      const Operand octets = x.moved(stage_slot.slot * slot_rows);
      for (int first = 0; first < steps; first += sum_steps) {
        const int count = min(chunk_steps, steps - first);
        const int more = min(sum_steps, steps - first) - count;
        float part[64];
        pin(part);
        await_weights();
        start_chunk<BlockLayout, false>(count, w.moved(weights), octets, low, step_row, part);
        weights += count * step_weight_rows(BlockLayout, 3);
        if (more > 0) {
          const int before = weight_slot.slot;
          if (!resident) weight_slot.advance(number(kWeightRing));
          await_weights();
          step_row = load_shared<int>(my_step + (first + count) * 4);
          start_chunk<BlockLayout, true>(more, w.moved(weights), octets, low, step_row, part);
          weights += more * step_weight_rows(BlockLayout, 3);
          if (!resident) {
            wait_products<1>();
            free_weights(before);
          }
        }
        step_row = load_shared<int>(my_step + (first + sum_steps) * 4);
        wait_products<0>();
        if (!resident) {
          free_weights(weight_slot.slot);
          weight_slot.advance(number(kWeightRing));
        }
        if (first + sum_steps >= steps) {
          __syncwarp();  // after what all lanes have read of the stage
          if (signals && (stage == 0 || !goes_on)) arrive(empty + stage_slot.slot * 8);
        }
        pin(part);
        add_part<BlockLayout>(part, unscale_x, sum);
      }
      if (--ahead == 0 && warpgroup == 0) asm volatile("bar.arrive 2, 256;" ::: "memory");
      stage_slot.advance(slots);
    }
    if (goes_on) stage_slot.go_back(slots, stages - 1);
    if (least_unscale == 0) {
      end.skip();
      call_compute_exactly<BlockLayout, Plain, false>(a, walk.tile());
    } else {
      end.store(sum);
    }
  }
  if (elected()) await_stores_read<0>();
}

#endif

// That a thread has which multiplies; the others have what is left of 256.
constexpr int registers(Layout layout) {
  if (layout == Layout::kTall) return 192;
  return layout == Layout::kTurned ? 152 : 168;
}

// `Halves`: x, y and the residual may be stored as such.
template <Layout BlockLayout, bool Plain, int Products, bool Halves>
__global__ void __launch_bounds__(kBlockThreads, 1) wgmma_kernel(const __grid_constant__ Arguments a) {
#ifdef STRAND_WGMMA
  extern __shared__ __align__(kStagingAlignment) uint8_t memory[];
  constexpr int kMultiplying = registers(BlockLayout);
  const Geometry& g = a.g;
  const Shared s(memory, g);
  cuda::let_next_begin();
  if (threadIdx.x == 0) {
    for (int i = 0; i < kMaxSlots; ++i) {
      barrier_init(s.raw_full(i), 1);
      barrier_init(s.full(i), g.converter_warps);
      barrier_init(s.empty(i), 8);
    }
    for (int i = 0; i < kWeightSlots; ++i) {
      barrier_init(s.weights_full(i), 1);
      barrier_init(s.weights_empty(i), 8);
    }
    const int numbers[] = {g.resident ? 1 : 0, g.stages(),    g.slots, g.slot_bytes / 16,
                           g.part_bytes / 16,  g.chunk_steps, g.steps, g.weight_slot_bytes / 16,
                           g.sum_steps(),      g.weight_slots};
    for (int i = 0; i < kNumbers; ++i) s.numbers()[i] = numbers[i];
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  const int elements = g.elements();
  for (int i = threadIdx.x; i < elements; i += kBlockThreads) s.elements()[i] = flat_offset(a, a.tables[i]);
  for (int i = threadIdx.x; i < g.steps; i += kBlockThreads) s.step_rows()[i] = a.tables[elements + i];
  fence_shared_writes();
  __syncthreads();
  if (threadIdx.x >= 256) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(256 - kMultiplying));
    if (static_cast<int>(threadIdx.x) / 32 >= 8 + g.converter_warps) {
      load<Products, Halves, order_of(BlockLayout)>(a, s);
    } else {
      convert<BlockLayout, Products, Halves>(a, s);
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kMultiplying));
    if constexpr (Products == 1) {
      multiply_high_tiles<BlockLayout, Plain, Halves>(a, s);
    } else {
      multiply_tiles<BlockLayout, Plain>(a, s);
    }
  }
#endif
}

using KernelFunction = void (*)(Arguments);

template <bool Plain, int Products, bool Halves>
KernelFunction kernel_of(Layout layout) {
  if constexpr (Products > 1) {
    if (layout == Layout::kSlide) return wgmma_kernel<Layout::kSlide, Plain, Products, Halves>;
  } else {
    if (layout == Layout::kTall) return wgmma_kernel<Layout::kTall, Plain, Products, Halves>;
  }
  if constexpr (!Halves) {  // which are not carried
    if (layout == Layout::kCarry) return wgmma_kernel<Layout::kCarry, Plain, Products, Halves>;
  }
  if (layout == Layout::kTurned) return wgmma_kernel<Layout::kTurned, Plain, Products, Halves>;
  if (layout == Layout::kStack) return wgmma_kernel<Layout::kStack, Plain, Products, Halves>;
  return layout == Layout::kSplit ? wgmma_kernel<Layout::kSplit, Plain, Products, Halves>
                                  : wgmma_kernel<Layout::kWide, Plain, Products, Halves>;
}

// At float32's accuracy, with an epilogue.
KernelFunction fused_kernel(Layout layout);
// Of one product, with an epilogue or without; of float32 values, or where some are halves.
KernelFunction single_kernel(Layout layout, bool plain);
KernelFunction halves_kernel(Layout layout, bool plain);

}  // namespace strand::layers::wgmma
