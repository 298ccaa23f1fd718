#pragma once
// The warps of cuda.wgmma that turn raw rows into octets of float16 pairs.

#include "layers/conv1d/conv1d_wgmma_octet.cuh"

namespace strand::layers::wgmma {

#ifdef STRAND_WGMMA

// The warps that convert, and nobody else.
inline __device__ void converters_meet(const Geometry& g) {
  asm volatile("bar.sync 1, %0;" ::"r"(g.converter_threads()) : "memory");
}

// The same, and whether it holds for any of their threads.
inline __device__ bool any_converter(const Geometry& g, bool holds) {
  int any;
  asm volatile(
      "{\n.reg .pred p, q;\nsetp.ne.b32 p, %1, 0;\nbarrier.cta.red.or.pred q, 1, %2, p;\nselp.b32 %0, 1, 0, q;\n}\n"
      : "=r"(any)
      : "r"(static_cast<int>(holds)), "r"(g.converter_threads())
      : "memory");
  return any != 0;
}

// How a stage's values are scaled: by a power of two that brings the largest magnitude into [2^14, 2^15), where float16
// pairs keep the most bits; 0 where it is not finite or too far from 1. With one product by no more than the stages of
// the tile before it, so that sums are scaled anew only where larger values come.
template <int Products>
struct StageScale {
  static constexpr int kMaxExponent = 90;
  static constexpr int kMostShift = 14 + kMaxExponent;
  int shift = kMostShift;
  bool lost = false;    // with one product: the tile, for a stage that could not be scaled
  int stages_left = 0;  // of the tile

  __device__ void begin_stage(const Arguments& a) {
    if (Products > 1 || --stages_left >= 0) return;
    stages_left = a.g.stages() - 1;
    shift = kMostShift;
    lost = a.exact_only;
  }
  static __device__ float scale_of(int shift) { return __int_as_float((127 + shift) << 23); }
  __device__ void note(const Shared& s, int slot, bool scalable, int own) {
    if (Products == 1) scalable = !(lost = lost || !scalable);
    if (threadIdx.x == 256) s.unscale(slot) = scalable ? scale_of(-own) : 0.0F;
  }

  // Contains a barrier of the converters.
  __device__ __forceinline__ float find(const Arguments& a, const Shared& s, int slot, int parity,
                                        float largest_magnitude) {
    const int warp = threadIdx.x / 32 - 8;
    uint32_t* by_warp = s.largest(parity);
    uint32_t largest = __reduce_max_sync(~0U, __float_as_uint(largest_magnitude));
    if (threadIdx.x % 32 == 0) by_warp[warp] = largest;
    converters_meet(a.g);
    largest = __reduce_max_sync(~0U, by_warp[min(static_cast<int>(threadIdx.x) % 8, a.g.converter_warps - 1)]);
    const int exponent = static_cast<int>(largest >> 23) - 127;
    const bool scalable = largest == 0 || (exponent >= -kMaxExponent && exponent <= kMaxExponent);
    int own = scalable ? 14 - exponent : 0;
    if (largest == 0) own = Products == 1 ? kMostShift : 0;
    if (Products == 1 && scalable) own = shift = min(shift, own);
    note(s, slot, scalable, own);
    return scale_of(own);
  }
};

// The same of values as they are stored: float16 is not scaled, but has to be finite.
template <class X, int Products>
__device__ __forceinline__ float find_scale(const Arguments& a, const Shared& s, int slot, int parity,
                                            typename Octet<X>::Largest largest, StageScale<Products>& scale) {
  if constexpr (Octet<X>::kScales) {
    return scale.find(a, s, slot, parity, Octet<X>::magnitude(largest));
  } else {
    scale.note(s, slot, !any_converter(a.g, is_not_finite(largest)), 0);
    return 1;
  }
}

// Octets of 8 channels at a position, or if folded of 8 neighbours in a channel, over the raw rows that they are made
// of. A thread has the same ones in all stages, one a round, so that where each comes from and goes to is found once.
// Threads that have none in a round make the stage's last one once more: a round has no branches, but for warps
// that have none in the last two.
template <class X, int Products, bool Folded, int Rounds>
struct SharedItems {
  static constexpr int kBytes = sizeof(X);
  uint32_t from[Rounds];  // bytes from a slot's beginning to the first raw value, but for its row's lead
  uint32_t to[Rounds];    // to the octet's row
  bool takes[2];          // whether this warp takes part in the last rounds

  __device__ explicit SharedItems(const Arguments& a) {
    const Geometry& g = a.g;
    const int thread = threadIdx.x - 256;
#pragma unroll
    for (int i = 0; i < Rounds; ++i) {
      const int item = min(thread + i * g.converter_threads(), g.items() - 1);
      const auto octet = static_cast<int>(a.positions_by.divide(static_cast<uint32_t>(item)));
      if constexpr (Folded) {
        const int position = octet * 8 % g.fold + (item - octet * g.octet_rows) * static_cast<int>(a.stride_by.value);
        from[i] = g.raw_place(octet * 8 / g.fold, position) * kBytes;
        to[i] = item * 16;
      } else {
        const int position = item - octet * g.positions;
        const auto within = static_cast<int>(a.stride_by.divide(static_cast<uint32_t>(position)));
        const int phase = position - within * static_cast<int>(a.stride_by.value);
        from[i] = g.raw_place(octet * 8, position) * kBytes;
        to[i] = (phase * g.phase_rows + octet * g.octet_rows + within) * 16;
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      takes[i] = thread / 32 * 32 + (Rounds - 2 + i) * g.converter_threads() < g.items();
    }
  }

  // each(i) for all rounds in which this warp takes part.
  template <class Each>
  __device__ __forceinline__ void rounds(const Each& each) const {
#pragma unroll
    for (int i = 0; i < Rounds; ++i) {
      if (i < Rounds - 2 || takes[i - Rounds + 2]) each(i);
    }
  }

  // take(i, octet) for the values of each round.
  template <class Take>
  __device__ __forceinline__ void read_folded(const Arguments& a, uint32_t raw, const Leads<X>& lead,
                                              const Take& take) const {
    const uint32_t step = a.stride_by.value;
    const bool by_pieces = ((lead.first | lead.step | step) * kBytes & 7) == 0;  // of 8 bytes
    const auto read = [&](int i, uint32_t first) {
      Octet<X> v;
      if (by_pieces) {
        v.read_pieces(first);
      } else {
        v.gather([&](int c) { return first + c * kBytes; });
      }
      take(i, v);
    };
    if (lead.step == 0) {
      const uint32_t begin = raw + lead.first * kBytes;
      if (((lead.first | step) * kBytes & 15) != 0) return rounds([&](int i) { read(i, begin + from[i]); });
      return rounds([&](int i) {
        Octet<X> v;
        v.read(begin + from[i]);
        take(i, v);
      });
    }
    rounds([&](int i) {
      const uint32_t channel = a.positions_by.divide(to[i] / 16) * 8 / a.g.fold;
      read(i, raw + from[i] + lead(channel) * kBytes);
    });
  }

  template <class Take>
  __device__ __forceinline__ void read_rows(const Arguments& a, uint32_t raw, const Leads<X>& lead,
                                            const Take& take) const {
    const int row_bytes = a.g.row_values * kBytes;
    if (lead.step == 0) {  // what is added to an address is the same for all threads then
      rounds([&](int i) {
        const uint32_t first = raw + lead.first * kBytes + from[i];
        Octet<X> v;
        v.gather([&](int c) { return first + c * row_bytes; });
        take(i, v);
      });
      return;
    }
    uint32_t rows[8];
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      rows[c] = raw + c * row_bytes + lead(c) * kBytes;
      asm volatile("" : "+r"(rows[c]));  // once a stage, not once an item
    }
    rounds([&](int i) {
      Octet<X> v;
      v.gather([&](int c) { return rows[c] + from[i]; });
      take(i, v);
    });
  }

  // All raw values are read before the first octet is written: there is a barrier between.
  __device__ __forceinline__ void convert(const Arguments& a, const Shared& s, const Leads<X>& lead, int slot,
                                          int parity, StageScale<Products>& scale) const {
    Octet<X> v[Rounds];
    typename Octet<X>::Largest largest{};
    const uint32_t raw = shared_address(s.slot(slot));
    const auto take = [&](int i, const Octet<X>& octet) {
      v[i] = octet;
      largest = Octet<X>::larger_of(largest, octet.largest());
    };
    if constexpr (Folded) {
      read_folded(a, raw, lead, take);
    } else {
      read_rows(a, raw, lead, take);
    }
    const float factor = find_scale<X>(a, s, slot, parity, largest, scale);
    rounds([&](int i) { v[i].template store<Products>(s.slot(slot), a.g.part_bytes, to[i], factor); });
  }
};

// Octets of 8 (channel, tap) pairs. Eight lanes make as many rows of one: at large strides a warp's lanes would all
// read from few banks if they went along the rows. A thread's octets and rows are the same in all stages.
template <class X, int Products>
struct FlatItems {
  static constexpr int kLanes = 8;
  static constexpr int kAtOnce = 2;

  // An octet, and which eight of its rows.
  struct Place {
    int octet;
    int eight;
  };
  Place first;
  Place step;

  __device__ explicit FlatItems(const Geometry& g) {
    const int unit = (static_cast<int>(threadIdx.x) - 256) / kLanes;
    first = {unit % g.octets, unit / g.octets};
    const int units = g.converter_threads() / kLanes;  // of an octet's eight rows, at a time
    step = {units % g.octets, units / g.octets};
  }

  __device__ __forceinline__ void advance(const Geometry& g, Place& place) const {
    place.octet += step.octet;
    place.eight += step.eight;
    if (place.octet < g.octets) return;
    place.octet -= g.octets;
    ++place.eight;
  }

  // `raw`: a slot's beginning. See flat_offset.
  __device__ __forceinline__ void read(const Arguments& a, uint32_t elements, uint32_t raw, const Leads<X>& lead,
                                       int row, const Place& place, Octet<X>& v) const {
    const uint32_t table = elements + place.octet * 32;
    const uint4 low = load_shared_bits4(table);
    const uint4 high = load_shared_bits4(table + 16);
    const uint32_t packed[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    const uint32_t from = raw + row * static_cast<uint32_t>(a.p.stride) * static_cast<uint32_t>(sizeof(X));
    if (lead.step == 0) {
      const uint32_t begin = from + lead.first * static_cast<uint32_t>(sizeof(X));
      v.gather([&](int i) { return begin + (packed[i] >> 3); });
    } else {
      v.gather([&](int i) { return from + (packed[i] >> 3) + lead(packed[i]) * static_cast<uint32_t>(sizeof(X)); });
    }
  }

  __device__ __forceinline__ void convert(const Arguments& a, const Shared& s, const Leads<X>& lead, int slot,
                                          int parity, StageScale<Products>& scale) const {
    const Geometry& g = a.g;
    const int thread = threadIdx.x - 256;
    const uint32_t raw = shared_address(s.slot(slot));
    // With what lies between rows, which are their neighbours.
    typename Octet<X>::Largest largest{};
    for (int i = thread; i < g.stage_channels * g.row_values / kPiece<X>; i += g.converter_threads()) {
      largest = Octet<X>::of_raw(largest, raw + i * 16);
    }
    const float factor = find_scale<X>(a, s, slot, parity, largest, scale);
    const uint32_t elements = shared_address(s.elements());
    const int eights = g.octet_rows / kLanes;
    const int lane = thread % kLanes;
    // Two at once, so that one is read while the other is on its way.
    for (Place place = first; place.eight < eights;) {
      Octet<X> v[kAtOnce];
      Place places[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        places[i] = place;
        advance(g, place);
        const int row = min(places[i].eight, eights - 1) * kLanes + lane;
        read(a, elements, raw, lead, row, places[i], v[i]);
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (places[i].eight >= eights) break;
        const uint32_t row = places[i].octet * g.octet_rows + places[i].eight * kLanes + lane;
        v[i].template store<Products>(s.slot(slot) + g.raw_bytes, g.part_bytes, row * 16, factor);
      }
    }
  }
};

// Walks over all stages of this block's tiles: items.convert.
template <class X, int Products, class Items>
__device__ __forceinline__ void convert_stages(const Arguments& a, const Shared& s, int stages, const Items& items) {
  StageScale<Products> scale;
  Cursor cursor;
  for (int stage = 0; stage < stages; ++stage) {
    wait(s.raw_full(cursor.slot), cursor.parity);
    const uint32_t first_lead = s.first_lead(cursor.slot);
    const Leads<X> lead{first_lead & Leads<X>::kMask, static_cast<uint32_t>(a.p.length) & Leads<X>::kMask};
    if ((first_lead & kEdge) != 0) {
      fill_edge_rows<X>(a.g, s.edge(cursor.slot), lead, shared_address(s.slot(cursor.slot)));
      converters_meet(a.g);
    }
    scale.begin_stage(a);
    items.convert(a, s, lead, cursor.slot, stage % 2, scale);
    fence_shared_writes();
    __syncwarp();
    if (threadIdx.x % 32 == 0) arrive(s.full(cursor.slot));
    cursor.advance(a.g.slots);
  }
}

// `Most`: octet rows that a thread holds.
template <class X, int Products, bool Folded, int Most, bool Halves>
__device__ __forceinline__ void convert_shared(const Arguments& a, const Shared& s, int stages) {
  constexpr int kFew = Most - 2;
  if constexpr (!Folded || (!Halves && kFew > 1)) {  // others would spill
    if (a.g.items() <= kFew * a.g.converter_threads()) {
      return convert_stages<X, Products>(a, s, stages, SharedItems<X, Products, Folded, kFew>(a));
    }
  }
  convert_stages<X, Products>(a, s, stages, SharedItems<X, Products, Folded, Most>(a));
}

template <class X, int Products, int Most, bool Halves>
__device__ __forceinline__ void convert_values(const Arguments& a, const Shared& s, int stages) {
  if (a.g.flat) {
    convert_stages<X, Products>(a, s, stages, FlatItems<X, Products>(a.g));
  } else if (a.g.fold > 1) {
    convert_shared<X, Products, true, Most, Halves>(a, s, stages);
  } else {
    convert_shared<X, Products, false, Most, Halves>(a, s, stages);
  }
}

template <Layout BlockLayout, int Products, bool Halves>
__device__ __forceinline__ void convert(const Arguments& a, const Shared& s) {
  constexpr int kMost = items_per_thread(BlockLayout, 4);
  constexpr int kMostHalves = items_per_thread(BlockLayout, 2);
  const int stages = Walk<order_of(BlockLayout)>(a).stages();
  if constexpr (Halves) {
    if (a.x_type == DType::kFloat16) return convert_values<__half, 1, kMostHalves, Halves>(a, s, stages);
    if (a.x_type == DType::kBFloat16) return convert_values<__nv_bfloat16, 1, kMostHalves, Halves>(a, s, stages);
  }
  convert_values<float, Products, kMost, Halves>(a, s, stages);
}

#endif

}  // namespace strand::layers::wgmma
