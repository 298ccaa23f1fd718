#include <cmath>
#include <limits>

#include "layers/conv_transpose1d/conv_transpose1d_conv.h"
#include "tests/make_layer.h"
#include "tests/run_pieces.h"

namespace strand::testing {
namespace {

using layers::AttributeValue;

struct Case {
  int64_t batch, in_channels, out_channels, length, kernel_size, stride;
  int64_t pad_left = 0, pad_right = 0, output_padding = 0, dilation = 1, groups = 1;
  bool bias = true;
};

std::string to_string(const Case& c) {
  std::string text = "ConvTranspose1d";
  for (const int64_t value : {c.batch, c.in_channels, c.out_channels, c.length, c.kernel_size, c.stride, c.pad_left,
                              c.pad_right, c.output_padding, c.dilation, c.groups}) {
    text += " " + std::to_string(value);
  }
  return text;
}

std::unique_ptr<layers::Layer> make(const Case& c) {
  return make_layer("ConvTranspose1d", {{"in_channels", c.in_channels},
                                        {"out_channels", c.out_channels},
                                        {"kernel_size", c.kernel_size},
                                        {"stride", c.stride},
                                        {"padding", std::vector<int64_t>{c.pad_left, c.pad_right}},
                                        {"output_padding", c.output_padding},
                                        {"groups", c.groups},
                                        {"bias", c.bias},
                                        {"dilation", c.dilation}});
}

// Channels at the edges of tiles and row blocks, each with another geometry: strides above, at and below the kernel's
// reach, dilations with and without a common divisor with the stride.
std::vector<Case> cases() {
  struct Geometry {
    int64_t kernel_size, stride, padding, output_padding, dilation;
  };
  constexpr Geometry kGeometries[] = {{16, 8, 4, 0, 1}, {4, 2, 1, 0, 1}, {3, 1, 1, 0, 1}, {5, 3, 0, 2, 1},
                                      {3, 7, 0, 3, 1},  {3, 2, 2, 1, 3}, {4, 6, 5, 3, 4}, {1, 1, 0, 0, 1},
                                      {7, 5, 3, 4, 10}, {2, 4, 1, 0, 2}, {1, 3, 0, 1, 5}};
  constexpr int64_t kChannels[] = {1, 2, 3, 5, 6, 7, 8, 13, 31, 32, 33, 64, 70};
  std::vector<Case> cases;
  for (const int64_t in : {1, 3, 17, 33}) {
    for (const int64_t out : kChannels) {
      const auto index = static_cast<int64_t>(cases.size());
      const Geometry& g = kGeometries[index % 11];
      const int64_t length = index % 7 == 0 ? 1 + index % 3 : 20 + index * 37 % 150;
      const Case c{1 + index % 3, in,        out,       length,           g.kernel_size,
                   g.stride,      g.padding, g.padding, g.output_padding, g.dilation};
      cases.push_back(c);
      cases.back().bias = index % 2 == 0;
    }
  }
  for (const int64_t groups : {2, 5, 10}) {
    cases.push_back({2, 10, 20, 61, 12, 2, 5, 5, 0, 1, groups});
    cases.push_back({1, 20, 10, 1000, 4, 3, 2, 0, 1, 2, groups, false});
  }
  cases.push_back({0, 2, 3, 10, 4, 2});                    // nothing
  cases.push_back({1, 600, 3, 700, 3, 2});                 // blocks of positions
  cases.push_back({1, 2, 3, 70000, 4, 2, 1, 1});           // more outputs than grid.y takes
  cases.push_back({2, 2, 9, 5, 3, 1, 0, 0, 0, 40});        // taps farther apart than the signal is long
  cases.push_back({1, 1, 1, 3, 2, 100000, 17, 99990, 5});  // long gaps
  return cases;
}

TEST_CASE("ConvTranspose1d over channels and geometries") {
  for (const Case& c : cases()) {
    check_layer(*make(c), Shape{c.batch, c.in_channels, c.length}, to_string(c));
  }
  // On CUDA: enough long rows for several outputs a thread, of lengths that are whole vectors and that are not.
  const int64_t length = cuda_available() ? 33000 : 330;
  for (const Case& c : {Case{1, 2, 129, length, 4, 2, 1, 1}, Case{1, 2, 129, length + 1, 3, 2, 1, 1, 0, 2},
                        Case{1, 1, 65, length, 15, 5, 2, 0, 1}}) {
    check_layer(*make(c), Shape{c.batch, c.in_channels, c.length}, to_string(c));
  }
}

// Channels enough for tensor cores, whose implementation interleaves the phases of strides that are powers of two:
// tiles of 128, 256 and 512 positions, ends at their edges and past them, y's rows on and off 16 bytes, gaps, crops.
TEST_CASE("ConvTranspose1d over strides with many channels") {
  const int64_t length = cuda_available() ? 300 : 40;
  std::vector<Case> cases = {
      {2, 64, 32, length, 4, 2, 1, 1},           {1, 64, 20, length + 1, 16, 8, 4, 4},
      {2, 48, 9, length - 5, 8, 4, 2, 1},        {1, 32, 40, 256, 3, 2, 1, 1, 0, 2},
      {1, 32, 24, 129, 5, 8, 3, 0, 1, 2},        {1, 32, 24, 127, 3, 4, 0, 0, 1, 4, 1, false},
      {2, 64, 16, length, 3, 1, 2, 0},           {1, 96, 32, length, 8, 4, 0, 3, 0, 1, 2},
      {1, 64, 48, length, 4, 2, 0, 0, 0, 1, 2},  {1, 70, 8, length, 16, 8, 15, 2, 0, 1, 1, false},
      {1, 64, 256, length, 16, 8, 4, 4, 0, 1, 1}};
  if (cuda_available() && tried_step() == 1) {
    cases.push_back({64, 32, 4, 1031, 8, 4, 2, 1});  // rows of phases that are the columns of products
    cases.push_back({48, 48, 9, 295, 8, 4, 2, 1});   // so many tiles that they are not halved
    cases.push_back({35, 32, 15, 299, 4, 2, 1, 1});
  }
  for (const Case& c : cases) {
    const auto layer = make(c);
    std::vector<Tensor> inputs;
    inputs.push_back(random_tensor({c.batch, c.in_channels, c.length}));
    check_layer(*layer, inputs, random_parameters(*layer), to_string(c));
    inputs[0].as<float>()[static_cast<size_t>(c.length / 2)] = std::numeric_limits<float>::infinity();
    check_layer(*layer, inputs, random_parameters(*layer), to_string(c) + ", with an Inf");
  }
}

// The formula, on the Conv1d's outputs, in double.
double interleaved(const layers::ConvTransposeProblem& p, const layers::TransposeAsConv& as,
                   const std::vector<float>& w, const std::vector<float>& bias, std::span<const float> x, int64_t o,
                   int64_t t) {
  const int64_t m = (t + p.offset) / p.stride;
  const int64_t phase = (t + p.offset) % p.stride;
  if (phase % as.divisor != 0) return bias[static_cast<size_t>(o * as.phases)];
  const int64_t output = o * as.phases + phase / as.divisor;
  double sum = bias[static_cast<size_t>(output)];
  for (int64_t c = 0; c < p.group_in(); ++c) {
    for (int64_t k = 0; k < as.conv.kernel_size; ++k) {
      const int64_t at = m - as.first_position + k * as.conv.dilation - as.conv.pad_left;
      if (at < 0 || at >= p.length) continue;
      const int64_t channel = o / p.group_out() * p.group_in() + c;
      sum += double{w[static_cast<size_t>((output * p.group_in() + c) * as.conv.kernel_size + k)]} *
             double{x[static_cast<size_t>(channel * p.length + at)]};
    }
  }
  return sum;
}

TEST_CASE("ConvTranspose1d as a Conv1d whose outputs are interleaved") {
  int taken = 0;
  for (const Case& c : cases()) {
    if (c.batch == 0 || c.stride > 100 || c.length > 1000) continue;
    CAPTURE(to_string(c));
    const auto layer = make(c);
    const auto& transpose = dynamic_cast<const layers::ConvTranspose1d&>(*layer);
    const layers::ConvTransposeProblem p = transpose.problem(signal({1, c.in_channels, c.length}));
    layers::TransposeAsConv as;
    if (!layers::transpose_as_conv(p, as).empty()) continue;
    ++taken;
    CHECK(as.conv.pad_left >= 0);
    CHECK(as.conv.pad_right >= 0);
    CHECK(layers::output_length(as.conv) == as.positions);
    const Tensor x = random_tensor({1, c.in_channels, c.length});
    Parameters parameters = random_parameters(*layer);
    const std::vector<float> w = layers::conv_weights(p, as, parameters.at("weight").as<const float>());
    CHECK(static_cast<int64_t>(w.size()) == as.conv.out_channels * as.conv.reduction());
    std::vector<float> bias(static_cast<size_t>(as.conv.out_channels), 0.0F);
    if (c.bias) bias = layers::conv_bias(as, parameters.at("bias").as<const float>());
    const auto samples = x.as<const float>();
    for (const int64_t o : {int64_t{0}, c.out_channels / 2, c.out_channels - 1}) {
      for (int64_t t = 0; t < p.out_length; t += 1 + p.out_length / 50) {
        // PyTorch's formula, gathered.
        double truth = c.bias ? double{parameters.at("bias").as<const float>()[static_cast<size_t>(o)]} : 0;
        for (int64_t i = 0; i < p.group_in(); ++i) {
          const int64_t channel = o / p.group_out() * p.group_in() + i;
          for (int64_t k = 0; k < p.kernel_size; ++k) {
            const int64_t scaled = t + p.offset - k * p.dilation;
            if (scaled < 0 || scaled % p.stride != 0 || scaled / p.stride >= p.length) continue;
            const int64_t weight = (channel * p.group_out() + o % p.group_out()) * p.kernel_size + k;
            truth += double{parameters.at("weight").as<const float>()[static_cast<size_t>(weight)]} *
                     double{samples[static_cast<size_t>(channel * p.length + scaled / p.stride)]};
          }
        }
        const double scale = 1e-12 * static_cast<double>(as.conv.reduction());
        CHECK(std::fabs(interleaved(p, as, w, bias, samples, o, t) - truth) <= scale);
      }
    }
  }
  CHECK(taken > 15);
}

TEST_CASE("ConvTranspose1d piece by piece") {
  for (const Case& c : cases()) {
    if (c.batch == 0 || c.length > 1000 || c.stride > 100) continue;
    const auto layer = make(c);
    std::vector<Tensor> inputs;
    inputs.push_back(random_tensor({c.batch, c.in_channels, c.length}));
    check_pieces(*layer, inputs, random_parameters(*layer), to_string(c));
  }
}

TEST_CASE("ConvTranspose1d multiplies no zeros around the signal with an infinite weight") {
  for (const int64_t out : {1, 7, 40}) {
    const Case c{1, 2, out, 30, 6, 2, 1, 2};
    const auto layer = make(c);
    std::vector<Tensor> inputs;
    inputs.push_back(random_tensor({1, 2, 30}));
    Parameters parameters = random_parameters(*layer);
    parameters.at("weight").as<float>()[0] = std::numeric_limits<float>::infinity();
    parameters.at("weight").as<float>()[5] = -std::numeric_limits<float>::infinity();
    check_layer(*layer, inputs, parameters, "Inf in the weights");
    check_pieces(*layer, inputs, parameters, "Inf in the weights");
    inputs[0].as<float>()[11] = std::numeric_limits<float>::quiet_NaN();
    inputs[0].as<float>()[45] = std::numeric_limits<float>::infinity();
    check_layer(*layer, inputs, random_parameters(*layer), "Inf and NaN in the input");
  }
}

TEST_CASE("ConvTranspose1d's lengths") {
  CHECK(output_shape(*make({1, 3, 5, 0, 16, 8, 4, 4}), {2, 3, 10}) == Shape{2, 5, 80});
  CHECK(output_shape(*make({1, 3, 5, 0, 4, 2, 0, 2}), {2, 3, 10}) == Shape{2, 5, 20});
  CHECK(output_shape(*make({1, 3, 5, 0, 3, 2, 1, 1, 1}), {2, 3, 10}) == Shape{2, 5, 20});
  CHECK(output_shape(*make({1, 3, 5, 0, 3, 1, 0, 0, 3, 4}), {2, 3, 10}) == Shape{2, 5, 21});
  CHECK(infer_one(*make({1, 3, 5, 0, 3, 1}), {signal({2, 3, 10})}).time_axis == 2);
  const auto layer = make({1, 3, 5, 0, 4, 2});
  CHECK(layer->multiply_adds(std::vector{signal({2, 3, 10})}, {}) == 2 * 3 * 10 * 5 * 4);
}

TEST_CASE("ConvTranspose1d's times") {
  const TensorType x = signal({1, 3, 50});
  TimeMap map = time_map_of(*make({1, 3, 5, 0, 16, 8, 4, 4}), {x});
  CHECK(map.numerator == 1);
  CHECK(map.denominator == 8);
  CHECK(map.first == 4 - 15 + 7);
  CHECK(map.last == 4);
  CHECK(map.ends == Ends::kZeros);
  map = time_map_of(*make({1, 3, 5, 0, 2, 5}), {x});  // phases without a tap
  CHECK(map.first == 0);
  CHECK(map.last == 0);
  CHECK(time_map_of(*make({1, 3, 5, 0, 2, 5}), {{DType::kFloat32, {1, 3, 50}, 0}}).is_whole());
}

TEST_CASE("ConvTranspose1d's errors") {
  CHECK(refusal(ErrorCategory::kShape,
                [] {
                  output_shape(*make({1, 3, 5, 0, 4, 2, 9, 11}), {1, 3, 9});
                }) ==
        "length 9 with stride 2, padding_left 9, padding_right 11, dilation 1, kernel_size 4 and output_padding 0 "
        "gives an output length of 0, expected at least 1 of either");
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*make({1, 3, 5, 0, 4, 2}), {1, 4, 9});
        }) == "input float32 [1, 4, 9] has 4 channels, expected in_channels 3");
  refusal(ErrorCategory::kShape, [] { output_shape(*make({1, 3, 5, 0, 4, 2}), {3, 9}); });
  refusal(ErrorCategory::kShape, [] { output_shape(*make({1, 3, 5, 0, 4, 2}), {1, 3, 0}); });
  CHECK(refusal(ErrorCategory::kSchema, [] {
          make({1, 3, 5, 0, 4, 2, 0, 0, 2});
        }) == "output_padding 2 needs a larger stride than 2 or dilation than 1");
  CHECK(refusal(ErrorCategory::kSchema, [] {
          make({1, 3, 4, 0, 4, 2, 0, 0, 0, 1, 2});
        }) == "groups 2 does not divide in_channels 3");
  refusal(ErrorCategory::kSchema, [] { make({1, 3, 5, 0, 4, 2, -1}); });
  refusal(ErrorCategory::kLimit, [] { make({1, 3, 5, 0, 4, int64_t{1} << 40}); });
  refusal(ErrorCategory::kLimit, [] { output_shape(*make({1, 1, 5, 0, 4, 1 << 20}), {1, 1, INT64_MAX / 1000}); });
}

}  // namespace
}  // namespace strand::testing
