#include "layers/attention/attention.h"

#include <cmath>
#include <string>
#include <utility>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

Error misfit(const Shape& query, const Shape& key, const Shape& value, const std::string& expected) {
  return {ErrorCategory::kShape, "query, key and value are " + to_string(query) + ", " + to_string(key) + " and " +
                                     to_string(value) + ", expected " + expected};
}

// Of rows whose heads lie one after another (num_heads of them), or with an axis of their own.
HeadStrides strides_of(const Shape& shape, int64_t num_heads) {
  const int64_t features = shape[-1];
  const int64_t matrix = checked_mul(shape[-2], features);
  if (shape.rank() == 4) return {checked_mul(shape[1], matrix), matrix, features};
  return {matrix, features / num_heads, features};
}

}  // namespace

void set_mask(AttentionProblem& problem, const Shape& mask) {
  const std::array<int64_t, 4> sizes = {problem.batch, problem.heads, problem.length, problem.source};
  std::array<int64_t, 4> strides{};
  int64_t stride = 1;
  const int rank = mask.rank();
  const bool by_sequence = rank == 3 && problem.batch > 1 && mask[0] == problem.batch * problem.heads;
  bool fits = rank >= 1 && rank <= 4;
  for (int axis = rank - 1; fits && axis >= (by_sequence ? 1 : 0); --axis) {
    const auto place = static_cast<size_t>(axis + 4 - rank);
    fits = mask[axis] == 1 || mask[axis] == sizes[place];
    if (mask[axis] != 1) strides[place] = stride;
    stride = checked_mul(stride, mask[axis]);
  }
  if (!fits) {
    throw Error(ErrorCategory::kShape, "attn_mask is " + to_string(mask) + ", expected what broadcasts to " +
                                           to_string(Shape(std::span<const int64_t>(sizes))));
  }
  if (by_sequence) {
    strides[1] = stride;
    strides[0] = checked_mul(problem.heads, stride);
  }
  problem.masked = true;
  problem.mask = {strides[0], strides[1], strides[2]};
  problem.mask_column = strides[3];
}

AttentionProblem merged(AttentionProblem problem) {
  if (problem.heads > 1) return problem;
  std::swap(problem.batch, problem.heads);
  for (HeadStrides* strides : {&problem.query, &problem.key, &problem.value, &problem.output, &problem.mask}) {
    std::swap(strides->batch, strides->head);
  }
  return problem;
}

AttentionProblem ScaledDotProductAttention::problem(const Shape& query, const Shape& key, const Shape& value,
                                                    const Shape& mask) const {
  const int rank = query.rank();
  const bool ranks = rank >= 2 && rank <= 4 && key.rank() == rank && value.rank() == rank;
  bool fits = ranks && query[-1] > 0 && query[-1] == key[-1] && key[-2] == value[-2];
  for (int axis = 0; fits && axis + 2 < rank; ++axis) {
    fits = key[axis] == query[axis] && value[axis] == query[axis];
  }
  if (!fits) throw misfit(query, key, value, "[.., L, E], [.., S, E] and [.., S, Ev] of 2 to 4 axes");
  if (num_heads_ > 1 && rank == 4) {
    throw misfit(query, key, value,
                 "3 axes where num_heads cuts the last one (it is " + std::to_string(num_heads_) + ")");
  }
  if (query[-1] % num_heads_ != 0 || value[-1] % num_heads_ != 0) {
    throw misfit(query, key, value, "features that num_heads " + std::to_string(num_heads_) + " divides");
  }
  AttentionProblem problem;
  problem.batch = rank > 2 ? query[0] : 1;
  problem.heads = rank == 4 ? query[1] : num_heads_;
  problem.length = query[-2];
  problem.source = key[-2];
  problem.size = query[-1] / num_heads_;
  problem.value_size = value[-1] / num_heads_;
  problem.scale = scale_ ? *scale_ : 1 / std::sqrt(static_cast<double>(problem.size));
  problem.causal = causal_;
  problem.query = strides_of(query, num_heads_);
  problem.key = strides_of(key, num_heads_);
  problem.value = strides_of(value, num_heads_);
  Shape output = query;
  output.set(rank - 1, value[-1]);
  problem.output = strides_of(output, num_heads_);
  if (mask.rank() > 0) set_mask(problem, mask);
  return problem;
}

AttentionProblem ScaledDotProductAttention::problem(std::span<const TensorType> inputs) const {
  return problem(inputs[0].shape, inputs[1].shape, inputs[2].shape, inputs.size() > 3 ? inputs[3].shape : Shape{});
}

AttentionProblem ScaledDotProductAttention::problem(const Bindings& bindings) const {
  const auto shape = [&](size_t port) { return input_at(bindings, port).shape(); };
  return problem(shape(0), shape(1), shape(2), shape(3));
}

std::vector<TensorType> ScaledDotProductAttention::infer(std::span<const TensorType> inputs) const {
  problem(inputs);  // for its check
  TensorType output = inputs[0];
  const int last = output.shape.rank() - 1;
  output.shape.set(last, inputs[2].shape[last]);
  if (output.time_axis == last) output.time_axis = TensorType::kNoTime;
  return {output};
}

TimeMap ScaledDotProductAttention::time_map(int input, int, std::span<const TensorType> inputs) const {
  return attention_times(input, inputs, inputs[0].shape.rank() - 2, causal_);
}

int64_t ScaledDotProductAttention::multiply_adds(std::span<const TensorType> inputs,
                                                 std::span<const TensorType>) const {
  return products_of(problem(inputs));
}

std::vector<Implementation> ScaledDotProductAttention::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  attention_cuda(*this, args, list);
  list.push_back(float32_implementation(args, "cpu.native", [this, &args] { return attention_cpu(*this, args); }));
  list.push_back({"cpu.reference", DeviceType::kCpu, unless_floating(args),
                  [this, &args] { return attention_reference(*this, args, false); }});
  return list;
}

ErrorBound ScaledDotProductAttention::error_bound(const PrepareArgs& args) const {
  const AttentionProblem p = problem(args.inputs);
  return {sum_factor(std::max(p.size, p.source)), attention_reference(*this, args, true)};
}

TimeMap attention_times(int input, std::span<const TensorType> inputs, int rows_axis, bool causal) {
  if (input > 0) return TimeMap::all("attention looks at all keys for every output");
  if (inputs[0].time_axis != rows_axis) return TimeMap::all("time is not the axis of attention's rows");
  if (causal) return TimeMap::all("causal attention keeps all keys before");
  if (inputs.size() > 3 && inputs[3].shape.rank() > 0) return TimeMap::all("attention's mask stands for its times");
  return TimeMap::pointwise();
}

int64_t products_of(const AttentionProblem& p) {
  const int64_t pairs = checked_mul(checked_mul(p.batch, p.heads), checked_mul(p.length, p.source));
  return checked_mul(pairs, checked_add(p.size, p.value_size));
}

void register_attention(LayerRegistry& registry) {
  registry.add({"ScaledDotProductAttention",
                "softmax(scale query key^T + attn_mask) value",
                {{"num_heads", kInteger, "heads that share the last axis; 1 where they have an axis of their own", 1},
                 {"scale", kNumber | kNull, "of the products; null: 1 / sqrt(features a head)", Null{}},
                 {"is_causal", kBoolean, "a row sees itself and rows before it alone", false}},
                [](const Attributes& a) {
                  return std::make_unique<ScaledDotProductAttention>(
                      a.positive("num_heads"), a.is_null("scale") ? std::nullopt : std::optional(a.number("scale")),
                      a.boolean("is_causal"));
                },
                "query [.., L, E], key [.., S, E], value [.., S, Ev] -> [.., L, Ev], 2 to 4 axes; attn_mask optional, "
                "added, broadcast to [N, heads, L, S]",
                "query pointwise (whole if causal or masked); whole for the others",
                {"cuda.cublas", "cpu.native", "cpu.reference"}});
  register_multihead(registry);
}

}  // namespace strand::layers
