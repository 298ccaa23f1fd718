// Conv1d whose input, residual and output are stored as float16 or bfloat16: each mix of types against the reference
// on the very values that were stored, in double.

#include <algorithm>
#include <limits>
#include <optional>

#include "layers/epilogue.h"
#include "layers/half_storage.h"
#include "tests/conv1d_table.h"
#include "tests/run_layer.h"

namespace strand::testing {
namespace {

// What is stored as halves; the rest is float32.
struct Mix {
  bool input;
  bool output;
  bool residual;
};
constexpr Mix kMixes[] = {{true, true, true},  {true, true, false},  {true, false, true},
                          {false, true, true}, {false, true, false}, {false, false, true}};

// Types as a plan has them: `inputs` in float32.
struct Problem {
  const layers::Layer& layer;
  std::vector<Tensor> inputs;
  Parameters parameters;
  Precision precision;
  Mix mix;

  DType half() const { return layers::stored_type(precision); }
  std::vector<Tensor> stored_inputs() const {
    std::vector<Tensor> result;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const bool as_half = i == 0 ? mix.input : mix.residual;
      result.push_back(as_half ? inputs[i].to(half()) : copy_of(inputs[i].view()));
    }
    return result;
  }
};

// All its implementations, with what they were made from.
template <class Use>
void with_implementations(const Problem& problem, Device device, Use&& use) {
  const std::vector<Tensor> inputs = problem.stored_inputs();
  const PreparedLayer floats(problem.layer, problem.inputs, problem.parameters, DType::kFloat32, device,
                             problem.precision);
  std::vector<TensorType> types;
  for (const Tensor& input : inputs) types.push_back(input.type());
  std::vector<TensorType> outputs = floats.output_types();
  if (problem.mix.output) outputs[0].dtype = problem.half();
  const layers::PrepareArgs& base = floats.args();
  const layers::PrepareArgs args{types, outputs, device, base.workspace_limit, base.weights, base.precision};
  for (const layers::Implementation& each : problem.layer.implementations(args)) use(each, inputs, outputs);
}

// |y - truth| <= factor * eps * scale, and what storing adds. Past float16's range the infinite is right.
Comparison compare_stored(const Tensor& output, const Truth& truth, Precision precision) {
  const DType type = output.type().dtype;
  const Tensor floats = output.to(DType::kFloat32);
  const double limit = type == DType::kFloat16 ? 65520.0 : std::numeric_limits<double>::infinity();
  Comparison comparison;
  for (size_t i = 0; i < floats.as<const float>().size(); ++i) {
    const double y = static_cast<double>(floats.as<const float>()[i]);
    const double expected = truth.values[0].as<const double>()[i];
    const double computed = truth.factor * eps_of(precision) * truth.scales[0].as<const double>()[i];
    const double bound = computed + layers::storing_eps(type) * (std::fabs(expected) + computed) +
                         layers::storing_floor(type) + 0x1p-149;
    bool good = std::isnan(expected) ? std::isnan(y) : y == expected || std::fabs(y - expected) <= bound;
    if (std::isinf(y) && (y > 0) == (expected > 0)) good |= std::fabs(expected) + computed >= limit;
    if (std::isfinite(y)) comparison.worst = std::max(comparison.worst, std::fabs(y - expected) / bound);
    if (!good && comparison.wrong++ == 0) {
      comparison.first = "element " + std::to_string(i) + ": " + std::to_string(y) + ", truth " +
                         std::to_string(expected) + ", bound " + std::to_string(bound);
    }
  }
  return comparison;
}

struct Counts {
  std::string required = {};  // what has to take each problem; empty: none has to
  int taken = 0;              // by any, on a device that may not be here
  int turn = 0;               // of mixes and precisions
  std::map<std::string, double> worst = {};
};

void check(Problem& problem, const std::string& what, Counts& counts) {
  const bool any = problem.mix.input || problem.mix.output || (problem.mix.residual && problem.inputs.size() > 1);
  if (!any) return;
  const Device cuda{DeviceType::kCuda, 0};
  std::vector<std::string> names;
  // Without args.device on CUDA nothing asks for one.
  with_implementations(problem, {}, [&](const layers::Implementation& each, const auto&, const auto&) {
    if (!each.declined.empty()) return;
    CHECK_MESSAGE((each.name == "cuda.wgmma" || each.name == "cuda.depthwise" || each.name == "cuda.few_channels"),
                  each.name << " takes halves");
    names.push_back(each.name);
    ++counts.taken;
  });
  if (cuda::built_with_cuda() && !counts.required.empty()) {
    CHECK_MESSAGE(std::ranges::count(names, counts.required) == 1, counts.required << " declines " << what);
  }
  if (names.empty() || !cuda_available()) return;
  std::vector<Tensor> exact;  // the values that are stored
  for (const Tensor& input : problem.stored_inputs()) exact.push_back(input.to(DType::kFloat32));
  const Truth truth = reference_truth(problem.layer, exact, problem.parameters);
  with_implementations(problem, cuda, [&](const layers::Implementation& each, const auto& inputs, const auto& outputs) {
    if (std::ranges::count(names, each.name) == 0 || !each.declined.empty()) return;
    const std::vector<Tensor> found = run_kernel(*each.prepare(), inputs, outputs, cuda);
    const Comparison comparison = compare_stored(found[0], truth, problem.precision);
    double& worst = counts.worst[each.name];
    worst = std::max(worst, comparison.worst);
    CHECK_MESSAGE(comparison.wrong == 0, what << " " << each.name << " " << strand::to_string(problem.precision)
                                              << " in/out/residual " << problem.mix.input << problem.mix.output
                                              << problem.mix.residual << ": " << comparison.wrong << " wrong, first "
                                              << comparison.first << " (seed " << test_seed() << ")");
  });
}

// What follows the sums: nothing, or a residual before or after a function.
std::shared_ptr<const layers::Layer> with_epilogue(const Conv1dCase& c, int kind) {
  const std::shared_ptr<const layers::Layer> conv = make_conv1d(c);
  if (kind == 0) return conv;
  layers::Epilogue epilogue;
  epilogue.function = layers::Epilogue::Function::kRelu;
  epilogue.residual = kind == 1 ? layers::Epilogue::Residual::kBefore : layers::Epilogue::Residual::kAfter;
  auto both = conv->absorb(epilogue);
  REQUIRE(both != nullptr);
  return both;
}

// `value`: instead of some inputs.
void check_all(const std::vector<Conv1dCase>& cases, Counts& counts, std::optional<float> value = {}) {
  int& turn = counts.turn;
  for (size_t i = first_tried(cases.size()); i < cases.size(); i += tried_step(cases.size())) {
    const Conv1dCase& c = cases[i];
    const int kind = turn % 3;
    const Mix& mix = kMixes[static_cast<size_t>(turn / 3 % 6)];
    const Precision precision = (turn + turn / 18) % 2 == 0 ? Precision::kFloat16 : Precision::kBFloat16;
    ++turn;
    const auto layer = with_epilogue(c, kind);
    Problem problem{*layer, {}, random_parameters(*layer), precision, mix};
    problem.inputs.push_back(random_tensor({c.batch, c.in_channels, c.length}));
    if (value) {
      const auto x = problem.inputs[0].as<float>();
      for (size_t at = 5; at < x.size(); at += 97) x[at] = *value;
    }
    if (kind > 0) {
      const std::vector<TensorType> types = {problem.inputs[0].type()};
      problem.inputs.push_back(random_tensor(make_conv1d(c)->infer(types)[0].shape));
    }
    check(problem, to_string(c), counts);
  }
}

void check_all(const std::vector<Conv1dCase>& cases, const std::string& required = {}, int rounds = 3) {
  Counts counts{required};
  // Each problem with each mix and precision in turn: the table's order shifts what meets what.
  std::vector<Conv1dCase> shifted = cases;
  for (int round = 0; round < (tried_step() > 1 ? 1 : rounds); ++round) {
    check_all(shifted, counts);
    // By a prime that divides no table's length.
    std::rotate(shifted.begin(), shifted.begin() + 7 % std::ssize(shifted), shifted.end());
  }
  std::string text;
  for (const auto& [name, share] : counts.worst) text += " " + name + " " + std::to_string(share);
  MESSAGE(counts.taken << " problems taken, largest error as a share of the bound:" << text);
  if (cuda::built_with_cuda()) CHECK(counts.taken > 0);
}

TEST_CASE("conv1d in halves: channel counts at tile edges") { check_all(channel_cases()); }
TEST_CASE("conv1d in halves: kernel sizes, dilations and strides") { check_all(geometry_cases()); }
TEST_CASE("conv1d in halves: groups and depthwise") { check_all(group_cases()); }
TEST_CASE("conv1d in halves: short sums on tensor cores") { check_all(short_sum_cases()); }
TEST_CASE("conv1d in halves: octets of two taps in a step") { check_all(paired_cases()); }
TEST_CASE("conv1d in halves: depthwise by windows") { check_all(window_cases()); }
// So many that cuda.depthwise goes by rows.
TEST_CASE("conv1d in halves: depthwise with long rows") {
  check_all(
      {{3, 300, 300, 768, 3, 1, 1, 1, 300}, {3, 300, 300, 771, 4, 2, 1, 0, 300}, {3, 300, 300, 768, 7, 1, 1, 3, 300}});
}
// Rows and pads of every length modulo a sector, in each of the ways that rows are laid out and stored.
TEST_CASE("conv1d in halves: few channels") {
  std::vector<Conv1dCase> cases = few_cases();
  constexpr const char* kModes[] = {"zeros", "reflect", "replicate", "circular"};
  for (int64_t i = 0; i < 16; ++i) {
    const char* mode = kModes[i / 2 % 4];
    const int64_t length = 1200 + i;
    cases.push_back({2, 32, 1, length, 7, 1, 1, 3, 1, true, mode});
    cases.push_back({1, 12, 4, length, 3, 1, 1, CasePadding(i, 15 - i), 2, false, mode});
    cases.push_back({2, 16, 16, length, 3, 130 + i, 1, "causal", 1, true, mode});
    cases.push_back({1, 10, 7, 2 * length, 13, 5, 1, 30, 1, true, mode});
    cases.push_back({1, 16, 30, length, 5, 1, 1, CasePadding(2, i), 2, true, mode});
    cases.push_back({1, 3, 6, length, 6, 600, 1, CasePadding(1190, 900 + i), 1, true, mode});  // by tap
    cases.push_back({2, 8, 3, length, 4, 3, 2 + i % 3, CasePadding(i, 9), 1, true, mode});     // by tap: a stride
    cases.push_back({22, 6, 3, 4100 + i, i % 2 == 0 ? 3 : 11, 1, 1, CasePadding(i, 5), 3, true, mode});  // twelve
    cases.push_back({3, 20, 2, 1 + i, 5, 1, 1, 2 + i % 2});  // a row shorter than a vector
    // Few inputs: sectors of long rows (of 112 positions a warp), of every sixteenth output, and shared.
    cases.push_back({2, 1, 20, 2 * length, 7, 1, 1, CasePadding(3, 15 - i), 1, true, mode});
    cases.push_back({1, 2, 270, length, 2, 3, 1 + i % 2, CasePadding(i % 3, 1), 1, i % 2 == 0, mode});
    cases.push_back({1, 2, 70, 4 * length + i, 10, 1, 5, i % 4, 2, true, mode});
    cases.push_back({1, 1, 150, 500 + i, 12, 2, 1, 11, 1, true, mode});
  }
  cases.push_back({2, 1, 1100, 1211, 4, 1, 1, 1});  // every sixteenth output, in two sets
  cases.push_back({1, 1, 530, 3001, 10, 1, 5, 0});
  check_all(cases, "cuda.few_channels", 2);  // long, and like problems meet other mixes
}
TEST_CASE("conv1d in halves: tiles of 256 positions") { check_all(wide_tile_cases(), {}, 1); }
TEST_CASE("conv1d in halves: tiles of 256 channels") { check_all(tall_tile_cases(), "cuda.wgmma", 2); }
// Three tiles a thread block, whole ones and such whose second half is empty in turn; and none at all.
TEST_CASE("conv1d in halves: tiles of 256 channels that are half empty") {
  // Weights that follow, and that stay for each block.
  check_all({{1, 80, 344, 17000, 5, 1, 1, 2}, {1, 64, 344, 17000, 4, 1, 1, 1}, {0, 80, 344, 17000, 5, 1, 1, 2}},
            "cuda.wgmma", 1);
}
// Positions that are the rows of products.
TEST_CASE("conv1d in halves: few outputs of many positions") {
  std::vector<Conv1dCase> cases = {{32, 8, 16, 17000, 16, 1, 8, 4}, {64, 16, 14, 2100, 5, 1, 2, 2}};
  for (int64_t length = 1024; length < 1032; ++length) {
    cases.push_back({64, 16, length % 2 == 0 ? 16 : 11, length, 3, 1, 1, 1});
  }
  check_all(cases, "cuda.wgmma");
}
TEST_CASE("conv1d in halves: padding of every mode") {
  std::vector<Conv1dCase> cases;
  for (const char* mode : {"zeros", "reflect", "replicate", "circular"}) {
    for (const int64_t length : {200, 203, 205, 208}) {
      cases.push_back({2, 32, 64, length, 5, 3, 1, CasePadding(17, 9), 1, true, mode});
      cases.push_back({1, 48, 40, length, 3, 1, 2, CasePadding(1, 60), 1, false, mode});
      cases.push_back({2, 16, 33, length, 16, 1, 8, CasePadding(9, 3), 1, true, mode});
      cases.push_back({1, 3, 80, length, 20, 2, 3, CasePadding(30, 31), 1, true, mode});
      cases.push_back({2, 12, 12, length, 7, 2, 1, CasePadding(12, 11), 12, true, mode});
    }
  }
  check_all(cases);
}

// Rows of every length modulo 16 bytes, whose stores differ, and several tiles of each.
TEST_CASE("conv1d in halves: rows of all alignments") {
  std::vector<Conv1dCase> cases = {{1, 32, 128, 2403, 3, 1, 1, 1},    // which would be carried, were all float32
                                   {1, 16, 128, 60000, 3, 1, 1, 1}};  // three tiles a thread block
  for (int64_t length = 401; length < 417; ++length) {
    for (const int64_t out : {int64_t{40}, int64_t{128}}) {
      cases.push_back({2, 32, out, length, 3, 1, 1, 1});
      cases.push_back({1, 64, out, 2 * length, 4, 1, 2, 1});
      cases.push_back({2, 16, out, 4 * length, 16, 1, 8, 4});
      cases.push_back({1, 16, 70, length, 5, 2, 1, 3});
    }
    cases.push_back({2, 24, 24, 3000 + length, 3, 1, 1, 1, 24});
    cases.push_back({1, 4, 100, length, 15, 1, 1, 7});
    cases.push_back({1, 1, 128, 4 * length, 80, 1, 4, 38});
    cases.push_back({1, 3, 70, length, 30, 1, 1 + length % 2, 7});
  }
  check_all(cases);
}

TEST_CASE("conv1d in halves: Inf, NaN, and values past the range of the other") {
  for (const float value : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 65504.0F,
                            1e-7F, 1e36F, 1e-30F}) {
    Counts counts;
    check_all({{2, 64, 37, 211, 3, 4, 3, 5},
               {1, 64, 128, 300, 3, 1, 1, 1},
               {1, 6, 6, 500, 5, 2, 1, 4, 6},
               {2, 16, 64, 999, 16, 1, 8, 3},
               {1, 4, 100, 400, 15, 1, 1, 7},
               {1, 20, 3, 601, 5, 1, 1, 2},
               {1, 1, 20, 2501, 5, 1, 1, 2},
               {2, 96, 300, 400, 3, 1, 1, 1},
               {2, 64, 64, 400, 1, 1, 1, 0}},
              counts, value);
  }
}

}  // namespace
}  // namespace strand::testing
