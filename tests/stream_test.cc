// A network fed piece by piece against the same on the whole signal.

#include "tests/stream_check.h"

namespace strand::testing {
namespace {

graphs::Network network_of(const std::string& layers, int channels = 2) {
  return graphs::Network::from_memory("strand: 1\nname: t\nweights: {seed: 3}\ninputs:\n  x: {shape: [batch, " +
                                          std::to_string(channels) +
                                          ", length], defaults: {batch: 2, length: 64}}\nlayers:\n" + layers,
                                      {});
}

std::string conv(const std::string& name, const std::string& fields, int in = 2, int out = 2) {
  return "  - {name: " + name + ", type: Conv1d, in_channels: " + std::to_string(in) +
         ", out_channels: " + std::to_string(out) + ", " + fields + "}\n";
}

void check_chunkings(const graphs::Network& network, int64_t length, graphs::CompileOptions options = {}) {
  options.dimensions[graphs::time_symbol(network.graph())] = length;
  const Tensor signal = random_tensor({2, network.graph().inputs[0].description.shape[1].size, length});
  const auto whole = run_whole(network, options, signal);
  const std::vector<std::vector<int64_t>> chunkings = {{1}, {7}, {64}, {0, 1}, {0, 3, 1, 0, 12, 5}, {length}};
  for (const std::vector<int64_t>& chunks : chunkings) {
    const int64_t largest = *std::ranges::max_element(chunks);
    StreamSession session(graphs::compile_stream(network, options, largest), {.max_chunk = largest});
    for (int round = 0; round < 2; ++round) {
      const auto pieces = stream(session, signal, chunks);
      for (size_t i = 0; i < whole.size(); ++i) {
        CHECK_MESSAGE(same_bits(pieces[i], whole[i]),
                      "chunks of " << chunks[0] << ", round " << round << ", output " << i << ": " << pieces[i].size()
                                   << " values of " << whole[i].size() << " (seed " << test_seed() << ")");
      }
      session.reset();
    }
  }
}

TEST_CASE("convolutions in pieces are those of the whole signal") {
  for (const char* fields :
       {"kernel_size: 1", "kernel_size: 3, dilation: 5, padding: causal", "kernel_size: 4, padding: 3",
        "kernel_size: 5, padding: [7, 9], dilation: 2", "kernel_size: 3, stride: 2, padding: 1",
        "kernel_size: 2, stride: 5", "kernel_size: 9, padding: 6, padding_mode: reflect",
        "kernel_size: 4, padding: [5, 2], padding_mode: replicate, stride: 3", "kernel_size: 7, padding: valid",
        "kernel_size: 7, stride: 4, padding: same_tf", "kernel_size: 6, dilation: 3, padding: same, groups: 2",
        "kernel_size: 3, padding: [0, 40], padding_mode: reflect"}) {
    CAPTURE(fields);
    const graphs::Network network = network_of(conv("a", fields));
    for (const int64_t length : {45, 64, 101}) check_chunkings(network, length);
  }
}

// Pushes of these sizes in turn, of which those like the one before only repeat it, later.
void check_pushes(const graphs::Network& network, const std::vector<std::vector<int64_t>>& chunkings) {
  const Tensor signal = random_tensor({2, 2, 2500});
  graphs::CompileOptions options;
  options.dimensions[graphs::time_symbol(network.graph())] = 2500;
  const auto whole = run_whole(network, options, signal);
  for (const std::vector<int64_t>& chunks : chunkings) {
    StreamSession session(graphs::compile_stream(network, options, 64), {.max_chunk = 64});
    for (int round = 0; round < 2; ++round) {
      const auto pieces = stream(session, signal, chunks);
      CHECK_MESSAGE(same_bits(pieces[0], whole[0]), "chunks of " << chunks[0] << ", seed " << test_seed());
      session.reset();
    }
  }
}

TEST_CASE("pushes that repeat the last one, and begin anew where their length changes") {
  check_pushes(network_of(conv("a", "kernel_size: 3, dilation: 50, padding: causal", 2, 9) +
                          conv("b", "kernel_size: 2, dilation: 37, padding: 20", 9, 5) + "  - {name: c, type: ReLU}\n" +
                          conv("d", "kernel_size: 6, dilation: 3, padding: causal", 5, 5) +
                          "  - {name: e, type: Add, inputs: [d, c]}\n"),
               {{16}, {64}, {4, 4, 4, 4, 4, 12}, {64, 64, 64, 0, 64, 60, 64, 3, 3, 64, 64, 64, 1}});
}

// A period of 6: lengths that are no multiple of it never repeat.
TEST_CASE("pushes that repeat where rates differ, and the past is read by convolutions and others") {
  check_pushes(
      network_of(conv("a", "kernel_size: 5, stride: 2, padding: 2", 2, 4) +
                 "  - {name: p, type: AvgPool1d, kernel_size: 5, stride: 3, padding: 2}\n" +
                 conv("b", "kernel_size: 3, dilation: 2, padding: causal", 4, 4) +
                 "  - {name: s, type: Add, inputs: [b, p]}\n" +
                 conv("c", "kernel_size: 4, padding: [1, 2], padding_mode: replicate", 4, 3) +
                 "  - {name: u, type: ConvTranspose1d, in_channels: 3, out_channels: 2, kernel_size: 4, "
                 "stride: 2, padding: 1}\n" +
                 "  - {name: v, type: Upsample, scale_factor: 3}\n" + conv("d", "kernel_size: 3, padding: 1", 2, 2)),
      {{6}, {60}, {64}, {9}, {1}, {12, 12, 12, 12, 7, 12, 12, 12, 0, 0, 12, 6, 6, 6, 60, 60, 60}});
}

// Padding alone makes some of `b`, which waits for `a`, which waits for a sample to mirror; later neither waits.
TEST_CASE("a first push of nothing") {
  const graphs::Network network =
      network_of("  - {name: p, type: Pad, padding: [2, 0]}\n" +
                 conv("a", "kernel_size: 3, padding: [2, 0], padding_mode: reflect") +
                 "  - {name: b, type: ReLU, inputs: [p]}\n" + "  - {name: s, type: Multiply, inputs: [a, b]}\n");
  for (const int64_t length : {7, 65}) check_chunkings(network, length);
}

TEST_CASE("branches of different delay meet") {
  const graphs::Network network =
      network_of(conv("a", "kernel_size: 5, padding: 2") + conv("b", "kernel_size: 31, dilation: 2, padding: 30") +
                 "  - {name: c, type: Add, inputs: [b, a, x]}\n" + conv("d", "kernel_size: 4, stride: 4, padding: 0") +
                 conv("e", "kernel_size: 3, padding: 1, padding_mode: reflect") +
                 "  - {name: f, type: ReLU}\n  - {name: g, type: Concat, inputs: [f, d]}\noutputs: [g, a, e]\n");
  for (const int64_t length : {64, 131}) check_chunkings(network, length);
}

TEST_CASE("what a stream says of time") {
  const graphs::Network network =
      network_of(conv("a", "kernel_size: 5, padding: 2") + conv("b", "kernel_size: 4, stride: 4") +
                 conv("c", "kernel_size: 3, padding: causal, dilation: 2"));
  const StreamTimes times(*graphs::compile_stream(network, {}, 16));
  CHECK(times.period() == 4);
  CHECK(times.rate(0).outputs == 1);
  CHECK(times.rate(0).inputs == 4);
  // Output 0 needs samples up to 5, so 5 have come without it.
  CHECK(times.latency(0) == 5);
  // The causal one sees 4 strided samples back, the first of which sees 2 of padding.
  CHECK(times.clean_from(0) == 5);
}

TEST_CASE("layers that need the whole signal are named") {
  const auto refusal_of = [](const std::string& layers) {
    const graphs::Network network = network_of(layers);
    try {
      graphs::compile_stream(network, {}, 16);
    } catch (const Error& error) {
      CHECK(error.category() == ErrorCategory::kUnsupported);
      return std::string(error.what());
    }
    return std::string("nothing");
  };
  CHECK(refusal_of("  - {name: p, type: AdaptiveAvgPool1d, output_size: 1}\n") ==
        "network:7: AdaptiveAvgPool1d 'p' can't be computed piece by piece: AdaptiveAvgPool1d's windows depend on the "
        "length");
  CHECK(refusal_of(conv("c", "kernel_size: 3, padding: 1, padding_mode: circular")) ==
        "network:7: Conv1d 'c' can't be computed piece by piece: circular padding needs both ends of the signal");
}

// A fixed input of all the signal's times has no stretches of its own.
TEST_CASE("an input without time that has an element for each of the times is refused") {
  for (const char* combined : {"Concat", "Add", "FiLM"}) {
    CAPTURE(combined);
    const std::string channels = std::string(combined) == "FiLM" ? "4" : "2";
    const graphs::Network network = graphs::Network::from_memory(
        "strand: 1\nname: t\nweights: {seed: 3}\ninputs:\n  x: {shape: [1, 2, length], defaults: {length: 600}}\n  "
        "mask: "
        "{shape: [1, " +
            channels + ", 600]}\nlayers:\n  - {name: both, type: " + combined + ", inputs: [x, mask]}\n",
        {});
    try {
      graphs::compile_stream(network, {}, 16);
      FAIL_CHECK("not refused");
    } catch (const Error& error) {
      CHECK(error.category() == ErrorCategory::kUnsupported);
      CHECK(std::string(error.what()).find("without time has an element for each of the times") != std::string::npos);
    }
  }
}

TEST_CASE("inputs whose lengths happen to agree but not their rates are refused") {
  const graphs::Network network =
      network_of(conv("half", "kernel_size: 1, stride: 2") + "  - {name: both, type: Add, inputs: [half, x]}\n");
  CHECK_THROWS_WITH_AS(
      StreamTimes(*network.compile({.dimensions = {{"length", 1}}})),
      "network:7: Conv1d 'half' + Add 'both' can't be computed piece by piece: its inputs run at different rates",
      Error);
}

TEST_CASE("wrong pushes change nothing") {
  const graphs::Network network = network_of(conv("a", "kernel_size: 3, padding: 1"));
  StreamSession session(graphs::compile_stream(network, {}, 8), {.max_chunk = 8});
  const Tensor signal = random_tensor({2, 2, 20});
  const auto whole = run_whole(network, {}, signal);
  const auto refused = [&](const Tensor& tensor, const char* why) {
    CHECK_THROWS_WITH_AS(session.push(std::vector{tensor.view()}), why, Error);
  };
  Collected all;
  for (int64_t t = 0; t < 20; t += 5) {
    refused(random_tensor({2, 2, 9}), "input 'x' has 9 samples, a push takes at most 8");
    refused(random_tensor({2, 3, 5}), "input 'x' has shape [2, 3, 5], expected [2, 2, 64] but for the time axis");
    refused(random_tensor({1, 2, 5}), "input 'x' has shape [1, 2, 5], expected [2, 2, 64] but for the time axis");
    refused(random_tensor({2, 5}), "input 'x' has shape [2, 5], expected [2, 2, 64] but for the time axis");
    CHECK_THROWS_WITH_AS(session.push({}), "network 't' was given 0 inputs, expected 1", Error);
    all.add(session.push(std::vector{times_of(signal, t, 5).view()})[0]);
  }
  all.add(session.finish()[0]);
  CHECK(same_bits(all.values(), whole[0]));
  CHECK_THROWS_WITH_AS(session.finish(), "finish after finish or a failure; reset() begins a new signal", Error);
  refused(random_tensor({2, 2, 5}), "push after finish or a failure; reset() begins a new signal");
}

// Fails where it is asked to, in place of a layer.
class Failing final : public Kernel {
 public:
  Failing(std::unique_ptr<const Kernel> kernel, const bool& fails) : kernel_(std::move(kernel)), fails_(fails) {}
  void run(const Context& context, const Bindings& bindings) const override {
    if (fails_) throw Error(ErrorCategory::kNumeric, "no");
    kernel_->run(context, bindings);
  }

 private:
  std::unique_ptr<const Kernel> kernel_;
  const bool& fails_;
};

TEST_CASE("a layer's failure ends the stream, and reset begins a new one") {
  const graphs::Network network =
      network_of(conv("a", "kernel_size: 5, padding: causal") + conv("b", "kernel_size: 1"));
  const Tensor signal = random_tensor({2, 2, 96});
  graphs::CompileOptions options;
  options.dimensions[graphs::time_symbol(network.graph())] = 96;
  const auto whole = run_whole(network, options, signal);
  for (const size_t at : {0U, 1U}) {
    bool fails = false;
    const auto plan = std::const_pointer_cast<Plan>(graphs::compile_stream(network, options, 16));
    plan->steps[at].kernel = std::make_unique<Failing>(std::move(plan->steps[at].kernel), fails);
    StreamSession session(plan, {.max_chunk = 16});
    const auto push = [&] { session.push(std::vector{random_tensor({2, 2, 16}).view()}); };
    for (int i = 0; i < 4; ++i) push();
    fails = true;
    CHECK_THROWS_WITH_AS(push(), (plan->steps[at].where + ": no").c_str(), Error);
    fails = false;
    CHECK_THROWS_WITH_AS(push(), "push after finish or a failure; reset() begins a new signal", Error);
    session.reset();
    CHECK(same_bits(stream(session, signal, {16})[0], whole[0]));
  }
}

TEST_CASE("a signal that ends where padding can't be is refused, and nothing before it is lost") {
  const graphs::Network mirrored = network_of(conv("a", "kernel_size: 9, padding: 4, padding_mode: reflect"));
  StreamSession session(graphs::compile_stream(mirrored, {}, 8), {.max_chunk = 8});
  CHECK(session.push(std::vector{random_tensor({2, 2, 4}).view()})[0].shape()[2] == 0);
  CHECK_THROWS_WITH_AS(session.finish(),
                       "network:7: Conv1d 'a': the signal ends after 4 samples here, too few to mirror 4", Error);
  const graphs::Network strided = network_of(conv("a", "kernel_size: 7, stride: 4, padding: same_tf"));
  StreamSession other(graphs::compile_stream(strided, {.dimensions = {{"length", 40}}}, 8), {.max_chunk = 8});
  CHECK(other.push(std::vector{random_tensor({2, 2, 7}).view()})[0].shape()[2] == 1);
  CHECK_THROWS_WITH_AS(other.finish(),
                       "network:7: Conv1d 'a': the signal ends after 7 samples here; its padding was prepared for "
                       "lengths of a multiple of 4 plus 0",
                       Error);
}

TEST_CASE("a stream begins in silence or in its own context") {
  const graphs::Network network =
      network_of(conv("a", "kernel_size: 3, dilation: 4, padding: causal") +
                 conv("b", "kernel_size: 4, padding: [2, 1]") + conv("c", "kernel_size: 2, stride: 2"));
  const int64_t length = 60;
  const int64_t before = 200;
  const Tensor signal = random_tensor({2, 2, length});
  Tensor after_silence({DType::kFloat32, {2, 2, before + length}, 2});
  for (int64_t i = 0; i < 4 * (before + length); ++i) {
    const int64_t t = i % (before + length) - before;
    after_silence.as<float>()[static_cast<size_t>(i)] =
        t < 0 ? 0.0F : signal.as<const float>()[static_cast<size_t>(i / (before + length) * length + t)];
  }
  const auto rows = [](const std::vector<float>& values, int64_t row, int64_t begin, int64_t end) {
    std::vector<float> part;
    for (int64_t r = 0; r < static_cast<int64_t>(values.size()) / row; ++r) {
      part.insert(part.end(), values.begin() + r * row + begin, values.begin() + r * row + end);
    }
    return part;
  };
  const auto whole = run_whole(network, {}, after_silence)[0];
  const auto zeros = run_whole(network, {}, signal)[0];
  for (const int64_t chunk : {1, 16}) {
    const auto plan = graphs::compile_stream(network, {}, chunk);
    StreamSession silent(plan, {.max_chunk = chunk, .start = StreamStart::kSilence});
    CHECK(same_bits(stream(silent, signal, {chunk})[0],
                    rows(whole, (before + length) / 2, before / 2, (before + length) / 2)));
    // a sees 8 samples back, b 2 more of it and 1 ahead; c's outputs stand at every second of these.
    StreamSession context(plan, {.max_chunk = chunk, .start = StreamStart::kContext});
    CHECK(same_bits(stream(context, signal, {chunk})[0], rows(zeros, length / 2, 5, 29)));
  }
}

}  // namespace
}  // namespace strand::testing
