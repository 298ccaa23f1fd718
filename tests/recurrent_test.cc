#include <cmath>
#include <limits>
#include <random>

#include "tests/make_layer.h"

namespace strand::testing {
namespace {

struct Case {
  const char* type = "LSTM";
  int64_t input = 3;
  int64_t hidden = 5;
  int64_t layers = 1;
  bool batch_first = false;
  bool bidirectional = false;
  bool bias = true;
};

std::unique_ptr<layers::Layer> make(const Case& c) {
  return make_layer(c.type, {{"input_size", c.input},
                             {"hidden_size", c.hidden},
                             {"num_layers", c.layers},
                             {"batch_first", c.batch_first},
                             {"bidirectional", c.bidirectional},
                             {"bias", c.bias}});
}

// As PyTorch initialises them: uniform in +-1/sqrt(hidden_size).
Parameters ordinary_parameters(const layers::Layer& layer) {
  Parameters parameters = random_parameters(layer);
  for (const layers::Parameter& parameter : layer.parameters()) {
    const auto scale = 0.6F / std::sqrt(static_cast<float>(parameter.fan_in));
    for (float& value : parameters.at(parameter.name).as<float>()) value *= scale;
  }
  return parameters;
}

Shape input_shape(const Case& c, int64_t batch, int64_t length) {
  return c.batch_first ? Shape{batch, length, c.input} : Shape{length, batch, c.input};
}

Shape state_shape(const Case& c, int64_t batch) { return {c.layers * (c.bidirectional ? 2 : 1), batch, c.hidden}; }

void check(const Case& c, int64_t batch, int64_t length, bool initial = false) {
  const auto layer = make(c);
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor(input_shape(c, batch, length)));
  if (initial) {
    for (size_t i = 1; i < layer->inputs().size(); ++i) inputs.push_back(random_tensor(state_shape(c, batch)));
  }
  const std::string what = std::string(c.type) + " " + std::to_string(c.hidden) + " x " + std::to_string(c.layers);
  check_layer(*layer, inputs, ordinary_parameters(*layer), what + " on " + to_string(inputs[0].shape()));
}

TEST_CASE("LSTM and GRU at block edges") {
  for (const char* type : {"LSTM", "GRU"}) {
    for (const int64_t hidden : {1, 3, 7, 8, 9, 15, 16, 17, 33, 64}) {
      for (const int64_t input : {1, 5, 40}) check({type, input, hidden}, 2, 9);
    }
  }
}

TEST_CASE("LSTM and GRU in every arrangement") {
  for (const char* type : {"LSTM", "GRU"}) {
    for (const int64_t layers : {1, 2, 3, 4}) {
      for (const bool batch_first : {false, true}) {
        for (const bool bidirectional : {false, true}) {
          const bool initial = (layers + int64_t{batch_first}) % 2 == 0;
          check({type, 4, 6, layers, batch_first, bidirectional, !bidirectional || layers % 2 == 0}, 3, 7, initial);
        }
      }
    }
    for (const auto& [batch, length] : {std::pair{0, 5}, {2, 0}, {1, 1}, {5, 1}, {1, 400}}) {
      check({type, 3, 10, 2}, batch, length);
      check({type, 3, 10, 2, true, true}, batch, length, true);
    }
  }
}

TEST_CASE("LSTM and GRU of sizes beyond one block's shared memory") {
  for (const char* type : {"LSTM", "GRU"}) {
    check({type, 20, 130}, 1, 12);
    check({type, 20, 150, 2, true, true}, 5, 6, true);
    check({type, 3, 260}, 18, 5, true);
    // 128 blocks of cuda.grid, which must wait for each other at every time.
    check({type, 2, 512}, 2, cuda_available() ? 30 : 3);
  }
}

TEST_CASE("LSTM and GRU take a sequence without a batch") {
  for (const char* type : {"LSTM", "GRU"}) {
    const auto layer = make({type, 3, 5, 2, true});
    std::vector<Tensor> inputs;
    inputs.push_back(random_tensor({9, 3}));
    check_layer(*layer, inputs, ordinary_parameters(*layer), type);
    inputs.push_back(random_tensor({2, 5}));
    check_layer(*layer, inputs, ordinary_parameters(*layer), type);
    const std::vector<TensorType> types = {inputs[0].type()};
    CHECK(layer->infer(types)[0].shape == Shape{9, 5});
    CHECK(layer->infer(types)[1].shape == Shape{2, 5});
  }
}

TEST_CASE("cells") {
  for (const char* type : {"LSTMCell", "GRUCell"}) {
    for (const int64_t hidden : {1, 8, 21, 128}) {
      const auto layer = make_layer(type, {{"input_size", 6}, {"hidden_size", hidden}});
      CHECK(layer->parameters()[3].name == "bias_hh");
      for (const bool initial : {false, true}) {
        std::vector<Tensor> inputs;
        inputs.push_back(random_tensor({4, 6}));
        for (size_t i = 1; initial && i < layer->inputs().size(); ++i) inputs.push_back(random_tensor({4, hidden}));
        check_layer(*layer, inputs, ordinary_parameters(*layer), type);
      }
    }
    check_layer(*make_layer(type, {{"input_size", 6}, {"hidden_size", 3}, {"bias", false}}), Shape{6}, type);
  }
}

// Runs a prepared kernel over [L, N, I] piece by piece; h_0 stays bound.
std::vector<float> in_pieces(const layers::Layer& layer, const std::string& name, const std::vector<Tensor>& inputs,
                             const Parameters& parameters, std::span<const int64_t> pieces) {
  const PreparedLayer prepared(layer, inputs, parameters, DType::kFloat32, {});
  const TensorType whole = inputs[0].type();
  const int64_t batch = whole.shape[1];
  const int64_t hidden = prepared.output_types()[0].shape[2];
  std::vector<float> result;
  for (const layers::Implementation& implementation : prepared.implementations()) {
    if (implementation.name != name) continue;
    const std::unique_ptr<Kernel> kernel = implementation.prepare();
    std::vector<std::byte> state(static_cast<size_t>(kernel->state_bytes()));
    const Buffer workspace(Device{}, kernel->workspace_bytes());
    int64_t t = 0;
    for (const int64_t piece : pieces) {
      std::vector<TensorView> in;
      for (const Tensor& input : inputs) in.push_back(input.view());
      in[0].type.shape.set(0, piece);
      in[0].data = inputs[0].as<float>().data() + t * batch * whole.shape[2];
      std::vector<Tensor> outputs;
      std::vector<TensorView> out;
      for (TensorType type : prepared.output_types()) {
        if (outputs.empty()) type.shape.set(0, piece);
        outputs.emplace_back(type);
        out.push_back(outputs.back().view());
      }
      kernel->run(Context(Device{}), {in, out, workspace.data(), state.data(), {t, t}});
      const auto values = outputs[0].as<const float>();
      CHECK(static_cast<int64_t>(values.size()) == piece * batch * hidden);
      result.insert(result.end(), values.begin(), values.end());
      t += piece;
    }
  }
  return result;
}

TEST_CASE("pieces of a signal give the bits of the whole") {
  const std::vector<int64_t> pieces = {1, 0, 7, 1, 1, 20, 10};
  for (const char* type : {"LSTM", "GRU"}) {
    for (const int64_t hidden : {4, 20}) {
      for (const bool initial : {false, true}) {
        const Case c{type, 3, hidden, 2};
        const auto layer = make(c);
        const Parameters parameters = ordinary_parameters(*layer);
        std::vector<Tensor> inputs;
        inputs.push_back(random_tensor({40, 2, 3}));
        for (size_t i = 1; initial && i < layer->inputs().size(); ++i)
          inputs.push_back(random_tensor(state_shape(c, 2)));
        for (const char* name : {"cpu.native", "cpu.reference"}) {
          const auto whole = run_implementation(*layer, name, inputs, parameters);
          const std::vector<float> streamed = in_pieces(*layer, name, inputs, parameters, pieces);
          const auto expected = whole[0].as<const float>();
          CHECK(std::equal(streamed.begin(), streamed.end(), expected.begin(), expected.end()));
        }
      }
    }
  }
}

TEST_CASE("the last output is h_n, and it begins the next run where the first one ended") {
  const Case c{"LSTM", 3, 9, 2};
  const auto layer = make(c);
  const Parameters parameters = ordinary_parameters(*layer);
  const auto run = [&](std::vector<Tensor> inputs) {
    return run_implementation(*layer, "cpu.native", inputs, parameters);
  };
  const Tensor x = random_tensor({10, 1, 3});
  const auto part = [&](size_t first) {
    std::vector<Tensor> inputs;
    inputs.push_back(tensor_of({5, 1, 3}, {x.as<float>().begin() + static_cast<ptrdiff_t>(first),
                                           x.as<float>().begin() + static_cast<ptrdiff_t>(first) + 15}));
    return inputs;
  };
  std::vector<Tensor> all;
  all.push_back(copy_of(x.view()));
  const auto whole = run(std::move(all));
  auto first = run(part(0));
  std::vector<Tensor> rest = part(15);
  rest.push_back(std::move(first[1]));
  rest.push_back(std::move(first[2]));
  const auto second = run(std::move(rest));
  const auto expected = whole[0].as<const float>();
  const auto end = second[0].as<const float>();
  CHECK(std::equal(end.begin(), end.end(), expected.end() - 45));
  const auto h_n = whole[1].as<const float>();
  CHECK(std::equal(h_n.begin() + 9, h_n.end(), expected.end() - 9));
}

TEST_CASE("NaN and Inf: their own sequence from their time on; gates saturate") {
  const float inf = std::numeric_limits<float>::infinity();
  for (const char* type : {"LSTM", "GRU"}) {
    const auto layer = make({type, 1, 3});
    const Parameters parameters = ordinary_parameters(*layer);
    for (const auto& [name, tensor] : parameters) {
      for (float& weight : tensor.as<float>()) weight = weight == 0 ? 0.5F : weight;  // Inf times nothing is NaN
    }
    for (const float special : {std::numeric_limits<float>::quiet_NaN(), inf, -inf, 3e38F}) {
      std::vector<Tensor> inputs;
      inputs.push_back(tensor_of({3, 2, 1}, {1, 2, special, 0.5F, 2, 1}));
      check_layer(*layer, inputs, parameters, type);
      for_each_implementation(*layer, inputs, parameters, [&](const std::string&, std::span<const float> y) {
        for (size_t i = 0; i < 18; ++i) CHECK((std::isfinite(y[i]) || i / 3 % 2 == 0));
        for (size_t i = 6; i < 9; ++i) CHECK(std::isnan(y[i]) == std::isnan(special));
      });
    }
  }
}

TEST_CASE("names, shapes, times and errors") {
  const auto layer = make({"LSTM", 3, 5, 2, true, true});
  const std::vector<layers::Parameter> parameters = layer->parameters();
  REQUIRE(parameters.size() == 16);
  CHECK(parameters[4].name == "weight_ih_l0_reverse");
  CHECK(parameters[12].name == "weight_ih_l1_reverse");
  CHECK(parameters[12].shape == Shape{20, 10});
  const std::vector<TensorType> sequence = {{DType::kFloat32, {2, 7, 3}, 1}};
  const std::vector<TensorType> types = layer->infer(sequence);
  CHECK(types[0] == TensorType{DType::kFloat32, {2, 7, 10}, 1});
  CHECK(types[2] == TensorType{DType::kFloat32, {4, 2, 5}, TensorType::kNoTime});
  CHECK(layer->time_map(0, 0, sequence).whole == "a bidirectional layer begins at both ends");
  const auto forward = make({"GRU", 3, 5, 2, true});
  CHECK(forward->time_map(0, 0, sequence) == TimeMap::recurrent());
  CHECK(forward->time_map(0, 1, sequence).is_whole());
  CHECK(forward->time_map(1, 0, sequence).is_whole());
  CHECK(forward->time_map(0, 0, std::vector<TensorType>{signal({2, 7, 3})}).is_whole());
  CHECK(refusal(ErrorCategory::kShape, [&] {
          output_shape(*layer, {2, 3, 100});
        }) == "input is [2, 3, 100], expected [N, L, 3] or [L, 3] (Transpose swaps the axes of a signal [N, C, L])");
  CHECK(refusal(ErrorCategory::kShape, [&] {
          infer_one(*layer, {sequence[0], {DType::kFloat32, {2, 2, 5}, TensorType::kNoTime}});
        }) == "h_0 is [2, 2, 5], expected [4, 2, 5]");
  CHECK(refusal(ErrorCategory::kUnsupported, [] {
          make_layer("LSTM", {{"input_size", 3}, {"hidden_size", 5}, {"proj_size", 2}});
        }) == "proj_size is 2, must be 0");
  refusal(ErrorCategory::kSchema, [] { make_layer("GRU", {{"input_size", 0}, {"hidden_size", 5}}); });
  refusal(ErrorCategory::kLimit, [] {
    make_layer("GRU", {{"input_size", 1}, {"hidden_size", 1}, {"num_layers", int64_t{1} << 40}});
  });
}

}  // namespace
}  // namespace strand::testing
