#pragma once
// The seven warps of cuda.wgmma that turn raw rows into octets of float16 pairs.

#include "layers/conv1d/conv1d_wgmma_octet.cuh"

namespace strand::layers::wgmma {

#ifdef STRAND_WGMMA

// The seven warps that convert, and nobody else.
__device__ __forceinline__ void converters_meet() {
  asm volatile("bar.sync 1, %0;" ::"n"(kConverterThreads) : "memory");
}

// The power of two that brings the largest magnitude into [2^14, 2^15), where float16 pairs keep the most bits; 0 where
// it is not finite or too far from 1. Contains a barrier of the converters.
inline __device__ float stage_scale(const Shared& s, int slot, int parity, float largest_magnitude) {
  constexpr int kMaxScaleExponent = 90;
  const int warp = threadIdx.x / 32 - 8;
  uint32_t* by_warp = s.largest(parity);
  uint32_t largest = __reduce_max_sync(~0U, __float_as_uint(largest_magnitude));
  if (threadIdx.x % 32 == 0) by_warp[warp] = largest;
  converters_meet();
  largest = __reduce_max_sync(~0U, by_warp[min(static_cast<int>(threadIdx.x) % 8, 6)]);
  const int exponent = largest == 0 ? 14 : static_cast<int>(largest >> 23) - 127;
  const bool scalable = exponent >= -kMaxScaleExponent && exponent <= kMaxScaleExponent;
  const int shift = scalable ? 14 - exponent : 0;
  if (threadIdx.x == 256) s.unscale(slot) = scalable ? __int_as_float((127 - shift) << 23) : 0.0F;
  return __int_as_float((127 + shift) << 23);
}

// Octets of 8 channels at a position, or if folded of 8 neighbours in a channel, over the raw rows that they are made
// of. A thread has the same ones in all stages, one a round, so that where each comes from and goes to is found once.
// Threads that have none in a round make the stage's last one once more: a round has no branches, but for warps
// that have none in the last two.
template <class X, bool Folded, int Rounds>
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
      const int item = min(thread + i * kConverterThreads, g.items() - 1);
      const auto octet = static_cast<int>(a.positions_by.divide(static_cast<uint32_t>(item)));
      if constexpr (Folded) {
        from[i] = g.raw_place(octet * 8 / g.fold, octet * 8 % g.fold + (item - octet * g.octet_rows) * g.fold) * kBytes;
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
      takes[i] = thread / 32 * 32 + (Rounds - 2 + i) * kConverterThreads < g.items();
    }
  }

  using Values = Octet<X>[Rounds];

  // each(i) for all rounds in which this warp takes part.
  template <class Each>
  __device__ __forceinline__ void rounds(const Each& each) const {
#pragma unroll
    for (int i = 0; i < Rounds; ++i) {
      if (i < Rounds - 2 || takes[i - Rounds + 2]) each(i);
    }
  }

  __device__ __forceinline__ void read_folded(const Arguments& a, uint32_t raw, const Leads<X>& lead, Values& v) const {
    const uint32_t leads = lead.first | lead.step;
    if (leads == 0) return rounds([&](int i) { v[i].read(raw + from[i]); });
    rounds([&](int i) {
      const uint32_t channel = a.positions_by.divide(to[i] / 16) * 8 / a.g.fold;
      const uint32_t first = raw + from[i] + lead(channel) * kBytes;
      if (kBytes == 2 && (leads & 3) == 0) {
        v[i].read_in_two(first);
      } else {
        v[i].gather([&](int c) { return first + c * kBytes; });
      }
    });
  }

  __device__ __forceinline__ void read_rows(const Arguments& a, uint32_t raw, const Leads<X>& lead, Values& v) const {
    const int row_bytes = a.g.row_values * kBytes;
    if (lead.step == 0) {  // what is added to an address is the same for all threads then
      rounds([&](int i) {
        const uint32_t first = raw + lead.first * kBytes + from[i];
        v[i].gather([&](int c) { return first + c * row_bytes; });
      });
      return;
    }
    uint32_t rows[8];
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      rows[c] = raw + c * row_bytes + lead(c) * kBytes;
      asm volatile("" : "+r"(rows[c]));  // once a stage, not once an item
    }
    rounds([&](int i) { v[i].gather([&](int c) { return rows[c] + from[i]; }); });
  }

  // All raw values are read before the first octet is written: there is a barrier in stage_scale.
  template <int Products>
  __device__ __forceinline__ void convert(const Arguments& a, const Shared& s, const Leads<X>& lead, int slot,
                                          int parity) const {
    Values v;
    if constexpr (Folded) {
      read_folded(a, shared_address(s.slot(slot)), lead, v);
    } else {
      read_rows(a, shared_address(s.slot(slot)), lead, v);
    }
    using Largest = typename Octet<X>::Largest;
    Largest largest{};
    rounds([&](int i) { largest = Octet<X>::larger_of(largest, v[i].largest()); });
    const float scale = stage_scale(s, slot, parity, Octet<X>::magnitude(largest));
    rounds([&](int i) { v[i].template store<Products>(s.slot(slot), a.g.part_bytes, to[i], scale); });
  }
};

// Octets of 8 (channel, tap) pairs. Eight lanes make as many rows of one: at large strides a warp's lanes would all
// read from few banks if they went along the rows. A thread's octets and rows are the same in all stages.
template <class X, int Products>
struct FlatItems {
  static constexpr int kLanes = 8;
  static constexpr int kUnits = kConverterThreads / kLanes;  // of an octet's eight rows, at a time
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
    step = {kUnits % g.octets, kUnits / g.octets};
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
                                          int parity) const {
    const Geometry& g = a.g;
    const int thread = threadIdx.x - 256;
    const uint32_t raw = shared_address(s.slot(slot));
    // With what lies between rows, which are their neighbours.
    typename Octet<X>::Largest largest{};
    for (int i = thread; i < g.stage_channels * g.row_values / kPiece<X>; i += kConverterThreads) {
      largest = Octet<X>::of_raw(largest, raw + i * 16);
    }
    const float scale = stage_scale(s, slot, parity, Octet<X>::magnitude(largest));
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
        v[i].template store<Products>(s.slot(slot) + g.raw_bytes, g.part_bytes, row * 16, scale);
      }
    }
  }
};

// Walks over all stages of this block's `tiles`: convert(lead, slot, parity).
template <class X, typename Convert>
__device__ __forceinline__ void convert_stages(const Arguments& a, const Shared& s, int tiles, const Convert& convert) {
  const int stages = tiles * a.g.stages();
  Cursor cursor;
  for (int stage = 0; stage < stages; ++stage) {
    wait(s.raw_full(cursor.slot), cursor.parity);
    const uint32_t first_lead = s.first_lead(cursor.slot);
    const Leads<X> lead{first_lead & Leads<X>::kMask, static_cast<uint32_t>(a.p.length) & Leads<X>::kMask};
    if ((first_lead & kEdge) != 0) {
      fill_edge_rows(a.g, s.edge(cursor.slot), lead, shared_address(s.slot(cursor.slot)));
      converters_meet();
    }
    convert(lead, cursor.slot, stage % 2);
    fence_shared_writes();
    __syncwarp();
    if (threadIdx.x % 32 == 0) arrive(s.full(cursor.slot));
    cursor.advance(a.g.slots);
  }
}

template <class X, int Products, bool Folded, int Rounds>
__device__ __forceinline__ void convert_rounds(const Arguments& a, const Shared& s, int tiles) {
  const SharedItems<X, Folded, Rounds> items(a);
  convert_stages<X>(a, s, tiles, [&](const Leads<X>& lead, int slot, int parity) {
    items.template convert<Products>(a, s, lead, slot, parity);
  });
}

template <class X, int Products, bool Folded>
__device__ __forceinline__ void convert_shared(const Arguments& a, const Shared& s, int tiles) {
  constexpr int kFew = 3;
  if constexpr (!Folded) {  // whose stages are seldom small
    if (a.g.items() <= kFew * kConverterThreads) return convert_rounds<X, Products, Folded, kFew>(a, s, tiles);
  }
  convert_rounds<X, Products, Folded, kItemsPerThread>(a, s, tiles);
}

template <class X, int Products>
__device__ __forceinline__ void convert_values(const Arguments& a, const Shared& s, int tiles) {
  if (a.g.flat) {
    const FlatItems<X, Products> items(a.g);
    convert_stages<X>(a, s, tiles,
                      [&](const Leads<X>& lead, int slot, int parity) { items.convert(a, s, lead, slot, parity); });
  } else if (a.g.fold > 1) {
    convert_shared<X, Products, true>(a, s, tiles);
  } else {
    convert_shared<X, Products, false>(a, s, tiles);
  }
}

template <int Products, bool Halves, bool Carries>
__device__ __forceinline__ void convert(const Arguments& a, const Shared& s) {
  const int tiles = Walk<Carries>(a).tiles();
  if constexpr (Halves) {
    if (a.x_type == DType::kFloat16) return convert_values<__half, 1>(a, s, tiles);
    if (a.x_type == DType::kBFloat16) return convert_values<__nv_bfloat16, 1>(a, s, tiles);
  }
  convert_values<float, Products>(a, s, tiles);
}

#endif

}  // namespace strand::layers::wgmma
