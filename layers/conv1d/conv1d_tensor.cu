// cuda.tensor: Conv1d as an implicit matrix product on tensor cores (mma.sync, sm_80 and later), at float32's accuracy.
//
// Problem      y[n, o, t] = bias[o] + sum over c, k of w[o, c, k] * x[n, c, t * stride + k * dilation - pad_left]
// Precision    x and w are split into float16 pairs after scaling by powers of two (x: per stage, from its largest
//              magnitude; w: per output channel, when packed). Three products (low * high, high * low, high * high) are
//              summed by the tensor cores for a few steps, then added to a float32 sum. What is lost a product
//              is below 2^-22 of it plus 2^-38 of the largest weight of o times the largest x of the stage.
//              A tile with an x that is not finite, or is too far from 1 to scale, is computed by FMA in float32.
// Blocks       compute rows() output channels x columns() positions of one group and batch element (a tile)
//              and then the next tile: the grid is persistent. Warps split the tile; each keeps its sums in registers.
// Stages       see conv1d_tensor.h. Raw input goes to a ring in shared memory by cp.async, stages ahead, across tiles;
//              each stage is converted once for all its taps, in between barriers, and read by ldmatrix at 16 bytes a
//              position, so a tap is a shift by whole rows and any dilation is free of bank conflicts.
// Weights      packed in the order of mma's registers: a lane reads its 16 bytes, from shared memory where they fit.
// Output       through shared memory, a warp at a time, so that rows are stored contiguously.
// Beats        cuda.direct where the reduction is long: tensor cores do three products faster than FFMA does one.

#include <algorithm>
#include <cstring>

#include "engine/cuda_check.h"
#include "engine/cuda_runtime.h"
#include "layers/conv1d/conv1d_cuda.cuh"
#include "layers/conv1d/conv1d_tensor.cuh"
#include "layers/conv1d/conv1d_tensor.h"
#include "layers/conv1d/conv1d_tensor_stage.cuh"
#include "layers/conv1d/conv1d_tensor_store.cuh"

namespace strand::layers::tensor {
namespace {

constexpr int kMaxScaleExponent = 90;

// All steps of one converted stage: products into `sum`, in units of the true x.
template <int BlockShapeIndex>
__device__ __forceinline__ void multiply_stage(
    const Geometry& g, const Shared& s, const uint4* weights, float unscale_x,
    float (&sum)[kBlockShapes[BlockShapeIndex].m_tiles][kBlockShapes[BlockShapeIndex].n_tiles][4]) {
  constexpr BlockShape kShape = kBlockShapes[BlockShapeIndex];
  constexpr int kMTiles = kShape.m_tiles;
  constexpr int kNTiles = kShape.n_tiles;
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  // This lane's row of the four 8 x 8 matrices that one ldmatrix brings: two octets of two column tiles.
  const int row = warp % kShape.n_warps * kNTiles * 8 + lane / 16 * 8 + lane % 8;
  const uint32_t mine = static_cast<uint32_t>((lane / 8 % 2 * g.rows + row) * 16);
  const uint32_t high = shared_address(s.high()) + mine;
  const uint32_t low = shared_address(s.low()) + mine;
  const int32_t* offsets = s.offsets();
  const int tile_stride = g.total_steps() * 2 * 32;
  for (int first = 0; first < g.steps; first += g.promote_steps) {
    float part[kMTiles][kNTiles][4] = {};
    const int last = min(first + g.promote_steps, g.steps);
    for (int step = first; step < last; ++step) {
      const int offset = offsets[step];
      uint32_t x_high[kNTiles / 2][4];
      uint32_t x_low[kNTiles / 2][4];
#pragma unroll
      for (int n = 0; n < kNTiles / 2; ++n) {
        load_matrices(x_high[n], high + offset + n * 16 * 16);
        load_matrices(x_low[n], low + offset + n * 16 * 16);
      }
#pragma unroll
      for (int m = 0; m < kMTiles; ++m) {
        const uint4 w_high = weights[m * tile_stride + step * 64 + lane];
        const uint4 w_low = weights[m * tile_stride + step * 64 + 32 + lane];
        // Small terms first.
#pragma unroll
        for (int n = 0; n < kNTiles; ++n)
          multiply(part[m][n], w_low, x_high[n / 2][n % 2 * 2], x_high[n / 2][n % 2 * 2 + 1]);
#pragma unroll
        for (int n = 0; n < kNTiles; ++n)
          multiply(part[m][n], w_high, x_low[n / 2][n % 2 * 2], x_low[n / 2][n % 2 * 2 + 1]);
#pragma unroll
        for (int n = 0; n < kNTiles; ++n)
          multiply(part[m][n], w_high, x_high[n / 2][n % 2 * 2], x_high[n / 2][n % 2 * 2 + 1]);
      }
    }
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kNTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[m][n][i] = fmaf(part[m][n][i], unscale_x, sum[m][n][i]);
      }
    }
  }
}

template <int BlockShapeIndex, bool Flat, bool Plain>
__global__ void __launch_bounds__(kBlockShapes[BlockShapeIndex].threads(), 2)
    tensor_kernel(const __grid_constant__ Arguments a) {
  constexpr BlockShape kShape = kBlockShapes[BlockShapeIndex];
  extern __shared__ __align__(128) uint8_t memory[];
  const Geometry& g = a.g;
  const Shared s(memory, g, kShape.warps());
  for (int i = threadIdx.x; i < g.steps; i += kShape.threads()) s.offsets()[i] = a.step_offsets[i];
  for (int i = threadIdx.x; i < g.octets * 8; i += kShape.threads()) s.elements()[i] = a.flat_elements[i];
  const int packed_per_block = kShape.rows() / 16 * g.total_steps() * 64;
  for (int i = threadIdx.x; g.resident && i < packed_per_block; i += kShape.threads()) s.weights()[i] = a.packed[i];

  const int stages = g.stages();
  const auto first_tile = static_cast<int>(blockIdx.x);
  const auto tile_step = static_cast<int>(gridDim.x);
  // The loader runs ring - 1 stages ahead, into the next tiles too.
  int loading_tile = first_tile;
  int loading_stage = 0;
  int loading_slot = 0;
  const auto load_next = [&] {
    if (loading_tile < a.tiles) {
      load_stage<kShape.warps()>(a, tile_at(a, loading_tile), loading_stage, s.raw(loading_slot));
      if (++loading_stage == stages) {
        loading_stage = 0;
        loading_tile += tile_step;
      }
    }
    if (++loading_slot == g.ring) loading_slot = 0;
    commit_copies();
  };
  for (int i = 0; i < g.ring - 1; ++i) load_next();

  int slot = 0;
  for (int index = first_tile; index < a.tiles; index += tile_step) {
    const Tile tile = tile_at(a, index);
    const int64_t packed_tile = (int64_t{tile.group} * a.m_blocks + tile.m_block) * packed_per_block;
    const uint4* weights = (g.resident ? s.weights() : a.packed + packed_tile) +
                           threadIdx.x / 32 / kShape.n_warps * kShape.m_tiles * g.total_steps() * 64;
    float sum[kShape.m_tiles][kShape.n_tiles][4] = {};
    bool exact = a.exact_only;
    for (int stage = 0; stage < stages; ++stage) {
      if (g.ring == 2) {
        wait_copies<0>();
      } else if (g.ring == 3) {
        wait_copies<1>();
      } else {
        wait_copies<2>();
      }
      __syncthreads();  // the stage's copies are seen by all, and nobody reads the last one's octets or raw rows
      load_next();
      const float* raw = s.raw(slot);
      if (++slot == g.ring) slot = 0;
      const uint32_t largest = find_largest<kShape.warps()>(g, raw, s.largest());
      const int exponent = largest == 0 ? 14 : static_cast<int>(largest >> 23) - 127;
      const bool scalable = exponent >= -kMaxScaleExponent && exponent <= kMaxScaleExponent;
      exact |= !scalable;
      const int shift = scalable ? 14 - exponent : 0;
      const int lead = StagePlace(a, tile, stage).lead;
      convert_stage<kShape.warps(), Flat>(a, s, raw, lead, __int_as_float((127 + shift) << 23));
      __syncthreads();
      if (!exact) {
        multiply_stage<BlockShapeIndex>(g, s, weights + stage * g.steps * 64, __int_as_float((127 - shift) << 23), sum);
      }
    }
    if (exact) {
      compute_exactly<BlockShapeIndex, Plain>(a, tile);
    } else {
      store_tile<BlockShapeIndex, Plain>(a, tile, s.staging(threadIdx.x / 32), sum);
    }
  }
  wait_copies<0>();
}

using KernelFunction = void (*)(Arguments);

template <bool Plain>
KernelFunction kernel_for(const Geometry& g) {
  static constexpr KernelFunction kKernels[std::size(kBlockShapes)][2] = {
      {tensor_kernel<0, false, Plain>, tensor_kernel<0, true, Plain>},
      {tensor_kernel<1, false, Plain>, tensor_kernel<1, true, Plain>},
      {tensor_kernel<2, false, Plain>, tensor_kernel<2, true, Plain>},
      {tensor_kernel<3, false, Plain>, tensor_kernel<3, true, Plain>}};
  return kKernels[g.shape][g.flat ? 1 : 0];
}

int64_t tensor_tiles(const Conv1dProblem& p, const Geometry& g, int64_t out_length) {
  const BlockShape shape = kBlockShapes[g.shape];
  return checked_mul(checked_mul(p.batch, p.groups),
                     ceil_div(out_length, shape.columns()) * ceil_div(p.group_out(), shape.rows()));
}

// What the kernel reads besides x, one after another in one buffer.
struct Tables {
  std::shared_ptr<const Buffer> buffer;
  int64_t unscale = 0;  // byte offsets
  int64_t offsets = 0;
  int64_t elements = 0;
  bool exact_only = false;
};

Tables upload(const Conv1dProblem& p, const Geometry& g, const PrepareArgs& args) {
  const PackedWeights packed = pack_weights(p, g, args.weights.host("weight"));
  const std::vector<int32_t> offsets = step_offsets(p, g);
  const std::vector<int32_t> elements = flat_elements(g);
  const auto bytes = [](const auto& values) {
    return round_up(static_cast<int64_t>(values.size() * sizeof(values[0])), 16);
  };
  Tables tables;
  tables.exact_only = packed.exact_only;
  tables.unscale = bytes(packed.halves);
  tables.offsets = tables.unscale + bytes(packed.unscale);
  tables.elements = tables.offsets + bytes(offsets);
  // Everything that the layout depends on, and nothing that changes with batch or length alone.
  std::string key = "tensor";
  for (const int part : {g.shape, g.flat ? 1 : 0, g.stage_channels, g.stage_taps, g.phase_rows, g.phases}) {
    key += "." + std::to_string(part);
  }
  tables.buffer = args.weights.pack(key, tables.elements + bytes(elements), [&](std::byte* target) {
    const auto put = [&](int64_t offset, const auto& values) {
      std::memcpy(target + offset, values.data(), values.size() * sizeof(values[0]));
    };
    put(0, packed.halves);
    put(tables.unscale, packed.unscale);
    put(tables.offsets, offsets);
    put(tables.elements, elements);
  });
  return tables;
}

class TensorKernel final : public Kernel {
 public:
  TensorKernel(const Conv1dProblem& p, const Geometry& g, const PrepareArgs& args)
      : tables_(upload(p, g, args)),
        weights_(plain_weights(p, args)),
        kernel_(p.epilogue.none() ? kernel_for<true>(g) : kernel_for<false>(g)) {
    const BlockShape shape = kBlockShapes[g.shape];
    a_.p = p;
    a_.g = g;
    a_.out_length = args.outputs[0].shape[2];
    a_.position_tiles_by = Divisor(ceil_div(a_.out_length, shape.columns()));
    a_.columns = shape.columns();
    a_.vector = p.length % 4 == 0 ? 4 : p.length % 2 == 0 ? 2 : 1;
    a_.m_blocks = static_cast<int>(ceil_div(p.group_out(), shape.rows()));
    a_.tiles = static_cast<int>(tensor_tiles(p, g, a_.out_length));
    a_.m_blocks_by = Divisor(a_.m_blocks);
    a_.groups_by = Divisor(p.groups);
    a_.phase_rows_by = Divisor(g.phase_rows);
    a_.copies_by = Divisor(g.pitch / a_.vector);
    a_.exact_only = tables_.exact_only;
    const std::byte* base = tables_.buffer->data();
    a_.packed = reinterpret_cast<const uint4*>(base);
    a_.unscale = reinterpret_cast<const float*>(base + tables_.unscale);
    a_.step_offsets = reinterpret_cast<const int32_t*>(base + tables_.offsets);
    a_.flat_elements = reinterpret_cast<const int32_t*>(base + tables_.elements);
    a_.weight = weights_.data();
    cuda::set_device(args.device.index);
    // The most that any layer may ask for: the attribute belongs to the function, which layers share.
    const cuda::DeviceInfo info = cuda::device_info(args.device.index);
    cuda::check(cudaFuncSetAttribute(kernel_, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     static_cast<int>(info.shared_memory_per_block)),
                "conv1d cuda.tensor");
    int blocks = 0;
    cuda::check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel_, shape.threads(),
                                                              static_cast<size_t>(g.shared_bytes)),
                "conv1d cuda.tensor");
    const int64_t resident = int64_t{std::max(blocks, 1)} * info.multiprocessors;
    grid_ = static_cast<unsigned>(std::min<int64_t>(a_.tiles, resident));
  }

  void run(const Context& context, const Bindings& bindings) const override {
    if (grid_ == 0) return;
    Arguments a = a_;
    a.x = bindings.inputs[0].ptr<const float>();
    a.store = weights_.store(bindings);
    a.y = bindings.outputs[0].ptr<float>();
    kernel_<<<grid_, kBlockShapes[a.g.shape].threads(), static_cast<size_t>(a.g.shared_bytes), cuda::stream(context)>>>(
        a);
    cuda::check_launch("conv1d cuda.tensor");
  }

 private:
  Tables tables_;
  Conv1dWeights weights_;
  Arguments a_{};
  KernelFunction kernel_;
  unsigned grid_ = 0;
};

}  // namespace
}  // namespace strand::layers::tensor

namespace strand::layers {

Implementation conv1d_tensor(const Conv1dProblem& problem, const PrepareArgs& args) {
  constexpr int64_t kSmallestShared = int64_t{99} << 10;  // of the chips from sm_80 on
  Implementation result{"cuda.tensor", DeviceType::kCuda, conv1d_cuda_declines(problem, args), {}};
  int64_t shared_limit = kSmallestShared;
  if (args.device.is_cuda()) {
    const cuda::DeviceInfo info = cuda::device_info(args.device.index);
    shared_limit = info.shared_memory_per_block;
    if (info.compute_capability < 80) result.declined = "needs compute capability 8.0";
  }
  tensor::Geometry geometry;
  if (result.declined.empty()) result.declined = tensor::choose_geometry(problem, shared_limit, geometry);
  // Tile numbers run ahead by a grid: half of what an int holds is enough for both.
  if (result.declined.empty() && tensor::tensor_tiles(problem, geometry, args.outputs[0].shape[2]) > INT32_MAX / 2) {
    result.declined = "more than 2^30 tiles";
  }
  result.prepare = [problem, geometry, &args] {
    return std::make_unique<tensor::TensorKernel>(problem, geometry, args);
  };
  return result;
}

}  // namespace strand::layers
