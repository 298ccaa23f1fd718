#pragma once
// What a launch of cuda.wgmma is given, and which tiles of it each thread block walks over.

#include <cuda.h>

#include <cstdint>

#include "layers/conv1d/conv1d_cuda.cuh"
#include "layers/conv1d/conv1d_halves.cuh"
#include "layers/conv1d/conv1d_tensor.h"
#include "layers/conv1d/conv1d_wgmma.h"

namespace strand::layers::wgmma {

using tensor::Divisor;

struct Arguments {
  CUtensorMap map;  // of x, [batch and group][channel][position], where g.boxes > 0
  // Where copies_lines: of y, [positions / a line's][batch and channel][a line's], lines of 128 bytes; if it is
  // carried, of every eighth channel from each of the first eight on, from the beginning of a sector.
  CUtensorMap y_maps[kSector];
  const void* x;
  void* y;
  const float* weight;  // as PyTorch has it, for tiles that are computed in float32
  Conv1dStore store;
  const uint4* packed;
  const float* unscale;
  const int32_t* tables;  // flat_elements, then step_rows
  Conv1dProblem p;
  Geometry g;
  int64_t out_length;
  int group_in;  // channels
  int group_out;
  int tiles;          // of the whole problem
  int share;          // of tiles, if they are not kApart: see Walk
  int shares_more;    // shares that have one more
  Divisor blocks_by;  // blocks of output channels, of all groups
  Divisor group_blocks_by;
  Divisor position_tiles_by;  // of a row
  Chains chains;              // of a row, if tiles slide
  Divisor positions_by;       // g.positions; folded: g.octet_rows
  Divisor stride_by;
  bool exact_only;
  bool copies_lines;  // whole rows of outputs go by tensor copies, or what is carried
  int stride_shift;   // of p.interleave
  int divisor_shift;
  DType x_type;
  DType y_type;
};

// Where a flat octet's value, one of flat_elements, lies behind its row 0 in a slot: bytes, but for the lead of its
// channel, of which what that depends on lies below.
inline __device__ int32_t flat_offset(const Arguments& a, int32_t element) {
  const int channel = element >> 16;
  const int place = channel * a.g.row_values + (element & 0xFFFF) * static_cast<int>(a.p.dilation);
  return place * a.g.element_bytes << 3 | (channel & 7);
}

struct Tile {
  int batch;
  int group;
  int block;     // of output channels, of all groups
  int position;  // the first output
};

// Blocks of output channels run fastest, so that those that read the same input run at the same time; the grid is a
// multiple of them where weights are resident.
inline __device__ Tile tile_at(const Arguments& a, int index) {
  const auto i = static_cast<uint32_t>(index);
  const uint32_t above_block = a.blocks_by.divide(i);
  const uint32_t batch = a.position_tiles_by.divide(above_block);
  Tile tile{};
  tile.block = static_cast<int>(i - above_block * a.blocks_by.value);
  tile.group = static_cast<int>(a.group_blocks_by.divide(static_cast<uint32_t>(tile.block)));
  tile.position = static_cast<int>(above_block - batch * a.position_tiles_by.value) * a.g.tile_columns();
  tile.batch = static_cast<int>(batch);
  return tile;
}

// As its block's weights are packed and multiplied.
inline __device__ Layout packed_layout(const Arguments& a, const Tile& tile) {
  const int block = tile.block - tile.group * static_cast<int>(a.group_blocks_by.value);
  return packed_layout(a.g.layout, a.group_out - block * a.g.shape().channels);
}

// Which tiles a thread block walks over, and in which order.
enum class Order : uint8_t {
  kApart,       // every gridDim.x-th
  kNeighbours,  // a share of them, with the same output channels
  kChained,     // the same in the order of Chains
};
constexpr Order order_of(Layout layout) {
  if (layout == Layout::kSlide) return Order::kChained;
  return layout == Layout::kCarry ? Order::kNeighbours : Order::kApart;
}

template <Order WalkOrder>
struct Walk {
  const Arguments& a;
  int step;
  int index;
  int end;

  __device__ explicit Walk(const Arguments& arguments)
      : a(arguments), step(static_cast<int>(arguments.blocks_by.value)) {
    const auto share = static_cast<int>(a.blocks_by.divide(blockIdx.x));
    const int block = static_cast<int>(blockIdx.x) - share * step;
    const int begin = share * a.share + min(share, a.shares_more);
    index = begin * step + block;
    end = (begin + a.share + (share < a.shares_more ? 1 : 0)) * step;
  }
  __device__ bool done() const { return index >= end; }
  __device__ bool at_last() const { return index + step >= end; }
  __device__ void advance() { index += step; }
  __device__ Tile tile() const {
    Tile tile = tile_at(a, index);
    if constexpr (WalkOrder == Order::kChained) tile.position = chained(index).tile * kPartColumns;
    return tile;
  }
  // Whether the next tile has what this one has of the input but for its first tap.
  __device__ bool goes_on() const { return WalkOrder == Order::kChained && !at_last() && !chained(index).last; }
  // Of all tiles, that are loaded and converted.
  __device__ int stages() const {
    const int tiles = (end - index + step - 1) / step;
    if (WalkOrder != Order::kChained) return tiles * a.g.stages();
    const int begun = chain(index + (tiles - 1) * step) - chain(index);
    return tiles + (begun + 1) * (a.g.stages() - 1);
  }

 private:
  __device__ Chains::Place chained(int tile, int* batch = nullptr) const {
    const uint32_t above_block = a.blocks_by.divide(static_cast<uint32_t>(tile));
    const uint32_t row = a.position_tiles_by.divide(above_block);
    if (batch != nullptr) *batch = static_cast<int>(row);
    return a.chains.place(static_cast<int>(above_block - row * a.position_tiles_by.value));
  }
  __device__ int chain(int tile) const {
    int batch = 0;
    const int in_row = chained(tile, &batch).chain;
    return batch * a.chains.in_row + in_row;
  }
};

template <>
struct Walk<Order::kApart> {
  const Arguments& a;
  int index = blockIdx.x;

  __device__ explicit Walk(const Arguments& arguments) : a(arguments) {}
  __device__ bool done() const { return index >= a.tiles; }
  __device__ void advance() { index += static_cast<int>(gridDim.x); }
  __device__ Tile tile() const { return tile_at(a, index); }
  __device__ bool goes_on() const { return false; }
  __device__ int stages() const {
    const auto grid = static_cast<int>(gridDim.x);
    return (a.tiles - index + grid - 1) / grid * a.g.stages();
  }
};

}  // namespace strand::layers::wgmma
