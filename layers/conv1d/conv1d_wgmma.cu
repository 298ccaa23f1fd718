// cuda.wgmma: Conv1d as an implicit matrix product by warpgroups (wgmma, sm_90a), at float32's accuracy.
//
// Problem      y[n, o, t] = bias[o] + sum over c, k of w[o, c, k] * x[n, c, t * stride + k * dilation - pad_left]
// Precision    as cuda.tensor: x and w are split into float16 pairs after scaling by powers of two (x per stage, w per
//              output channel); three products, in a stack or turned four; summed by the tensor cores for up to four
//              steps, in long sums eight, then added to a float32 sum. A tile with an x that can't be scaled is
//              computed by FMA in float32. In tf32, float16 and bfloat16 the product of the high parts alone: 11 bits,
//              as TF32 has; the tensor cores sum them for a whole tile, which has one scale (conv1d_wgmma_high.cuh).
// Blocks       512 threads, one block a multiprocessor, which walks over tiles: warps 0 to 7 are two warpgroups that
//              multiply and store, 8 to 14 convert, 15 starts copies; or 14 starts those of rows, 15 of weights. Rings
//              of barriers are all that they share; if turned, the warps of a warpgroup stage for one another, too.
// Stages       see conv1d_wgmma.h. Where rows begin at multiples of 16 bytes, raw rows come by one or a few tensor
//              copies, with zeros beside them. Else by a bulk copy each (from the 16-byte boundary before them, so any
//              length does); zeros beside them are written over by the converters, other padding by the copying warp.
//              They are converted once for all taps, over themselves (flat: behind them); if tiles slide, a tap at a
//              time, and stay for the tiles that follow.
// Weights      stay in shared memory where they fit, else follow in chunks from the L2 cache.
// Output       through shared memory: by a tensor copy for eight rows where they begin at multiples of 16 bytes; else
//              4, 2 or 1 values a lane, as the beginnings of all rows allow, or a bulk copy a row of its whole sectors;
//              or, where tiles would share sectors, by a tensor copy for every eighth row, with what the tile before
//              has left. A ConvTranspose1d's phases are interleaved on the way.
// Halves       x, the residual and y of a single product may be stored as float16 or bfloat16; float16 is not scaled.
// Beats        cuda.tensor: loads, conversion, products and stores overlap without a barrier that stops them all.

#include <cudaTypedefs.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "engine/checked.h"
#include "engine/cuda_launch.h"
#include "engine/cuda_runtime.h"
#include "layers/conv1d/conv1d_cuda.cuh"
#include "layers/conv1d/conv1d_expected.h"
#include "layers/conv1d/conv1d_wgmma_kernel.cuh"

namespace strand::layers::wgmma {
namespace {

// Whether x, y or the residual is stored as such.
bool has_halves(const PrepareArgs& args) {
  const auto half = [](const TensorType& type) { return is_half(type.dtype); };
  return std::ranges::any_of(args.inputs, half) || std::ranges::any_of(args.outputs, half);
}

KernelFunction kernel_for(const Conv1dProblem& p, const Geometry& g, const PrepareArgs& args) {
  const bool plain = p.epilogue.none();
  if (has_halves(args)) return halves_kernel(g.layout, plain);
  if (g.products == 1) return single_kernel(g.layout, plain);
  return plain ? kernel_of<true, 3, false>(g.layout) : fused_kernel(g.layout);
}

int64_t channel_blocks(const Conv1dProblem& p, const Geometry& g) {
  return p.groups * ceil_div(p.group_out(), g.shape().channels);
}

int64_t tile_count(const Conv1dProblem& p, const Geometry& g, int64_t out_length) {
  return checked_mul(checked_mul(p.batch, channel_blocks(p, g)), g.position_tiles(out_length));
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
  std::vector<int32_t> tables = flat_elements(p, g);
  const std::vector<int32_t> rows = step_rows(p, g);
  tables.insert(tables.end(), rows.begin(), rows.end());
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
  const Layout packed_as = g.layout == Layout::kSlide ? Layout::kSplit : g.layout;
  for (const int part : {static_cast<int>(packed_as), g.products, p.epilogue.gated ? 1 : 0, g.flat ? 1 : 0, g.fold,
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

// A function of the driver, which is not linked.
PFN_cuTensorMapEncodeTiled_v12000 tensor_map_encoder() {
  static const auto encoder = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
#if CUDART_VERSION >= 12050
    cuda::check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
                "conv1d cuda.wgmma");
#else
    cuda::check(cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &found),
                "conv1d cuda.wgmma");
#endif
    return found == cudaDriverEntryPointSuccess ? function : nullptr;
  }();
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(encoder);
}

// A map of values of 2 or 4 bytes whose box is copied at once, or false where there can be none, as for what does not
// begin at a multiple of 16 bytes.
bool encode(CUtensorMap& map, cuuint64_t bytes, cuuint32_t rank, const void* base, const cuuint64_t* sizes,
            const cuuint64_t* strides, const cuuint32_t* box, CUtensorMapSwizzle swizzle) {
  const auto encoder = tensor_map_encoder();
  const cuuint32_t steps[] = {1, 1, 1};
  const auto type = bytes == 2 ? CU_TENSOR_MAP_DATA_TYPE_UINT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  return encoder != nullptr && reinterpret_cast<uintptr_t>(base) % 16 == 0 &&
         encoder(&map, type, rank, const_cast<void*>(base), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                 swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

// x as [batch and group][channel][position] and a stage's box of it.
bool encode_x(Arguments& a) {
  const auto bytes = static_cast<cuuint64_t>(a.g.element_bytes);
  const auto length = static_cast<cuuint64_t>(a.p.length);
  const auto channels = static_cast<cuuint64_t>(a.group_in);
  const cuuint64_t sizes[] = {length, channels, static_cast<cuuint64_t>(a.p.batch * a.p.groups)};
  const cuuint64_t strides[] = {length * bytes, channels * length * bytes};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(a.g.row_values), static_cast<cuuint32_t>(a.g.stage_channels), 1};
  return encode(a.map, bytes, 3, a.x, sizes, strides, box, CU_TENSOR_MAP_SWIZZLE_NONE);
}

// y as lines of 128 bytes that lie side by side, of all rows, and a box of what a warp stages; or false where rows do
// not begin at multiples of 16 bytes. A row's last line may be a part of one, which is left out: such a tile is stored
// otherwise.
bool encode_y(Arguments& a) {
  constexpr cuuint64_t kLine = 128;
  const auto bytes = static_cast<cuuint64_t>(bytes_stored(a.y_type));
  const auto length = static_cast<cuuint64_t>(a.out_length);
  const bool lines = a.g.stored_columns == kPartColumns && a.p.interleave.length == 0 && length * bytes % 16 == 0;
  if (!lines || a.out_length < kPartColumns) return false;  // no tile is whole
  const cuuint64_t sizes[] = {kLine / bytes, static_cast<cuuint64_t>(a.p.batch * a.store.channels),
                              length * bytes / kLine};
  const cuuint64_t strides[] = {length * bytes, kLine};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(kLine / bytes), kStagedRows,
                            static_cast<cuuint32_t>(kStagedColumns * bytes / kLine)};
  return encode(a.y_maps[0], bytes, 3, a.y, sizes, strides, box, CU_TENSOR_MAP_SWIZZLE_128B);
}

// The same where outputs are carried, of every eighth row, each from the beginning of a sector.
bool encode_carried(Arguments& a) {
  constexpr cuuint64_t kLine = 128;
  const auto pitch = static_cast<cuuint64_t>(a.out_length) * 4;
  const cuuint64_t sizes[] = {kLine / 4, static_cast<cuuint64_t>(a.p.batch * a.store.channels / kSector),
                              pitch / kLine + 1};
  const cuuint64_t strides[] = {kSector * pitch, kLine};
  const cuuint32_t box[] = {kLine / 4, kStagedRows, kStagedColumns * 4 / kLine};
  for (uint64_t row = 0; row < kSector; ++row) {
    const uint64_t from = (reinterpret_cast<uint64_t>(a.y) + row * pitch) & ~uint64_t{kSector * 4 - 1};
    const auto* base = reinterpret_cast<const void*>(from);
    if (!encode(a.y_maps[row], 4, 3, base, sizes, strides, box, CU_TENSOR_MAP_SWIZZLE_128B)) return false;
  }
  return true;
}

class WgmmaKernel final : public Kernel {
 public:
  WgmmaKernel(const Conv1dProblem& p, const Geometry& g, const PrepareArgs& args)
      : tables_(upload(p, g, args)), weights_(plain_weights(p, args)), kernel_(kernel_for(p, g, args)) {
    a_.p = p;
    a_.g = g;
    a_.out_length = args.outputs[0].shape[2];
    a_.x_type = args.inputs[0].dtype;
    a_.y_type = args.outputs[0].dtype;
    a_.group_in = static_cast<int>(p.group_in());
    a_.group_out = static_cast<int>(p.group_out());
    a_.tiles = static_cast<int>(tile_count(p, g, a_.out_length));
    const int64_t blocks = channel_blocks(p, g);
    a_.blocks_by = Divisor(blocks);
    a_.group_blocks_by = Divisor(blocks / p.groups);
    a_.position_tiles_by = Divisor(g.position_tiles(a_.out_length));
    if (g.layout == Layout::kSlide) a_.chains = Chains(g.position_tiles(a_.out_length), p.dilation / kPartColumns);
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
    // A thread block then has all blocks of channels in turn, where the last one is half as much work as others.
    const bool uneven = packed_layout(g.layout, (p.group_out() - 1) % g.shape().channels + 1) != g.layout;
    while (uneven && !g.resident && a_.tiles > 2 * most && std::gcd(int64_t{grid_}, blocks / p.groups) > 1) --grid_;
    const int64_t shares = std::max<int64_t>(grid_ / blocks, 1);
    a_.share = static_cast<int>(a_.tiles / blocks / shares);
    a_.shares_more = static_cast<int>(a_.tiles / blocks % shares);
  }

  void run(const Context& context, const Bindings& bindings) const override {
    if (grid_ == 0) return;
    Arguments a = a_;
    a.x = bindings.inputs[0].data;
    a.store = weights_.store(bindings);
    a.y = bindings.outputs[0].data;
    if (a.g.boxes > 0 && !encode_x(a)) a.g.copy_by_rows();  // an x that is not aligned to 16 bytes, say
    a.copies_lines = a.g.layout == Layout::kCarry ? encode_carried(a) : encode_y(a);
    cuda::launch_early(kernel_, grid_, kBlockThreads, static_cast<size_t>(a.g.shared_bytes), cuda::stream(context), a);
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

Implementation conv1d_wgmma(const Conv1dProblem& problem, const PrepareArgs& args, double* seconds) {
  constexpr int64_t kSharedMemory = 232448;  // of sm_90
  Implementation result{"cuda.wgmma", DeviceType::kCuda, {}, {}};
  if (args.device.is_cuda() && cuda::device_info(args.device.index).compute_capability != 90) {
    result.declined = "needs compute capability 9.0";
  }
#ifndef STRAND_HAVE_SM90A
  result.declined = "built without sm_90a";
#endif
  const bool exact = args.precision == Precision::kFloat32 || args.precision == Precision::kFloat64;
  const int products = exact ? 3 : 1;
  const bool halves = problem.interleave.length == 0;  // what is interleaved is float32
  const int64_t out_length = args.outputs[0].shape[2];
  wgmma::Geometry geometry;
  if (result.declined.empty()) result.declined = conv1d_cuda_declines(problem, args, true, halves);
  if (result.declined.empty()) {
    const int element_bytes = bytes_stored(args.inputs[0].dtype);
    result.declined = wgmma::choose_geometry(problem, kSharedMemory, geometry, products, element_bytes, out_length);
  }
  if (result.declined.empty() && !is_half(args.outputs[0].dtype)) {
    if (!wgmma::has_halves(args) && wgmma::carries_outputs(problem, geometry, out_length)) {
      geometry.layout = wgmma::Layout::kCarry;
    } else {
      geometry.stored_columns = wgmma::choose_stored_columns(problem, geometry, out_length);
    }
  }
  if (result.declined.empty()) {
    // Tile numbers run ahead by a grid: half of what an int holds is enough for both.
    if (wgmma::tile_count(problem, geometry, out_length) > INT32_MAX / 2) {
      result.declined = "more than 2^30 tiles";
    }
  }
  if (seconds != nullptr && result.declined.empty()) {
    *seconds = wgmma_seconds(problem, geometry, out_length, conv1d_multiprocessors(args.device));
  }
  result.prepare = [problem, geometry, &args] { return std::make_unique<wgmma::WgmmaKernel>(problem, geometry, args); };
  return result;
}

}  // namespace strand::layers
