#include <cmath>
#include <limits>

#include "tests/make_layer.h"
#include "tests/run_pieces.h"

namespace strand::testing {
namespace {

const float kInf = std::numeric_limits<float>::infinity();

std::vector<Tensor> random_tensors(const std::vector<Shape>& shapes) {
  std::vector<Tensor> tensors;
  for (const Shape& shape : shapes) tensors.push_back(shape.rank() == 0 ? Tensor() : random_tensor(shape));
  return tensors;
}

// About as large as trained ones: projections keep their inputs' size.
Parameters ordinary_parameters(const layers::Layer& layer) {
  Parameters parameters = random_parameters(layer);
  for (const layers::Parameter& parameter : layer.parameters()) {
    if (parameter.shape.rank() < 2) continue;
    const auto scale = 1 / std::sqrt(static_cast<float>(parameter.shape[1]));
    for (float& value : parameters.at(parameter.name).as<float>()) value *= scale;
  }
  return parameters;
}

void check(const layers::Layer& layer, const std::vector<Shape>& shapes, const std::string& what) {
  check_layer(layer, random_tensors(shapes), ordinary_parameters(layer), what + " of " + to_string(shapes[0]));
}

TEST_CASE("ScaledDotProductAttention at tile edges") {
  const auto layer = make_layer("ScaledDotProductAttention");
  for (const int64_t length : {1, 5, 6, 7, 48, 49}) {
    for (const int64_t source : {1, 15, 16, 17, 33, 300}) {
      const int64_t size = 1 + (length * source) % 19;
      check(*layer, {{2, length, size}, {2, source, size}, {2, source, 17}}, "attention");
    }
  }
  check(*layer, {{1, 2, 300}, {1, 40, 300}, {1, 40, 3}}, "wide attention");
  check(*layer, {{3, 4}, {1100, 4}, {1100, 2}}, "attention to many keys");
}

TEST_CASE("ScaledDotProductAttention in every arrangement") {
  for (const bool causal : {false, true}) {
    const auto layer = make_layer("ScaledDotProductAttention", {{"is_causal", causal}});
    check(*layer, {{7, 4}, {7, 4}, {7, 3}}, "causal attention");
    check(*layer, {{2, 3, 9, 4}, {2, 3, 5, 4}, {2, 3, 5, 4}}, "attention of heads");
    check(*layer, {{2, 3, 5, 4}, {2, 3, 9, 4}, {2, 3, 9, 4}}, "attention of heads");
    check(*layer, {{0, 5, 4}, {0, 5, 4}, {0, 5, 4}}, "attention of nothing");
    check(*layer, {{2, 0, 4}, {2, 5, 4}, {2, 5, 4}}, "attention of no rows");
    check(*layer, {{2, 5, 4}, {2, 0, 4}, {2, 0, 3}}, "attention to nothing");
    for (const int64_t heads : {2, 3}) {
      const auto cut =
          make_layer("ScaledDotProductAttention", {{"num_heads", heads}, {"is_causal", causal}, {"scale", 0.4}});
      check(*cut, {{3, 50, 12}, {3, 60, 12}, {3, 60, 18}}, "attention of cut heads");
    }
  }
}

TEST_CASE("masks broadcast as in NumPy, or have a matrix a head of each sequence") {
  const auto layer = make_layer("ScaledDotProductAttention", {{"num_heads", 2}});
  for (const Shape& mask : {Shape{9}, Shape{1}, Shape{5, 9}, Shape{5, 1}, Shape{2, 5, 9}, Shape{2, 1, 9},
                            Shape{3, 1, 1, 9}, Shape{3, 2, 5, 9}, Shape{1, 2, 5, 1}, Shape{6, 5, 9}, Shape{6, 1, 9}}) {
    check(*layer, {{3, 5, 8}, {3, 9, 8}, {3, 9, 4}, mask}, "attention with mask " + to_string(mask));
  }
  const auto one = make_layer("ScaledDotProductAttention");
  for (const Shape& mask : {Shape{3, 5, 9}, Shape{3, 1, 5, 9}, Shape{5, 9}}) {
    check(*one, {{3, 5, 8}, {3, 9, 8}, {3, 9, 4}, mask}, "one head with mask " + to_string(mask));
  }
}

TEST_CASE("a mask of -Inf hides keys, and a row that sees none is NaN") {
  const auto layer = make_layer("ScaledDotProductAttention");
  std::vector<Tensor> inputs = random_tensors({{1, 4, 8}, {1, 20, 8}, {1, 20, 3}, {4, 20}});
  const auto mask = inputs[3].as<float>();
  std::fill(mask.begin(), mask.begin() + 20, -kInf);
  std::fill(mask.begin() + 25, mask.begin() + 40, -kInf);
  check_layer(*layer, inputs, {}, "masked attention");
  for_each_implementation(*layer, inputs, {}, [](const std::string&, std::span<const float> y) {
    for (size_t i = 0; i < 12; ++i) CHECK(std::isnan(y[i]) == (i < 3));
  });
}

TEST_CASE("NaN and Inf reach the rows that see them") {
  for (const bool causal : {false, true}) {
    const auto layer = make_layer("ScaledDotProductAttention", {{"is_causal", causal}});
    for (const size_t port : {size_t{0}, size_t{1}}) {
      std::vector<Tensor> inputs = random_tensors({{2, 9, 4}, {2, 9, 4}, {2, 9, 4}});
      inputs[port].as<float>()[4 * 5 + 1] = std::numeric_limits<float>::quiet_NaN();
      check_layer(*layer, inputs, {}, "attention with NaN");
      for_each_implementation(*layer, inputs, {}, [&](const std::string&, std::span<const float> y) {
        for (size_t row = 0; row < 18; ++row) {
          const bool sees = row < 9 && (port == 0 ? row == 5 : row >= 5 || !causal);
          CHECK(std::isnan(y[row * 4]) == sees);
        }
      });
    }
  }
}

TEST_CASE("MultiheadAttention in every arrangement") {
  for (const bool batch_first : {false, true}) {
    for (const bool bias : {false, true}) {
      for (const int64_t heads : {1, 2, 8}) {
        const auto layer = make_layer("MultiheadAttention", {{"embed_dim", 16},
                                                             {"num_heads", heads},
                                                             {"bias", bias},
                                                             {"batch_first", batch_first},
                                                             {"is_causal", heads == 2}});
        const auto shape = [&](int64_t length) { return batch_first ? Shape{3, length, 16} : Shape{length, 3, 16}; };
        check(*layer, {shape(50)}, "self-attention");
        check(*layer, {shape(1)}, "self-attention");
        check(*layer, {shape(5), shape(40)}, "attention to others");
        check(*layer, {shape(20), shape(7), shape(7)}, "attention to others");
        check(*layer, {shape(7), {}, {}, {heads, 7, 7}}, "self-attention with a bias");
        check(*layer, {shape(0)}, "self-attention of nothing");
        check(*layer, {{20, 16}}, "self-attention without a batch");
      }
    }
  }
  const auto wide = make_layer("MultiheadAttention", {{"embed_dim", 40}, {"num_heads", 5}, {"kdim", 3}, {"vdim", 33}});
  check(*wide, {{9, 2, 40}, {12, 2, 3}, {12, 2, 33}}, "attention to other features");
  CHECK(wide->parameters()[1].shape == Shape{40, 3});
}

// The kernel of that name for a limit of so many bytes.
std::vector<float> run_limited(const layers::Layer& layer, const std::string& name, const std::vector<Tensor>& inputs,
                               const Parameters& parameters, int64_t limit) {
  const Device device{name.starts_with("cuda") ? DeviceType::kCuda : DeviceType::kCpu, 0};
  const PreparedLayer prepared(layer, inputs, parameters, DType::kFloat32, device);
  layers::PrepareArgs args = prepared.args();
  args.workspace_limit = limit;
  for (const layers::Implementation& implementation : layer.implementations(args)) {
    if (implementation.name != name) continue;
    const std::vector<Tensor> outputs =
        run_kernel(*implementation.prepare(), inputs, prepared.output_types(), device, 3);
    const auto y = outputs[0].as<const float>();
    return {y.begin(), y.end()};
  }
  return {};
}

TEST_CASE("scores that do not fit the workspace's limit come piece by piece") {
  const auto attention = make_layer("ScaledDotProductAttention", {{"num_heads", 4}});
  const auto multihead = make_layer("MultiheadAttention", {{"embed_dim", 16}, {"num_heads", 4}, {"batch_first", true}});
  for (const layers::Layer* layer : {attention.get(), multihead.get()}) {
    const std::vector<Tensor> inputs = random_tensors({{2, 100, 16}, {2, 70, 16}, {2, 70, 16}, {2, 4, 100, 70}});
    const Parameters parameters = ordinary_parameters(*layer);
    const Truth truth = reference_truth(*layer, inputs, parameters);
    const std::vector<float> whole = run_limited(*layer, "cpu.native", inputs, parameters, kWorkspaceLimit);
    for (const int64_t limit : {int64_t{0}, int64_t{280}, int64_t{900}, int64_t{20000}}) {
      CHECK(run_limited(*layer, "cpu.native", inputs, parameters, limit) == whole);
      if (!cuda_available()) continue;
      const std::vector<float> pieces = run_limited(*layer, "cuda.cublas", inputs, parameters, limit);
      std::vector<Tensor> outputs;
      outputs.push_back(tensor_of({2, 100, 16}, pieces));
      CHECK(compare(outputs, truth).wrong == 0);
    }
  }
}

TEST_CASE("attention's times") {
  const auto attention = make_layer("ScaledDotProductAttention");
  const auto causal = make_layer("ScaledDotProductAttention", {{"is_causal", true}});
  const TensorType query{DType::kFloat32, {2, 50, 4}, 1};
  const TensorType keys{DType::kFloat32, {2, 9, 4}, TensorType::kNoTime};
  const TensorType mask{DType::kFloat32, {50, 9}, TensorType::kNoTime};
  CHECK(time_map_of(*attention, {query, keys, keys}) == TimeMap::pointwise());
  CHECK(infer_one(*attention, {query, keys, keys}).time_axis == 1);
  CHECK(time_map_of(*attention, {query, keys, keys}, 1).whole == "attention looks at all keys for every output");
  CHECK(time_map_of(*causal, {query, keys, keys}).whole == "causal attention keeps all keys before");
  CHECK(time_map_of(*attention, {query, keys, keys, mask}).whole == "attention's mask stands for its times");
  CHECK(time_map_of(*attention, {signal({2, 50, 4}), keys, keys}).whole == "time is not the axis of attention's rows");
  CHECK(infer_one(*attention, {signal({2, 50, 4}), keys, keys}).time_axis == TensorType::kNoTime);
  const auto multihead = make_layer("MultiheadAttention", {{"embed_dim", 4}, {"num_heads", 2}, {"batch_first", true}});
  CHECK(time_map_of(*multihead, {query, {}, {}, {}}).whole == "self-attention looks at all times for every one");
  CHECK(time_map_of(*multihead, {query, keys, {}, {}}) == TimeMap::pointwise());

  std::vector<Tensor> inputs;
  for (const TensorType& type : {query, keys, keys}) {
    inputs.emplace_back(type);
    std::ranges::copy(random_tensor(type.shape).as<const float>(), inputs.back().as<float>().begin());
  }
  check_pieces(*attention, inputs, {}, "attention to keys without time");
  check_pieces(*multihead, inputs, ordinary_parameters(*multihead), "projected attention to keys without time");
}

TEST_CASE("attention's errors") {
  const auto attention = make_layer("ScaledDotProductAttention", {{"num_heads", 2}});
  const auto infer = [](const layers::Layer& layer, const std::vector<Shape>& shapes) {
    std::vector<TensorType> types;
    for (const Shape& shape : shapes) types.push_back({DType::kFloat32, shape, TensorType::kNoTime});
    layer.infer(types);
  };
  const std::vector<std::vector<Shape>> wrong = {
      {{2, 5, 4}, {2, 5, 6}, {2, 5, 4}},         {{2, 5, 4}, {2, 6, 4}, {2, 5, 4}},
      {{2, 5, 4}, {3, 5, 4}, {3, 5, 4}},         {{5, 4}, {2, 5, 4}, {2, 5, 4}},
      {{2, 5, 3}, {2, 5, 3}, {2, 5, 3}},         {{2, 2, 5, 4}, {2, 2, 5, 4}, {2, 2, 5, 4}},
      {{2, 5, 4}, {2, 5, 4}, {2, 5, 4}, {4, 5}}, {{4}, {4}, {4}},
      {{2, 5, 0}, {2, 5, 0}, {2, 5, 4}},         {{2, 5, 4}, {2, 5, 4}, {2, 5, 4}, {2, 2, 2, 5, 5}},
  };
  for (const std::vector<Shape>& shapes : wrong) refusal(ErrorCategory::kShape, [&] { infer(*attention, shapes); });
  CHECK(refusal(ErrorCategory::kShape, [&] {
          infer(*attention, {{2, 5, 4}, {2, 5, 4}, {2, 5, 4}, {3, 5, 5}});
        }) == "attn_mask is [3, 5, 5], expected what broadcasts to [2, 2, 5, 5]");
  const auto multihead = make_layer("MultiheadAttention", {{"embed_dim", 4}, {"num_heads", 2}});
  CHECK(refusal(ErrorCategory::kShape,
                [&] {
                  infer(*multihead, {{5, 2, 6}, {}, {}, {}});
                }) ==
        "query, key and value are [5, 2, 6], [5, 2, 6] and [5, 2, 6], expected [L, N, 4], .., 4] and .., 4] (or "
        "without N)");
  refusal(ErrorCategory::kShape, [&] { infer(*multihead, {{5, 2, 4}, {5, 3, 4}, {}, {}}); });
  refusal(ErrorCategory::kShape, [&] { infer(*multihead, {{5, 2, 4}, {6, 2, 4}, {5, 2, 4}, {}}); });
  CHECK(refusal(ErrorCategory::kSchema, [] {
          make_layer("MultiheadAttention", {{"embed_dim", 10}, {"num_heads", 4}});
        }) == "num_heads 4 does not divide embed_dim 10");
  refusal(ErrorCategory::kSchema, [] { make_layer("ScaledDotProductAttention", {{"num_heads", 0}}); });
}

}  // namespace
}  // namespace strand::testing
