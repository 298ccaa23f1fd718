// The extent that TimeMaps promise, against the one that is found by changing one input sample at a time.
#include "graphs/receptive_field.h"

#include <doctest/doctest.h>

#include <cmath>

#include "engine/session.h"
#include "graphs/network.h"

namespace strand::graphs {
namespace {

std::string network_of(const std::string& layers) {
  return "strand: 1\nname: t\nweights: {seed: 3}\ninputs:\n  x: {shape: [batch, 1, length], defaults: {batch: 1, "
         "length: "
         "160}}\nlayers:\n" +
         layers;
}

TimeExtent extent_of(const Network& network) {
  const std::vector<TensorType> types = infer_types(network.graph(), {}, DType::kFloat32);
  return time_extent(network.graph(), types, network.graph().inputs[0].value, network.graph().outputs[0].value);
}

// Which input samples change output sample t.
void find_extent(const Network& network, int64_t t, int64_t& first, int64_t& last) {
  Session session(network.compile());
  Tensor input(Shape{1, 1, 160}, std::vector<float>(160, 0.25F));
  const std::vector<TensorView> inputs = {input.view()};
  const auto value = [&] { return session.run(inputs)[0].as<const float>()[static_cast<size_t>(t)]; };
  const float before = value();
  first = 160;
  last = -1;
  for (int64_t i = 0; i < 160; ++i) {
    input.as<float>()[static_cast<size_t>(i)] = 1000.0F;
    if (value() != before) {
      first = std::min(first, i);
      last = i;
    }
    input.as<float>()[static_cast<size_t>(i)] = 0.25F;
  }
}

TEST_CASE("receptive field, left and right context are those that changing the input shows") {
  struct Row {
    const char* layers;
    int64_t output_time;
  };
  const Row rows[] = {
      {"  - {name: a, type: Conv1d, in_channels: 1, out_channels: 1, kernel_size: 5, dilation: 3, padding: 6}\n", 80},
      {"  - {name: a, type: Conv1d, in_channels: 1, out_channels: 1, kernel_size: 4, dilation: 5, padding: causal}\n",
       80},
      {"  - {name: a, type: Conv1d, in_channels: 1, out_channels: 2, kernel_size: 7, stride: 3, padding: 2}\n"
       "  - {name: b, type: AvgPool1d, kernel_size: 2}\n"
       "  - {name: c, type: Conv1d, in_channels: 2, out_channels: 1, kernel_size: 3, padding: 1, dilation: 2}\n",
       10},
      {"  - {name: a, type: Conv1d, in_channels: 1, out_channels: 1, kernel_size: 3, padding: same}\n"
       "  - {name: b, type: Conv1d, in_channels: 1, out_channels: 1, kernel_size: 9, padding: causal}\n"
       "  - {name: c, type: Add, inputs: [a, b]}\n",
       80},
      {"  - {name: a, type: Slice, dim: 2, start: 8}\n"
       "  - {name: b, type: Conv1d, in_channels: 1, out_channels: 1, kernel_size: 2}\n",
       40},
  };
  for (const Row& row : rows) {
    CAPTURE(row.layers);
    const Network network = Network::from_memory(network_of(row.layers), {});
    const TimeExtent extent = extent_of(network);
    REQUIRE(extent.whole.empty());
    int64_t first = 0;
    int64_t last = 0;
    find_extent(network, row.output_time, first, last);
    const int64_t here = row.output_time * extent.step_numerator / extent.step_denominator;
    CHECK(extent.receptive_field == last - first + 1);
    CHECK(extent.left == std::max<int64_t>(here - first, 0));
    CHECK(extent.right == last - here);
  }
}

TEST_CASE("a layer that needs the whole signal is named") {
  const Network network =
      Network::from_memory(network_of("  - {name: a, type: AdaptiveAvgPool1d, output_size: 1}\n"), {});
  CHECK(extent_of(network).whole.starts_with("a: "));
}

}  // namespace
}  // namespace strand::graphs
