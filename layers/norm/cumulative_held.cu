// CumulativeLayerNorm of up to 512 channels on CUDA, [N, C, L]: each element is read once from memory, once more from
// the L2 cache, and written once.
//
// A tile is all channels at 32 to 256 neighbouring times, 32 or 64 elements a thread. Statistics are two sums over all
// channels and times so far, of x - pivot and of its square, where the pivot is the signal's first value: with it in
// the sums their difference loses no more than a factor of the number of elements, out of 2^53. The sums of all tiles
// before come by looking back (Merrill and Garland 2016): a tile publishes its own sums, reads a window of the tiles
// before it, and where it finds sums up to there adds the tiles after, in order: the same additions wherever it begins,
// and so the same bits each run. Then it publishes the sums up to itself.
//
// Mapping: lanes over channels, columns over times. Tiles go by ticket, batch elements side by side. A block adds up
// the tile of a new ticket before it writes the one of its last, so that it finds the sums of those before, and holds
// no values while it waits. A tile waits for smaller tickets alone, whose sums wait for nothing, so it is safe however
// few blocks run at once. Limits: channels as above, lengths below 2^26; 2^31 tiles. 32 bytes of workspace a tile.

#include <algorithm>

#include "engine/checked.h"
#include "layers/cuda_launch.cuh"
#include "layers/forget.cuh"
#include "layers/norm/cumulative_held.h"
#include "layers/norm/statistics.cuh"

namespace strand::layers {
namespace {

constexpr int kThreads = cuda::kThreads;
constexpr int kWarp = 32;

struct Sums {
  double values;
  double squares;
  __device__ Sums& operator+=(const Sums& other) {
    values += other.values;
    squares += other.squares;
    return *this;
  }
};

// What is known of a tile: nothing yet, its own sums, or those of all times up to its end.
enum State : unsigned { kUnknown, kOwn, kAll };

struct Tiles {
  CumulativeProblem problem;
  const float* gamma;
  const float* beta;
  unsigned tiles;  // of a batch element
  unsigned batch;
  int window;                 // tiles that one looks back at once
  unsigned long long* words;  // [N, tiles, 4]: halves of the Sums, each with the state above it
  unsigned* ticket;
};

// One thread's. A half and its state are one word: nothing else has to be seen in order.
__device__ void publish(unsigned long long* words, State state, const Sums& sums) {
  const double values[2] = {sums.values, sums.squares};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const double value = values[i / 2];
    const auto half = static_cast<unsigned>(i % 2 == 0 ? __double2loint(value) : __double2hiint(value));
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(__cvta_generic_to_global(words + i)),
                 "l"(static_cast<unsigned long long>(state) << 32 | half)
                 : "memory");
  }
}

// Waits until something is known.
__device__ unsigned look_at(const unsigned long long* words, Sums& sums) {
  unsigned long long word[4];
  unsigned state = 0;
  bool whole = false;
  do {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];"
                   : "=l"(word[i])
                   : "l"(__cvta_generic_to_global(words + i))
                   : "memory");
    }
    state = static_cast<unsigned>(word[0] >> 32);
    whole = state != kUnknown;
#pragma unroll
    for (int i = 1; i < 4; ++i) whole = whole && word[i] >> 32 == state;
  } while (!whole);
  sums.values = __hiloint2double(static_cast<int>(word[1]), static_cast<int>(word[0]));
  sums.squares = __hiloint2double(static_cast<int>(word[3]), static_cast<int>(word[2]));
  return state;
}

// The last `window` tiles before one, for fold(); the whole block's. The number of the nearest whose sums are of all
// times.
__device__ int look_back(const Tiles& tiles, const unsigned long long* words, unsigned tile, Sums* window,
                         unsigned* found) {
  const auto self = static_cast<int>(threadIdx.x);
  for (;;) {
    unsigned state = kUnknown;
    if (self < tiles.window) {
      const int before = static_cast<int>(tile) - tiles.window + self;
      window[self] = Sums{0, 0};
      state = before < 0 ? kAll : look_at(words + static_cast<int64_t>(before) * 4, window[self]);
    }
    const unsigned mask = __ballot_sync(~0U, state == kAll);
    if (self % kWarp == 0) found[self / kWarp] = mask;
    __syncthreads();
    for (int warp = kThreads / kWarp - 1; warp >= 0; --warp) {
      if (found[warp] != 0) return warp * kWarp + kWarp - 1 - __clz(static_cast<int>(found[warp]));
    }
    __syncthreads();  // read, before they are written again
  }
}

// Each of the first kColumns threads: the sums of its time and the tile's times before, from those of the lanes.
template <int kLanes, int kColumns>
__device__ Sums scan(const Sums (&lanes)[kLanes][kColumns], Sums* totals) {
  const auto self = static_cast<int>(threadIdx.x);
  Sums own{0, 0};
  if (self < kColumns) {  // whole warps
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) own += lanes[lane][self];
#pragma unroll
    for (int distance = 1; distance < kWarp; distance *= 2) {
      const Sums before{__shfl_up_sync(~0U, own.values, distance), __shfl_up_sync(~0U, own.squares, distance)};
      if (self % kWarp >= distance) own += before;
    }
  }
  if constexpr (kColumns > kWarp) {
    if (self < kColumns && self % kWarp == kWarp - 1) totals[self / kWarp] = own;
    __syncthreads();
    for (int warp = 0; self < kColumns && warp < self / kWarp; ++warp) own += totals[warp];
  }
  return own;
}

// `count` values and their squares, less the pivot.
__device__ Statistics statistics_of(const Sums& sums, double pivot, double count, double eps) {
  const double share = 1 / count;
  const double distance = sums.values * share;
  const double variance = fma(-distance, distance, sums.squares * share);
  const double mean = pivot + distance;
  const auto high = static_cast<float>(mean);
  return {high, static_cast<float>(mean - static_cast<double>(high)),
          inverse_root((variance < 0 ? 0 : variance) + eps)};  // NaN stays
}

// A thread's part of a tile.
template <int kLanes>
struct Place {
  unsigned tile;
  unsigned n;
  int64_t time;
  int64_t offset;  // of its first value
  int left;        // a channel k further is there below it

  __device__ Place(const Tiles& tiles, unsigned ticket) {
    constexpr int kColumns = kThreads / kLanes;
    const CumulativeProblem& p = tiles.problem;
    const int lane = static_cast<int>(threadIdx.x) / kColumns;
    tile = ticket / tiles.batch;
    n = ticket - tile * tiles.batch;
    time = static_cast<int64_t>(tile) * kColumns + static_cast<int>(threadIdx.x) % kColumns;
    left = time < p.length ? static_cast<int>(p.channels) - lane : 0;
    offset = (n * p.channels + lane) * p.length + time;
  }
};

template <int kColumns>
struct Memory {
  Sums lanes[kThreads / kColumns][kColumns];
  Sums totals[(kColumns + kWarp - 1) / kWarp];
  Sums window[kThreads];
  Sums past;
  Sums own[2][kColumns];  // of the tile's times up to each, of this and of the last ticket
  Statistics statistics[kColumns];
  unsigned found[kThreads / kWarp];
  unsigned next;
};

constexpr int kAtOnce = 32;  // loads under way, a thread's

// Adds a tile up, and publishes its sums.
template <int kLanes, int kValues, class Memory>
__device__ void add_up(const Tiles& tiles, unsigned ticket, int turn, const float* x, Memory& memory) {
  constexpr int kColumns = kThreads / kLanes;
  const auto self = static_cast<int>(threadIdx.x);
  const Place<kLanes> place(tiles, ticket);
  const CumulativeProblem& p = tiles.problem;
  const auto pivot = static_cast<double>(__ldg(x + place.n * p.channels * p.length));
  const int64_t step = kLanes * p.length;
  const float* from = x + place.offset;
  cuda::forget(from);
  Sums sums{0, 0};
#pragma unroll 1
  for (int first = 0; first < kValues; first += kAtOnce, from += kAtOnce * step) {
    float values[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      values[k] = (first + k) * kLanes < place.left ? __ldcg(from + k * step) : 0.0F;
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const double value = static_cast<double>(values[k]) - pivot;
      if ((first + k) * kLanes < place.left) sums += Sums{value, value * value};
    }
  }
  memory.lanes[self / kColumns][self % kColumns] = sums;
  __syncthreads();
  const Sums own = scan<kLanes, kColumns>(memory.lanes, memory.totals);
  if (self < kColumns) memory.own[turn][self] = own;
  if (self == kColumns - 1) {
    unsigned long long* words = tiles.words + (static_cast<int64_t>(place.n) * tiles.tiles + place.tile) * 4;
    publish(words, place.tile == 0 ? kAll : kOwn, own);
  }
}

// Writes a tile that was added up.
template <int kLanes, int kValues, class Memory>
__device__ void write(const Tiles& tiles, unsigned ticket, int turn, const float* x, float* y, Memory& memory) {
  constexpr int kColumns = kThreads / kLanes;
  constexpr int kLast = kColumns - 1;  // the thread that has the tile's sums
  const auto self = static_cast<int>(threadIdx.x);
  const Place<kLanes> place(tiles, ticket);
  const CumulativeProblem& p = tiles.problem;
  unsigned long long* words = tiles.words + static_cast<int64_t>(place.n) * tiles.tiles * 4;
  if (place.tile == 0) {
    if (self == kLast) memory.past = Sums{0, 0};
  } else {
    const int nearest = look_back(tiles, words, place.tile, memory.window, memory.found);
    if (self == kLast) {
      Sums all = memory.window[nearest];
      for (int i = nearest + 1; i < tiles.window; ++i) all += memory.window[i];
      memory.past = all;
      all += memory.own[turn][kLast];
      publish(words + static_cast<int64_t>(place.tile) * 4, kAll, all);
    }
  }
  __syncthreads();
  if (self < kColumns) {
    const auto pivot = static_cast<double>(__ldg(x + place.n * p.channels * p.length));
    Sums all = memory.past;
    all += memory.own[turn][self];
    memory.statistics[self] = statistics_of(all, pivot, static_cast<double>((place.time + 1) * p.channels), p.eps);
  }
  __syncthreads();
  const Statistics mine = memory.statistics[self % kColumns];
  const int64_t step = kLanes * p.length;
  const float* from = x + place.offset;
  float* to = y + place.offset;
  const float* gamma = tiles.gamma + self / kColumns;
  const float* beta = tiles.beta + self / kColumns;
  cuda::forget(from);
  cuda::forget(to);
#pragma unroll 1
  for (int first = 0; first < kValues; first += kAtOnce) {
    float values[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      if ((first + k) * kLanes < place.left) values[k] = __ldcs(from + k * step);
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      if ((first + k) * kLanes >= place.left) continue;
      const int channel = (first + k) * kLanes;
      __stcs(to + k * step, fmaf(mine.normal(values[k]), __ldg(gamma + channel), __ldg(beta + channel)));
    }
    from += kAtOnce * step;
    to += kAtOnce * step;
  }
}

constexpr int kBlocks = 3;  // a multiprocessor: more of them, and x is gone from the cache before it is read again

// Barriers part the uses of each shared array from the next.
template <int kLanes, int kValues>
__global__ void __launch_bounds__(kThreads, kBlocks)
    cumulative_kernel(const float* __restrict__ x, float* __restrict__ y, const Tiles tiles) {
  __shared__ Memory<kThreads / kLanes> memory;
  unsigned last = 0;
  int turn = 0;
  for (bool first = true;; first = false, turn ^= 1) {
    // Not before its sums can be added up at once, as others wait for them.
    if (threadIdx.x == 0) memory.next = atomicAdd(tiles.ticket, 1U);
    __syncthreads();
    const unsigned ticket = memory.next;
    const bool more = ticket < tiles.batch * tiles.tiles;
    if (more) add_up<kLanes, kValues>(tiles, ticket, turn, x, memory);
    if (!first) write<kLanes, kValues>(tiles, last, turn ^ 1, x, y, memory);
    if (!more) return;
    last = ticket;
    __syncthreads();
  }
}

// launch(lanes, values a thread) as std::integral_constants.
template <class Launch>
void for_channels(int64_t channels, const Launch& launch) {
  if (channels <= 32) {
    launch(std::integral_constant<int, 1>(), std::integral_constant<int, 32>());
  } else if (channels <= 64) {
    launch(std::integral_constant<int, 2>(), std::integral_constant<int, 32>());
  } else if (channels <= 128) {
    launch(std::integral_constant<int, 4>(), std::integral_constant<int, 32>());
  } else if (channels <= 256) {
    launch(std::integral_constant<int, 8>(), std::integral_constant<int, 32>());
  } else {
    launch(std::integral_constant<int, 8>(), std::integral_constant<int, 64>());
  }
}

int64_t tiles_of(const CumulativeProblem& p) {
  int64_t columns = 0;
  for_channels(p.channels, [&](auto lanes, auto) { columns = kThreads / lanes; });
  return ceil_div(p.length, columns);
}

}  // namespace

bool is_held_cumulative(const CumulativeProblem& p) { return p.channels <= 512 && p.length < int64_t{1} << 26; }

int64_t held_cumulative_workspace(const CumulativeProblem& p) {
  return checked_add(checked_mul(checked_mul(p.batch, tiles_of(p)), int64_t{4 * sizeof(unsigned long long)}),
                     int64_t{sizeof(unsigned)});
}

void held_cumulative(const Context& context, const CumulativeProblem& p, const float* gamma, const float* beta,
                     const float* x, float* y, std::byte* workspace) {
  const int64_t count = tiles_of(p);
  const unsigned total = cuda::grid_size(checked_mul(p.batch, count), "CumulativeLayerNorm");
  int multiprocessors = 0;
  cuda::check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, context.device().index),
              "CumulativeLayerNorm");
  Tiles tiles{};
  tiles.problem = p;
  tiles.gamma = gamma;
  tiles.beta = beta;
  tiles.tiles = static_cast<unsigned>(count);
  tiles.batch = static_cast<unsigned>(p.batch);
  tiles.words = reinterpret_cast<unsigned long long*>(workspace);
  tiles.ticket = reinterpret_cast<unsigned*>(tiles.words + 4 * static_cast<int64_t>(total));
  cuda::check(cudaMemsetAsync(workspace, 0, static_cast<size_t>(held_cumulative_workspace(p)), cuda::stream(context)),
              "cudaMemsetAsync");
  for_channels(p.channels, [&](auto lanes, auto values) {
    const unsigned blocks = std::min(total, static_cast<unsigned>(multiprocessors * kBlocks));
    // A batch element's tiles at work, two a block, and some that are done.
    tiles.window = static_cast<int>(std::min<int64_t>(round_up(2 * blocks / tiles.batch + kWarp, kWarp), kThreads));
    cumulative_kernel<lanes, values><<<blocks, kThreads, 0, cuda::stream(context)>>>(x, y, tiles);
    cuda::check_launch("CumulativeLayerNorm");
  });
}

}  // namespace strand::layers
