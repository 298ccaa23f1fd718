#include "graphs/verify.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <set>

#include "engine/checked.h"
#include "graphs/live.h"
#include "graphs/signal.h"
#include "graphs/stream.h"
#include "graphs/tile.h"

namespace strand::graphs {
namespace {

constexpr const char* kStartNames[] = {"padding", "silence", "context"};  // by StreamStart

using Signals = std::vector<Tensor>;  // by input or output

std::vector<TensorView> views_of(const Signals& tensors) {
  std::vector<TensorView> views;
  for (const Tensor& tensor : tensors) views.push_back(tensor.view());
  return views;
}

bool timed(const Tensor& tensor) { return tensor.type().time_axis != TensorType::kNoTime; }

int64_t length_of(const Tensor& signal) { return signal.shape()[signal.type().time_axis]; }

// The inputs in the graph's order, with their time axes.
Signals signals_of(const Graph& graph, const TensorMap& inputs, const CompileOptions& options) {
  const std::vector<TensorType> types = infer_types(graph, options.dimensions, DType::kFloat32);
  Signals signals;
  for (const GraphInput& input : graph.inputs) {
    Tensor signal(types[static_cast<size_t>(input.value)]);
    const auto found = inputs.find(input.description.name);
    if (found == inputs.end()) throw Error(ErrorCategory::kSchema, "input '" + input.description.name + "' is missing");
    if (found->second.shape() != signal.shape()) {
      throw Error(ErrorCategory::kShape, "input '" + input.description.name + "' has shape " +
                                             to_string(found->second.shape()) + ", expected " +
                                             to_string(signal.shape()));
    }
    convert(found->second.view(), signal.view());
    signals.push_back(std::move(signal));
  }
  return signals;
}

class Verifier {
 public:
  Verifier(const Network& network, const TensorMap& inputs, const VerifyOptions& options)
      : network_(network),
        options_(options),
        symbol_(time_symbol(network.graph())),
        inputs_(signals_of(network.graph(), inputs, options.compile)),
        length_(length_of(*std::ranges::find_if(inputs_, timed))) {}

  std::vector<VerifiedRun> run(const TensorMap& inputs) {
    for (const Device device : options_.devices) {
      compile_ = options_.compile;
      compile_.device = device;
      offline_ = run_whole(inputs_);
      double bound = 0;
      if (device.is_cuda()) {
        const Truth truth = find_truth(network_, inputs, {compile_, options_.threads, {}});
        for (const auto& [name, allowance] : truth.allowances) bound = std::max(bound, allowance);
      }
      for (const int64_t tile : options_.tiles) {
        if (tile < length_) verify_tiles(tile, bound);
      }
      if (device.is_cpu()) verify_streams();
      verify_live_streams(bound);
    }
    return std::move(runs_);
  }

 private:
  Signals run_whole(const Signals& inputs) const {
    CompileOptions compile = compile_;
    compile.dimensions[symbol_] = length_of(*std::ranges::find_if(inputs, timed));
    Session session(network_.compile(compile), options_.threads);
    return session.run_to_host(views_of(inputs));
  }

  // Runs one way, whose body gives the outputs that should be `expected`.
  template <class Body>
  void record(const std::string& way, double bound, Body body) {
    if (options_.progress) options_.progress(way);
    VerifiedRun run{compile_.device, way, "", 0, 0, 0, bound};
    try {
      body(run);
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::kUnsupported && error.category() != ErrorCategory::kLimit) throw;
      run.refused = error.what();
    }
    runs_.push_back(std::move(run));
  }

  static void compare(const Tensor& found, const Tensor& expected, VerifiedRun& run) {
    if (found.shape() != expected.shape()) {
      run.largest = INFINITY;
      return;
    }
    const Tensor left = found.to(DType::kFloat64);
    const Tensor right = expected.to(DType::kFloat64);
    const auto a = left.as<const double>();
    const auto b = right.as<const double>();
    run.compared += static_cast<int64_t>(a.size());
    for (size_t i = 0; i < a.size(); ++i) {
      if (std::bit_cast<uint64_t>(a[i]) == std::bit_cast<uint64_t>(b[i]) || (std::isnan(a[i]) && std::isnan(b[i])))
        continue;
      ++run.different;
      const double difference = std::fabs(a[i] - b[i]);
      run.largest = std::max(run.largest, std::isfinite(difference) ? difference : double{INFINITY});
    }
  }

  void verify_tiles(int64_t tile, double bound) {
    record("tiles of " + std::to_string(tile), bound, [&](VerifiedRun& run) {
      TiledSession session(network_, compile_, tile, options_.threads);
      Signals outputs;
      for (const Tensor& output : offline_) outputs.emplace_back(output.type());
      const int64_t window = session.tiling().window;
      session.run(
          [&](size_t input, int64_t begin, const TensorView& target) {
            const Tensor& whole = inputs_[input];
            convert(timed(whole) ? cut_times(whole.view(), begin, begin + window).view() : whole.view(), target);
          },
          [&](size_t output, int64_t begin, const TensorView& stretch) {
            put_times(stretch, outputs[output].view(), begin);
          });
      for (size_t i = 0; i < outputs.size(); ++i) compare(outputs[i], offline_[i], run);
    });
  }

  void verify_streams() {
    for (const StreamStart start : {StreamStart::kPadding, StreamStart::kSilence, StreamStart::kContext}) {
      for (const int64_t chunk : options_.chunks) {
        verify_stream(start, chunk, "of " + std::to_string(chunk), [chunk] { return chunk; });
      }
      // Of all sizes, and each a few times: pushes like the one before go another way than others.
      std::mt19937_64 random(options_.seed);
      const int64_t most = std::min<int64_t>(length_, 1000);
      int64_t size = 0;
      uint64_t times = 0;
      verify_stream(start, most, "at random", [&] {
        if (times == 0) {
          size = static_cast<int64_t>(random() % static_cast<uint64_t>(most + 1) >> random() % 8);
          times = 1 + random() % 6;
        }
        --times;
        return size;
      });
      verify_stream(start, length_, "of the whole", [&] { return length_; });
    }
  }

  // `next` gives the size of the next push, at most max_chunk.
  template <class Next>
  void verify_stream(StreamStart start, int64_t max_chunk, const std::string& chunks, Next next) {
    record(std::string("stream, ") + kStartNames[static_cast<size_t>(start)] + ", chunks " + chunks, 0,
           [&](VerifiedRun& run) {
             max_chunk = std::max<int64_t>(std::min(max_chunk, length_), 1);
             CompileOptions compile = compile_;
             compile.dimensions[symbol_] = length_;
             StreamSession session(compile_stream(network_, compile, max_chunk),
                                   {.max_chunk = max_chunk, .start = start, .threads = options_.threads});
             const Signals expected = expected_of(session.times(), start);
             Signals outputs;
             for (const Tensor& output : expected) outputs.emplace_back(output.type());
             std::vector<int64_t> ends(outputs.size());
             const auto take = [&](std::span<const TensorView> stretches) {
               for (size_t i = 0; i < stretches.size(); ++i) {
                 const int64_t size = stretches[i].shape()[stretches[i].type.time_axis];
                 if (ends[i] + size <= length_of(outputs[i])) put_times(stretches[i], outputs[i].view(), ends[i]);
                 ends[i] += size;
               }
             };
             for (int64_t t = 0; t < length_;) {
               const int64_t count = std::min({next(), max_chunk, length_ - t});
               const Signals pieces = pieces_of(t, t + count);
               take(session.push(views_of(pieces)));
               t += count;
             }
             take(session.finish());
             for (size_t i = 0; i < outputs.size(); ++i) {
               if (ends[i] != length_of(outputs[i])) run.largest = INFINITY;
               compare(outputs[i], expected[i], run);
             }
           });
  }

  // The inputs' batch as live streams, in chunks that are multiples of the period.
  void verify_live_streams(double bound) {
    int64_t period = 1;
    try {
      CompileOptions compile = compile_;
      compile.dimensions[symbol_] = length_;
      period = StreamTimes(*network_.compile(compile)).period();
    } catch (const Error& error) {  // each way below says why
      if (error.category() != ErrorCategory::kUnsupported) throw;
    }
    std::set<int64_t> chunks;
    for (const int64_t chunk : options_.chunks) chunks.insert(round_up(std::min(chunk, length_), period));
    for (const StreamStart start : {StreamStart::kPadding, StreamStart::kSilence, StreamStart::kContext}) {
      for (const int64_t chunk : chunks) verify_live(start, chunk, bound);
    }
  }

  void verify_live(StreamStart start, int64_t chunk, double bound) {
    record("live, " + std::string(kStartNames[static_cast<size_t>(start)]) + ", chunks of " + std::to_string(chunk),
           bound, [&](VerifiedRun& run) {
             CompileOptions compile = compile_;
             compile.dimensions[symbol_] = length_;
             const int64_t batch = std::ranges::find_if(inputs_, timed)->shape()[0];
             LiveStreams live(compile_live(network_, compile, {batch, chunk, start}), options_.threads);
             const Signals expected = expected_of(live.times(), start);
             Signals outputs;
             std::vector<int64_t> skipped;  // times that stand before the first
             for (size_t i = 0; i < expected.size(); ++i) {
               outputs.emplace_back(expected[i].type());
               skipped.push_back(live.delay(i) + (start == StreamStart::kContext ? live.times().clean_from(i) : 0));
             }
             std::vector<int64_t> ends(outputs.size());
             const auto take = [&](size_t i, const TensorView& made) {
               const int64_t size = made.shape()[made.type.time_axis];
               const int64_t begin = std::clamp<int64_t>(skipped[i] - ends[i], 0, size);
               const int64_t end = std::clamp<int64_t>(skipped[i] + length_of(outputs[i]) - ends[i], begin, size);
               put_times(cut_times(made, begin, end).view(), outputs[i].view(), ends[i] + begin - skipped[i]);
               ends[i] += size;
             };
             int64_t t = 0;
             for (; t + chunk <= length_; t += chunk) {
               const Signals pieces = pieces_of(t, t + chunk);
               const std::span<const TensorView> made = live.push(views_of(pieces));
               for (size_t i = 0; i < made.size(); ++i) take(i, made[i]);
             }
             const Signals pieces = pieces_of(t, length_);
             const std::vector<Tensor> tails = live.finish(views_of(pieces));
             for (size_t i = 0; i < outputs.size(); ++i) {
               take(i, tails[i].view());
               if (length_of(outputs[i]) > 0 && ends[i] < skipped[i] + length_of(outputs[i])) run.largest = INFINITY;
               compare(outputs[i], expected[i], run);
             }
           });
  }

  Signals pieces_of(int64_t begin, int64_t end) const {
    Signals pieces;
    for (const Tensor& input : inputs_) {
      pieces.push_back(timed(input) ? cut_times(input.view(), begin, end) : copy_of(input.view()));
    }
    return pieces;
  }

  // The offline run as a stream that starts so should have it.
  Signals expected_of(const StreamTimes& times, StreamStart start) const {
    Signals expected;
    if (start == StreamStart::kPadding) {
      for (const Tensor& output : offline_) expected.push_back(copy_of(output.view()));
    } else if (start == StreamStart::kContext) {
      StreamState state = times.start();
      times.advance(state, length_);
      for (size_t i = 0; i < offline_.size(); ++i) {
        const int64_t end = times.known(i, state);
        expected.push_back(cut_times(offline_[i].view(), std::min(times.clean_from(i), end), end));
      }
    } else {
      const int64_t silence = times.memory();
      Signals longer;
      for (const Tensor& input : inputs_) {
        if (!timed(input)) {
          longer.push_back(copy_of(input.view()));
          continue;
        }
        TensorType type = input.type();
        type.shape.set(type.time_axis, checked_add(silence, length_));
        Tensor signal(type);
        std::memset(signal.view().data, 0, static_cast<size_t>(type.bytes()));
        put_times(input.view(), signal.view(), silence);
        longer.push_back(std::move(signal));
      }
      const Signals outputs = run_whole(longer);
      for (size_t i = 0; i < outputs.size(); ++i) {
        const StreamTimes::Rate rate = times.rate(i);
        const int64_t begin = silence / rate.inputs * rate.outputs;
        expected.push_back(cut_times(outputs[i].view(), std::min(begin, length_of(outputs[i])), length_of(outputs[i])));
      }
    }
    return expected;
  }

  const Network& network_;
  const VerifyOptions& options_;
  std::string symbol_;
  Signals inputs_;
  int64_t length_;
  CompileOptions compile_;
  Signals offline_;
  std::vector<VerifiedRun> runs_;
};

}  // namespace

std::vector<VerifiedRun> verify(const Network& network, const TensorMap& inputs, const VerifyOptions& options) {
  return Verifier(network, inputs, options).run(inputs);
}

}  // namespace strand::graphs
