// Windows of live streams on CUDA: a block takes up to 256 elements of one row (a stream's channel), so that the
// clock's words and the divisions are a block's and not an element's; neighbours read and write neighbouring elements.
// The places read from the ring and those written to it are of different times of one span, so that one launch does
// both. Limits: elements of 4 or 8 bytes; 64-bit sizes; the grid rides on x. Bound by bytes and, for few streams, by
// the launch.

#include "engine/live_clock.h"
#include "layers/cuda_launch.cuh"
#include "layers/implementation_list.h"
#include "layers/stream_window/stream_window.h"

namespace strand::layers {
namespace {

template <class Element>
struct Memory {
  const Element* fresh;  // [all_rows, fresh, inner]
  Element* window;       // [all_rows, window, inner]
  Element* ring;         // [all_rows, span, inner]
  Element* quiet;        // [all_rows, fresh, inner]
};

// Elements a row: of the window, then of the chunk those that are kept, then the chunk where it is to be remembered.
int64_t row_elements(const StreamWindowProblem& p) {
  const int64_t kept = p.kept() > 0 ? p.kept() : 0;
  return checked_mul(checked_add(checked_add(p.window, kept), p.quiet ? p.fresh : 0), p.inner);
}

template <class Element>
__global__ void __launch_bounds__(cuda::kThreads)
    stream_window(StreamWindowProblem p, LiveClock clock, int64_t tiles, Memory<Element> memory) {
  const int64_t row = blockIdx.x / tiles;
  const int64_t element = (blockIdx.x - row * tiles) * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  const int64_t stream = row / p.rows;
  const int64_t first = clock.tick() * p.fresh + p.offset;
  const int64_t begin = clock.begin(p.slot, p.streams, stream) - first;
  const int64_t end = clock.end(p.slot, p.streams, stream) - first;
  const int64_t turn = first % p.span();  // the place of position 0
  const Element* fresh = memory.fresh + row * p.fresh * p.inner;
  Element* ring = memory.ring + row * p.span() * p.inner;
  Element* quiet = memory.quiet + row * p.fresh * p.inner;
  // The place of a position of the span.
  const auto place = [&](int64_t position) {
    const int64_t at = turn + position;
    return at < p.span() ? at : at - p.span();
  };
  int64_t j = p.inner == 1 ? element : element / p.inner;
  const int64_t c = element - j * p.inner;
  if (j < p.window) {
    const WindowPoint point = window_point(p, p.skipped + j, begin, end);
    Element value{};
    switch (point.source) {
      case WindowSource::kZero:
        break;
      case WindowSource::kFresh:
        value = fresh[point.at * p.inner + c];
        break;
      case WindowSource::kRing:
        value = ring[place(point.at) * p.inner + c];
        break;
      case WindowSource::kQuiet:
        value = quiet[point.at * p.inner + c];
        break;
    }
    memory.window[(row * p.window + j) * p.inner + c] = value;
    return;
  }
  j -= p.window;
  const int64_t kept = p.kept() > 0 ? p.kept() : 0;
  if (j < kept) {
    const int64_t position = p.kept_from() + j;
    ring[place(position) * p.inner + c] = fresh[(position - p.past()) * p.inner + c];
    return;
  }
  j -= kept;
  if (p.quiet && j < p.fresh && clock.listens()) quiet[j * p.inner + c] = fresh[j * p.inner + c];
}

template <class Element>
void launch(const Context& context, const StreamWindowProblem& p, const Bindings& bindings) {
  const int64_t elements = row_elements(p);
  if (p.all_rows() == 0 || elements == 0) return;
  const int64_t threads = std::min<int64_t>(round_up(elements, 32), cuda::kThreads);
  const int64_t tiles = ceil_div(elements, threads);
  const unsigned grid = cuda::grid_size(checked_mul(p.all_rows(), tiles), "stream window");
  const Memory<Element> memory{
      static_cast<const Element*>(bindings.inputs[0].data), static_cast<Element*>(bindings.outputs[0].data),
      reinterpret_cast<Element*>(bindings.state),
      reinterpret_cast<Element*>(bindings.state + ring_bytes(p, static_cast<int64_t>(sizeof(Element))))};
  stream_window<Element>
      <<<grid, static_cast<unsigned>(threads), 0, cuda::stream(context)>>>(p, LiveClock{bindings.clock}, tiles, memory);
  cuda::check_launch("stream window");
}

}  // namespace

void stream_window_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const StreamWindowProblem problem = static_cast<const StreamWindow&>(layer).problem(args.inputs[0]);
  const int64_t element = size_of(args.inputs[0].dtype);
  const bool fits = element == 4 || element == 8;
  const std::string declined = fits ? "" : "elements of " + std::to_string(element) + " bytes, expected 4 or 8";
  list.push_back({"cuda.native", DeviceType::kCuda, declined, [problem, element] {
                    return stream_window_kernel(problem, element, element == 4 ? launch<uint32_t> : launch<uint64_t>);
                  }});
}

}  // namespace strand::layers
