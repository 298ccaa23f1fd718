#include "layers/stream_window/stream_window.h"

#include <cstring>

#include "engine/checked.h"
#include "engine/error.h"
#include "engine/live_clock.h"
#include "layers/axes.h"
#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

// One row of elements of `inner` bytes a time.
void run_row(const StreamWindowProblem& p, const LiveClock& clock, const Bindings& bindings, int64_t element,
             int64_t row) {
  const int64_t inner = p.inner * element;
  const int64_t stream = row / p.rows;
  const int64_t first = clock.tick() * p.fresh + p.offset;
  const int64_t begin = clock.begin(p.slot, p.streams, stream) - first;
  const int64_t end = clock.end(p.slot, p.streams, stream) - first;
  const auto* fresh = static_cast<const std::byte*>(bindings.inputs[0].data) + row * p.fresh * inner;
  auto* const window = static_cast<std::byte*>(bindings.outputs[0].data) + row * p.window * inner;
  std::byte* const ring = bindings.state + row * p.span() * inner;
  std::byte* const quiet = bindings.state + ring_bytes(p, element) + row * p.fresh * inner;
  const auto place = [&](int64_t position) { return ring + (first + position) % p.span() * inner; };
  const auto bytes = static_cast<size_t>(inner);
  for (int64_t j = 0; j < p.window; ++j) {
    const WindowPoint point = window_point(p, p.skipped + j, begin, end);
    std::byte* const target = window + j * inner;
    switch (point.source) {
      case WindowSource::kZero:
        std::memset(target, 0, bytes);
        break;
      case WindowSource::kFresh:
        std::memcpy(target, fresh + point.at * inner, bytes);
        break;
      case WindowSource::kRing:
        std::memcpy(target, place(point.at), bytes);
        break;
      case WindowSource::kQuiet:
        std::memcpy(target, quiet + point.at * inner, bytes);
        break;
    }
  }
  for (int64_t j = p.kept_from(); j < p.span(); ++j) {
    std::memcpy(place(j), fresh + (j - p.past()) * inner, bytes);
  }
  if (p.quiet && clock.listens()) std::memcpy(quiet, fresh, static_cast<size_t>(p.fresh * inner));
}

}  // namespace

int64_t ring_bytes(const StreamWindowProblem& p, int64_t element) {
  return checked_mul(checked_mul(p.all_rows(), p.kept() > 0 ? p.span() : 0), checked_mul(p.inner, element));
}

int64_t window_state_bytes(const StreamWindowProblem& p, int64_t element) {
  const int64_t quiet = checked_mul(checked_mul(p.all_rows(), p.quiet ? p.fresh : 0), checked_mul(p.inner, element));
  return checked_add(ring_bytes(p, element), quiet);
}

StreamWindowProblem StreamWindow::problem(const TensorType& input) const {
  if (input.time_axis < 1 || input.shape[input.time_axis] != problem_.fresh) {
    throw Error(ErrorCategory::kUnsupported, "live streams stand on the first axis and chunks of " +
                                                 std::to_string(problem_.fresh) + " times on a later one, found " +
                                                 to_string(input));
  }
  StreamWindowProblem p = problem_;
  p.streams = input.shape[0];
  p.rows = input.shape.elements(1, input.time_axis);
  p.inner = input.shape.elements(input.time_axis + 1, input.shape.rank());
  return p;
}

std::vector<TensorType> StreamWindow::infer(std::span<const TensorType> inputs) const {
  TensorType output = inputs[0];
  output.shape.set(output.time_axis, problem(output).window);
  return {output};
}

std::vector<Implementation> StreamWindow::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  stream_window_cuda(*this, args, list);
  const int64_t element = size_of(args.inputs[0].dtype);
  const auto prepare = [p = problem(args.inputs[0]), element] {
    return stream_window_kernel(
        p, element, [element](const Context& context, const StreamWindowProblem& problem, const Bindings& bindings) {
          const LiveClock clock{bindings.clock};
          context.parallel_for(problem.all_rows(), kGrain / (problem.window * problem.inner + 1) + 1,
                               [&](int64_t begin, int64_t end) {
                                 for (int64_t row = begin; row < end; ++row) {
                                   run_row(problem, clock, bindings, element, row);
                                 }
                               });
        });
  };
  for (const char* name : {"cpu.native", "cpu.reference"}) list.push_back({name, DeviceType::kCpu, "", prepare});
  return list;
}

// Compilers of live streams put it in; no description names it.
void register_stream_window(LayerRegistry& registry);
void register_stream_window(LayerRegistry& /*registry*/) {}

}  // namespace strand::layers
