// cuda.wgmma: Conv1d as an implicit matrix product by warpgroups (wgmma, sm_90a), at float32's accuracy.
//
// Problem      y[n, o, t] = bias[o] + sum over c, k of w[o, c, k] * x[n, c, t * stride + k * dilation - pad_left]
// Precision    as cuda.tensor: x and w are split into float16 pairs after scaling by powers of two (x per stage, w per
//              output channel); three products, in a stack four; summed by the tensor cores for up to four steps, in
//              long sums eight, then added to a float32 sum. A tile with an x that can't be scaled is computed by FMA
//              in float32. In tf32, float16 and bfloat16 the product of the high parts alone: 11 bits, as TF32 has.
// Blocks       512 threads, one block a multiprocessor, which walks over tiles: warps 0 to 7 are two warpgroups that
//              multiply and store, 8 to 14 convert, 15 starts copies. Rings of barriers are all that they share.
// Stages       see conv1d_wgmma.h. Raw rows come by a bulk copy each (from the 16-byte boundary before them, so any
//              length does); zeros beside them are written over by the converters, other padding by the copying warp.
//              They are converted once for all taps, over themselves (flat: behind them).
// Weights      stay in shared memory where they fit, else follow in chunks from the L2 cache.
// Output       through shared memory: 16, 8 or 4 bytes a lane, as the beginnings of all rows allow; a ConvTranspose1d's
//              phases are interleaved on the way.
// Beats        cuda.tensor: loads, conversion, products and stores overlap without a barrier that stops them all.

#include <algorithm>
#include <bit>
#include <cstring>

#include "engine/checked.h"
#include "engine/cuda_check.h"
#include "engine/cuda_runtime.h"
#include "layers/conv1d/conv1d_cuda.cuh"
#include "layers/conv1d/conv1d_wgmma.cuh"
#include "layers/conv1d/conv1d_wgmma.h"
#include "layers/conv1d/conv1d_wgmma_convert.cuh"
#include "layers/conv1d/conv1d_wgmma_load.cuh"
#include "layers/conv1d/conv1d_wgmma_store.cuh"

namespace strand::layers::wgmma {
namespace {

constexpr int kThreads = 512;

#ifdef STRAND_WGMMA

// Keeps the compiler from moving or copying sums that products under way write.
__device__ __forceinline__ void pin(float (&sum)[64]) {
#pragma unroll
  for (float& value : sum) asm volatile("" : "+f"(value)::"memory");
}

// Starts the products of some steps of a stage: into `part`, or onto what it holds if `Add`. `low`: rows from high
// octets to low ones. Straight code: the compiler waits after every product that it finds in a loop.
template <Layout BlockLayout, int Products, bool Add, int Steps>
__device__ __forceinline__ void start_steps(Operand w, Operand x, int low, uint32_t step_rows, float (&part)[64]) {
  constexpr int kPartRows = block_shape(BlockLayout).rows * 2;
  int high[Steps];
#pragma unroll
  for (int step = 0; step < Steps; ++step) high[step] = load_shared<int>(step_rows + step * 4);
  begin_products();
  // Small terms first, all of them: each product that is added rounds the sum that it finds.
  if constexpr (Products > 1) {
#pragma unroll
    for (int step = 0; step < Steps; ++step) {
      const int w_high = step * step_weight_rows(BlockLayout, Products);
      if constexpr (BlockLayout != Layout::kStack) {
        multiply(part, w + (w_high + kPartRows), x + high[step], Add || step > 0);
      }
      multiply(part, w + w_high, x + (high[step] + low), Add || step > 0 || BlockLayout != Layout::kStack);
    }
  }
#pragma unroll
  for (int step = 0; step < Steps; ++step) {
    const int w_high = step * step_weight_rows(BlockLayout, Products);
    multiply(part, w + w_high, x + high[step], Add || Products > 1 || step > 0);
  }
  commit_products();
}

template <Layout BlockLayout, int Products, bool Add>
__device__ __forceinline__ void start_chunk(int steps, Operand w, Operand x, int low, uint32_t step_rows,
                                            float (&part)[64]) {
  switch (steps) {
    case 1:
      return start_steps<BlockLayout, Products, Add, 1>(w, x, low, step_rows, part);
    case 2:
      return start_steps<BlockLayout, Products, Add, 2>(w, x, low, step_rows, part);
    case 3:
      return start_steps<BlockLayout, Products, Add, 3>(w, x, low, step_rows, part);
    default:
      return start_steps<BlockLayout, Products, Add, 4>(w, x, low, step_rows, part);
  }
}

// Where sums are long, two chunks are summed by the tensor cores, so that these have always work; where they are short,
// one, whose errors average out less.
template <Layout BlockLayout, bool Plain, int Products>
__device__ __forceinline__ void multiply_tiles(const Arguments& a, const Shared& s) {
  const Geometry& g = a.g;
  const int warpgroup = threadIdx.x / 128;
  // A warpgroup's half of the rows, or of the positions.
  const int weights_at = BlockLayout == Layout::kSplit ? warpgroup * 64 * 16 : 0;
  const int octets_at = g.raw_bytes + (BlockLayout == Layout::kSplit ? 0 : warpgroup * 128 * 16);
  const Operand w(s.weights(0) + weights_at, block_shape(BlockLayout).rows * 16);
  const Operand x(shared_address(s.slot(0)) + octets_at, g.octet_rows * 16);
  const int lane = __shfl_sync(~0U, static_cast<int>(threadIdx.x) % 32, static_cast<int>(threadIdx.x) % 32);
  const bool signals = lane == 0;
  // By way of shared memory: numbers that are arguments the compiler would load anew in each round, and wait.
  const auto number = [&](Number which) { return load_shared<int>(s.number(which)); };
  const bool resident = number(kResident) != 0;
  const int slots = number(kSlots);
  const int slot_rows = number(kSlotRows);
  const int low = number(kLowRows);
  const int chunk_steps = number(kChunkSteps);
  const int sum_steps = number(kSumSteps);
  const int steps = number(kSteps);
  const uint32_t step_rows = shared_address(s.step_rows());
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
    if (!resident && signals) arrive(s.weights_empty(slot));
  };
  // The second warpgroup starts some stages after the first, so that one multiplies while the other stores. Weights
  // that follow in chunks do not let it.
  int ahead = resident ? min(slots - 2, (number(kStages) + 1) / 2) : 0;
  if (ahead > 0 && warpgroup == 1) asm volatile("bar.sync 2, 256;" ::: "memory");
  for (int index = blockIdx.x; index < a.tiles; index += static_cast<int>(gridDim.x)) {
    const TileEnd<BlockLayout, Plain> end(a, index, lane);
    float least_unscale = a.exact_only ? 0.0F : 1.0F;
    float sum[64] = {};
    if (resident) weights = 0;
    for (int stage = 0; stage < number(kStages); ++stage) {
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
        start_chunk<BlockLayout, Products, false>(count, w.moved(weights), octets, low, step_rows + first * 4, part);
        weights += count * step_weight_rows(BlockLayout, Products);
        if (more > 0) {
          const int before = weight_slot.slot;
          weight_slot.advance(number(kWeightRing));
          await_weights();
          start_chunk<BlockLayout, Products, true>(more, w.moved(weights), octets, low, step_rows + (first + count) * 4,
                                                   part);
          weights += more * step_weight_rows(BlockLayout, Products);
          wait_products<1>();
          free_weights(before);
        }
        wait_products<0>();
        free_weights(weight_slot.slot);
        weight_slot.advance(number(kWeightRing));
        if (signals && first + sum_steps >= steps) arrive(empty + stage_slot.slot * 8);
        pin(part);
#pragma unroll
        for (int i = 0; i < 64; ++i) sum[i] = fmaf(part[i], unscale_x, sum[i]);
      }
      if (--ahead == 0 && warpgroup == 0) asm volatile("bar.arrive 2, 256;" ::: "memory");
      stage_slot.advance(slots);
    }
    if (least_unscale == 0) {
      compute_exactly<BlockLayout, Plain>(a, tile_at(a, index));
    } else {
      end.store(s, sum);
    }
  }
}

#endif

template <Layout BlockLayout, bool Plain, int Products>
__global__ void __launch_bounds__(kThreads, 1) wgmma_kernel(const __grid_constant__ Arguments a) {
#ifdef STRAND_WGMMA
  extern __shared__ __align__(128) uint8_t memory[];
  const Geometry& g = a.g;
  const Shared s(memory, g);
  if (threadIdx.x == 0) {
    for (int i = 0; i < kMaxSlots; ++i) {
      barrier_init(s.raw_full(i), 1);
      barrier_init(s.full(i), kConverterThreads / 32);
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
  const int tables = g.steps + (g.flat ? g.octets * 8 : 0);
  for (int i = threadIdx.x; i < tables; i += kThreads) s.step_rows()[i] = a.tables[i];
  fence_shared_writes();
  __syncthreads();
  if (threadIdx.x >= 256) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 88;");
    if (threadIdx.x / 32 == 15) {
      load(a, s);
    } else {
      convert<Products>(a, s);
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 168;");
    multiply_tiles<BlockLayout, Plain, Products>(a, s);
  }
#endif
}

using KernelFunction = void (*)(Arguments);

template <bool Plain>
KernelFunction kernel_for(const Geometry& g) {
  if (g.products == 1) {
    return g.layout == Layout::kSplit ? wgmma_kernel<Layout::kSplit, Plain, 1> : wgmma_kernel<Layout::kWide, Plain, 1>;
  }
  if (g.layout == Layout::kStack) return wgmma_kernel<Layout::kStack, Plain, 3>;
  return g.layout == Layout::kSplit ? wgmma_kernel<Layout::kSplit, Plain, 3> : wgmma_kernel<Layout::kWide, Plain, 3>;
}

int64_t channel_blocks(const Conv1dProblem& p, const Geometry& g) {
  return p.groups * ceil_div(p.group_out(), g.shape().channels);
}

int64_t tile_count(const Conv1dProblem& p, const Geometry& g, int64_t out_length) {
  return checked_mul(checked_mul(p.batch, channel_blocks(p, g)), ceil_div(out_length, g.shape().columns));
}

// What the kernel reads besides x, one after another in one buffer.
struct Tables {
  std::shared_ptr<const Buffer> buffer;
  int64_t unscale = 0;  // byte offsets
  int64_t tables = 0;
  bool exact_only = false;
};

Tables upload(const Conv1dProblem& p, const Geometry& g, const PrepareArgs& args) {
  const PackedWeights packed = pack_weights(p, g, args.weights.host("weight"));
  std::vector<int32_t> tables = step_rows(p, g);
  const std::vector<int32_t> elements = flat_elements(g);
  tables.insert(tables.end(), elements.begin(), elements.end());
  const auto bytes = [](const auto& values) {
    return round_up(static_cast<int64_t>(values.size() * sizeof(values[0])), 16);
  };
  Tables result;
  result.exact_only = packed.exact_only;
  result.unscale = bytes(packed.halves);
  result.tables = result.unscale + bytes(packed.unscale);
  // Everything that the layout depends on, and nothing else that changes with batch or length: the stride is 1 where
  // there is but one output.
  std::string key = "wgmma";
  for (const int part : {static_cast<int>(g.layout), g.products, p.epilogue.gated ? 1 : 0, g.flat ? 1 : 0, g.fold,
                         g.stage_channels, g.stage_taps, static_cast<int>(p.stride)}) {
    key += "." + std::to_string(part);
  }
  result.buffer = args.weights.pack(key, result.tables + bytes(tables), [&](std::byte* target) {
    const auto put = [&](int64_t offset, const auto& values) {
      std::memcpy(target + offset, values.data(), values.size() * sizeof(values[0]));
    };
    put(0, packed.halves);
    put(result.unscale, packed.unscale);
    put(result.tables, tables);
  });
  return result;
}

class WgmmaKernel final : public Kernel {
 public:
  WgmmaKernel(const Conv1dProblem& p, const Geometry& g, const PrepareArgs& args)
      : tables_(upload(p, g, args)),
        weights_(plain_weights(p, args)),
        kernel_(p.epilogue.none() ? kernel_for<true>(g) : kernel_for<false>(g)) {
    a_.p = p;
    a_.g = g;
    a_.out_length = args.outputs[0].shape[2];
    a_.group_in = static_cast<int>(p.group_in());
    a_.group_out = static_cast<int>(p.group_out());
    a_.tiles = static_cast<int>(tile_count(p, g, a_.out_length));
    const int64_t blocks = channel_blocks(p, g);
    a_.blocks_by = Divisor(blocks);
    a_.group_blocks_by = Divisor(blocks / p.groups);
    a_.position_tiles_by = Divisor(ceil_div(a_.out_length, g.shape().columns));
    a_.positions_by = Divisor(g.fold > 1 ? g.octet_rows : g.positions);
    a_.stride_by = Divisor(p.stride);
    a_.exact_only = tables_.exact_only;
    a_.stride_shift = std::countr_zero(static_cast<unsigned>(p.interleave.stride));
    a_.divisor_shift = std::countr_zero(static_cast<unsigned>(p.interleave.divisor));
    const std::byte* base = tables_.buffer->data();
    a_.packed = reinterpret_cast<const uint4*>(base);
    a_.unscale = reinterpret_cast<const float*>(base + tables_.unscale);
    a_.tables = reinterpret_cast<const int32_t*>(base + tables_.tables);
    a_.weight = weights_.data();
    cuda::set_device(args.device.index);
    const cuda::DeviceInfo info = cuda::device_info(args.device.index);
    // The most that any layer may ask for: the attribute belongs to the function, which layers share.
    cuda::check(cudaFuncSetAttribute(kernel_, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     static_cast<int>(info.shared_memory_per_block)),
                "conv1d cuda.wgmma");
    // Whole sets of blocks where each keeps its weights: one, if the device (a part of one, say) is smaller than that.
    const int64_t most =
        g.resident ? std::max<int64_t>(info.multiprocessors / blocks, 1) * blocks : info.multiprocessors;
    grid_ = static_cast<unsigned>(std::min<int64_t>(a_.tiles, most));
  }

  void run(const Context& context, const Bindings& bindings) const override {
    if (grid_ == 0) return;
    Arguments a = a_;
    a.x = bindings.inputs[0].ptr<const float>();
    a.store = weights_.store(bindings);
    a.y = bindings.outputs[0].ptr<float>();
    kernel_<<<grid_, kThreads, static_cast<size_t>(a.g.shared_bytes), cuda::stream(context)>>>(a);
    cuda::check_launch("conv1d cuda.wgmma");
  }

 private:
  Tables tables_;
  Conv1dWeights weights_;
  Arguments a_{};
  KernelFunction kernel_;
  unsigned grid_ = 0;
};

}  // namespace
}  // namespace strand::layers::wgmma

namespace strand::layers {

Implementation conv1d_wgmma(const Conv1dProblem& problem, const PrepareArgs& args) {
  constexpr int64_t kSharedMemory = 232448;  // of sm_90
  Implementation result{"cuda.wgmma", DeviceType::kCuda, conv1d_cuda_declines(problem, args, true), {}};
  if (args.device.is_cuda() && cuda::device_info(args.device.index).compute_capability != 90) {
    result.declined = "needs compute capability 9.0";
  }
#ifndef STRAND_HAVE_SM90A
  result.declined = "built without sm_90a";
#endif
  const bool exact = args.precision == Precision::kFloat32 || args.precision == Precision::kFloat64;
  const int products = exact ? 3 : 1;
  wgmma::Geometry geometry;
  if (result.declined.empty()) result.declined = wgmma::choose_geometry(problem, kSharedMemory, geometry, products);
  if (result.declined.empty()) {
    // Tile numbers run ahead by a grid: half of what an int holds is enough for both.
    if (wgmma::tile_count(problem, geometry, args.outputs[0].shape[2]) > INT32_MAX / 2) {
      result.declined = "more than 2^30 tiles";
    }
  }
  result.prepare = [problem, geometry, &args] { return std::make_unique<wgmma::WgmmaKernel>(problem, geometry, args); };
  return result;
}

}  // namespace strand::layers
