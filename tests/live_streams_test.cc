// Live streams in chunks of one length, on the CPU and on CUDA, against each stream's signal by itself: on the CPU bit
// for bit, on CUDA within the network's allowance. What was there before is NaN.

#include <limits>

#include "graphs/compare.h"
#include "graphs/live.h"
#include "tests/cuda_required.h"
#include "tests/stream_check.h"

namespace strand::testing {
namespace {

graphs::Network network_of(const std::string& layers, int channels = 2) {
  return graphs::Network::from_memory("strand: 1\nname: t\nweights: {seed: 3}\ninputs:\n  x: {shape: [batch, " +
                                          std::to_string(channels) +
                                          ", length], defaults: {batch: 1, length: 64}}\nlayers:\n" + layers,
                                      {});
}

std::string conv(const std::string& name, const std::string& fields, int in = 2, int out = 2) {
  return "  - {name: " + name + ", type: Conv1d, in_channels: " + std::to_string(in) +
         ", out_channels: " + std::to_string(out) + ", " + fields + "}\n";
}

// Dilated, gated, with skips, as Neural Amp Modeler's.
std::string wavenet() {
  return conv("in", "kernel_size: 1", 1, 8) + conv("a", "kernel_size: 3, dilation: 1, padding: causal", 8, 16) +
         "  - {name: ag, type: GLU, dim: 1}\n" + conv("a1", "kernel_size: 1", 8, 8) +
         "  - {name: ar, type: Add, inputs: [a1, in]}\n" +
         conv("b", "kernel_size: 3, dilation: 37, padding: causal", 8, 8) + "  - {name: bt, type: Tanh}\n" +
         conv("b1", "kernel_size: 1", 8, 8) + "  - {name: br, type: Add, inputs: [b1, ar]}\n" +
         conv("c", "kernel_size: 2, dilation: 130, padding: causal", 8, 8) + "  - {name: ct, type: Tanh}\n" +
         "  - {name: skip, type: Add, inputs: [ct, bt, ag]}\n" + conv("head", "kernel_size: 1", 8, 1);
}

struct Stream {
  int64_t begun = 0;  // pushes before its first
  Tensor signal;      // [1, C, its samples]
};

constexpr StreamStart kStarts[] = {StreamStart::kPadding, StreamStart::kSilence, StreamStart::kContext};

// Three streams, of which one is reset after it was given NaN, and one in the middle of what it had.
class LiveCheck {
 public:
  LiveCheck(const graphs::Network& network, Device device, StreamStart start, int64_t chunk)
      : network_(network),
        channels_(network.graph().inputs[0].description.shape[1].size),
        chunk_(chunk),
        start_(start) {
    options_.device = device;
    live_ = std::make_unique<LiveStreams>(graphs::compile_live(network, options_, {3, chunk, start}));
  }

  void run(int64_t pushes, int64_t rest, bool once = false) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    Tensor poison = random_tensor({3, channels_, chunk_});
    std::ranges::fill(poison.as<float>(), nan);
    for (int i = 0; i < 5 && !once; ++i) live_->push(std::vector{poison.view()});
    live_->reset();

    const int64_t begins[] = {0, pushes / 3, pushes / 2};
    std::vector<Stream> streams;
    for (const int64_t begun : begins) {
      streams.push_back({begun, random_tensor({1, channels_, (pushes - begun) * chunk_ + rest})});
    }
    std::vector<std::vector<Collected>> outputs(3, std::vector<Collected>(live_->plan().outputs.size()));
    const auto collect = [&](std::span<const TensorView> views, int64_t push) {
      for (size_t n = 0; n < 3; ++n) {
        for (size_t i = 0; i < views.size() && push >= streams[n].begun; ++i) {
          outputs[n][i].add(row_of(views[i], static_cast<int64_t>(n)));
        }
      }
    };
    for (int64_t push = 0; push < pushes; ++push) {
      Tensor chunk = random_tensor({3, channels_, chunk_});
      for (int64_t n = 0; n < 3; ++n) {
        const Stream& stream = streams[static_cast<size_t>(n)];
        if (push == stream.begun && push > 0) live_->reset(n);
        const auto target = chunk.as<float>().subspan(static_cast<size_t>(n * channels_ * chunk_));
        if (push >= stream.begun) {
          const Tensor piece = times_of(stream.signal, (push - stream.begun) * chunk_, chunk_);
          std::ranges::copy(piece.as<const float>(), target.begin());
        } else if (n == 1) {
          std::fill_n(target.begin(), channels_ * chunk_, nan);
        }
      }
      collect(live_->push(std::vector{chunk.view()}), push);
    }
    Tensor last({DType::kFloat32, {3, channels_, rest}, 2});
    for (size_t n = 0; n < 3; ++n) {
      const Tensor piece = times_of(streams[n].signal, (pushes - begins[n]) * chunk_, rest);
      std::ranges::copy(piece.as<const float>(), last.as<float>().begin() + static_cast<int64_t>(n) * channels_ * rest);
    }
    const std::vector<Tensor> tails = live_->finish(std::vector{last.view()});
    std::vector<TensorView> views;
    for (const Tensor& tail : tails) views.push_back(tail.view());
    collect(views, pushes);
    for (size_t n = 0; n < 3; ++n) check(streams[n], outputs[n], static_cast<int>(n));
    CHECK_THROWS_WITH_AS(live_->push(std::vector{poison.view()}), "push after finish; reset() begins new signals",
                         Error);
  }

  LiveStreams& live() { return *live_; }

 private:
  static TensorView row_of(TensorView view, int64_t n) {
    Shape shape = view.shape();
    shape.set(0, 1);
    view.data = static_cast<std::byte*>(view.data) + n * (view.type.bytes() / view.shape()[0]);
    view.type.shape = shape;
    return view;
  }

  void check(const Stream& stream, const std::vector<Collected>& found, int n) {
    graphs::CompileOptions options;
    const int64_t length = stream.signal.shape()[2];
    options.dimensions["length"] = length;
    StreamSession session(graphs::compile_stream(network_, options, chunk_), {.max_chunk = chunk_, .start = start_});
    const auto expected = strand::testing::stream(session, stream.signal, {chunk_});
    std::map<std::string, double, std::less<>> allowances;
    if (options_.device.is_cuda()) {
      TensorMap inputs;
      inputs.emplace("x", copy_of(stream.signal.view()));
      allowances = graphs::find_truth(network_, inputs, {options, 1, {}}).allowances;
    }
    for (size_t i = 0; i < found.size(); ++i) {
      const auto all = found[i].values();
      const int64_t rows = live_->plan().output_type(i).shape[1];
      const auto times = static_cast<int64_t>(all.size()) / rows;
      const int64_t wanted = static_cast<int64_t>(expected[i].size()) / rows;
      const int64_t from =
          live_->delay(i) + (start_ == StreamStart::kContext ? session.times().clean_from(i) : int64_t{0});
      CAPTURE(n);
      CAPTURE(i);
      CAPTURE(length);
      CAPTURE(chunk_);
      REQUIRE((wanted == 0 || times >= from + wanted));
      // Twice the allowance: either side may err by one.
      double bound = 0;
      for (const auto& [name, allowance] : allowances) bound = std::max(bound, 2 * allowance);
      double worst = 0;
      int64_t strays = 0;
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t t = 0; t < times; ++t) {
          const float value = all[static_cast<size_t>(row * times + t)];
          if (t < from || t >= from + wanted) {
            strays += value != 0 ? 1 : 0;
            continue;
          }
          const double error =
              std::fabs(static_cast<double>(value) - expected[i][static_cast<size_t>(row * wanted + t - from)]);
          worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(worst, error);
        }
      }
      CHECK_MESSAGE(worst <= bound, "seed " << test_seed() << ", bound " << bound);
      CHECK(strays == 0);
    }
  }

  const graphs::Network& network_;
  int64_t channels_;
  int64_t chunk_;
  StreamStart start_;
  graphs::CompileOptions options_;
  std::unique_ptr<LiveStreams> live_;
};

void check_on(Device device) {
  const struct {
    std::string layers;
    int channels;
    int64_t period;
  } cases[] = {
      {wavenet(), 1, 1},
      {conv("a", "kernel_size: 1"), 2, 1},
      {conv("a", "kernel_size: 5, padding: [7, 9], dilation: 2"), 2, 1},
      {conv("a", "kernel_size: 4, padding: 3, padding_mode: replicate") + conv("b", "kernel_size: 3, padding: valid"),
       2, 1},
      {conv("a", "kernel_size: 5, padding: 2") + conv("b", "kernel_size: 31, dilation: 2, padding: 30") +
           "  - {name: c, type: Add, inputs: [b, a, x]}\n" + conv("d", "kernel_size: 4, stride: 4, padding: 0") +
           conv("e", "kernel_size: 3, padding: 1") +
           "  - {name: f, type: ReLU}\n  - {name: g, type: Concat, inputs: [f, d]}\noutputs: [g, a, e]\n",
       2, 4},
      {conv("a", "kernel_size: 4, stride: 2, padding: 1", 2, 6) + "  - {name: r, type: ReLU}\n" +
           conv("b", "kernel_size: 3, stride: 3, padding: 1", 6, 4) +
           "  - {name: u, type: ConvTranspose1d, in_channels: 4, out_channels: 3, kernel_size: 7, stride: 3, padding: "
           "2}\n"
           "  - {name: v, type: Upsample, scale_factor: 2}\n" +
           conv("c", "kernel_size: 3, padding: 1", 3, 2),
       2, 6},
      {"  - {name: p, type: Pad, padding: [3, 2]}\n  - {name: m, type: MaxPool1d, kernel_size: 2}\n" +
           conv("a", "kernel_size: 3, padding: causal", 2, 4) +
           "  - {name: s, type: PixelShuffle1d, upscale_factor: 2}\n  - {name: q, type: AvgPool1d, kernel_size: 3, "
           "stride: 1, "
           "padding: 1}\n",
       2, 2}};
  for (const auto& each : cases) {
    CAPTURE(each.layers);
    const graphs::Network network = network_of(each.layers, each.channels);
    const int64_t period = each.period;
    for (const int64_t chunk : {period, 8 * period, 96 * period}) {
      for (const StreamStart start : kStarts) {
        CAPTURE(static_cast<int>(start));
        LiveCheck check(network, device, start, chunk);
        const int64_t pushes = std::max<int64_t>(7, 500 / chunk);
        check.run(pushes, period * (chunk / period / 2));
        check.run(7, chunk, true);
      }
    }
  }
}

TEST_CASE("live streams on the CPU are those of each signal by itself") { check_on({}); }

TEST_CASE("live streams on CUDA are those of each signal by itself") {
  if (cuda_available()) check_on({DeviceType::kCuda, 0});
}

TEST_CASE("a stream that ends while others go on") {
  const graphs::Network network =
      network_of(conv("a", "kernel_size: 5, padding: 2") + conv("b", "kernel_size: 31, padding: 15"));
  const int64_t chunk = 8;
  LiveStreams live(graphs::compile_live(network, {}, {2, chunk, StreamStart::kPadding}));
  CHECK(live.delay(0) == 17);
  const Tensor signal = random_tensor({2, 2, 10 * chunk});
  Collected found;
  for (int64_t push = 0; push < 10; ++push) {
    if (push == 4) live.end(1);
    const Tensor piece = times_of(signal, push * chunk, chunk);
    TensorView view = live.push(std::vector{piece.view()})[0];
    view.type.shape.set(0, 1);
    view.data = view.ptr<float>() + 2 * chunk;
    found.add(view);
  }
  Tensor alone = times_of(signal, 0, 4 * chunk);
  const auto whole = run_whole(network, {.dimensions = {{"batch", 2}}}, alone)[0];
  const auto values = found.values();
  for (int64_t row = 0; row < 2; ++row) {
    for (int64_t t = 0; t < 10 * chunk; ++t) {
      const int64_t time = t - live.delay(0);
      const float expected =
          time >= 0 && time < 4 * chunk ? whole[static_cast<size_t>((2 + row) * 4 * chunk + time)] : 0.0F;
      CHECK(values[static_cast<size_t>(row * 10 * chunk + t)] == expected);
    }
  }
}

TEST_CASE("a push takes what was written in place") {
  const graphs::Network network = network_of(wavenet(), 1);
  LiveStreams live(graphs::compile_live(network, {}, {2, 16, StreamStart::kPadding}));
  const Tensor piece = random_tensor({2, 1, 16});
  const TensorView made = live.push(std::vector{piece.view()})[0];
  const std::vector<float> first(made.as<const float>().begin(), made.as<const float>().end());
  live.reset();
  std::ranges::copy(piece.as<const float>(), live.input(0).as<float>().begin());
  const TensorView again = live.push(std::vector{live.input(0)})[0];
  CHECK(same_bits(first, {again.as<const float>().begin(), again.as<const float>().end()}));
}

TEST_CASE("what live streams refuse is named") {
  const auto refusal = [](const std::string& layers, const graphs::LiveOptions& options) {
    const graphs::Network network = network_of(layers);
    try {
      graphs::compile_live(network, {}, options);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("nothing");
  };
  CHECK(refusal(conv("a", "kernel_size: 3, stride: 4") + conv("b", "kernel_size: 3, stride: 3"), {2, 100}) ==
        "a chunk of 100 samples: live streams of 't' take a multiple of 12, the period of its strides");
  CHECK(refusal(conv("a", "kernel_size: 3, padding: 1, padding_mode: reflect"), {2, 8}) ==
        "network:7: Conv1d 'a' can't be computed in live streams: it mirrors its input at the ends; start in context "
        "can be");
  CHECK(refusal(conv("a", "kernel_size: 3, padding: 1, padding_mode: reflect"), {2, 8, StreamStart::kContext}) ==
        "nothing");
  CHECK(refusal("  - {name: p, type: MaxPool1d, kernel_size: 3, padding: 1}\n", {2, 9}) ==
        "network:7: MaxPool1d 'p' can't be computed in live streams: its padding is neither zeros nor a repeated "
        "sample; start in context can be");
  CHECK(refusal("  - {name: n, type: CumulativeLayerNorm, channel_size: 2}\n", {2, 8})
            .ends_with("can't be computed in live streams: it has a state, which is not carried from chunk to chunk"));
  CHECK(refusal("  - {name: p, type: AdaptiveAvgPool1d, output_size: 1}\n", {2, 8}) ==
        "network:7: AdaptiveAvgPool1d 'p' can't be computed piece by piece: AdaptiveAvgPool1d's windows depend on the "
        "length");
  CHECK(refusal(conv("a", "kernel_size: 1"), {0, 8}) ==
        "0 streams in chunks of 8 samples, expected at least 1 of either");

  LiveStreams live(graphs::compile_live(network_of(conv("a", "kernel_size: 1")), {}, {2, 8, StreamStart::kPadding}));
  CHECK_THROWS_WITH_AS(live.push(std::vector{random_tensor({2, 2, 7}).view()}),
                       "input 'x' has shape [2, 2, 7], expected [2, 2, 8]: 2 streams, 8 samples a push", Error);
  CHECK_THROWS_WITH_AS(live.push({}), "network 't' was given 0 inputs, expected 1", Error);
  CHECK_THROWS_WITH_AS(live.reset(2), "no stream 2, there are 2, counted from 0", Error);
}

}  // namespace
}  // namespace strand::testing
