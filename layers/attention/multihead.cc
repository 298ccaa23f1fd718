#include <algorithm>
#include <cmath>
#include <string>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/attention/attention.h"
#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

// The axis of a sequence's rows; the batch's is the other one of three axes.
int rows_axis(const Shape& query, bool batch_first) { return query.rank() == 3 && batch_first ? 1 : 0; }

std::unique_ptr<Layer> make_multihead(const Attributes& a) {
  MultiheadOptions options;
  options.embed_dim = a.positive("embed_dim");
  options.num_heads = a.positive("num_heads");
  options.kdim = a.is_null("kdim") ? options.embed_dim : a.positive("kdim");
  options.vdim = a.is_null("vdim") ? options.embed_dim : a.positive("vdim");
  options.bias = a.boolean("bias");
  options.batch_first = a.boolean("batch_first");
  options.causal = a.boolean("is_causal");
  if (options.embed_dim % options.num_heads != 0) {
    throw Error(ErrorCategory::kSchema, "num_heads " + std::to_string(options.num_heads) +
                                            " does not divide embed_dim " + std::to_string(options.embed_dim));
  }
  return std::make_unique<MultiheadAttention>(options);
}

Shape shape_at(std::span<const TensorType> inputs, size_t port) {
  return port < inputs.size() ? inputs[port].shape : Shape{};
}

}  // namespace

MultiheadLayout::MultiheadLayout(const AttentionProblem& problem, int64_t embed_dim)
    : rows(checked_mul(problem.batch, problem.length)),
      source(checked_mul(problem.batch, problem.source)),
      features(embed_dim) {}

int64_t MultiheadLayout::elements() const { return checked_mul(checked_mul(checked_add(rows, source), 2), features); }

std::array<Projection, 3> MultiheadAttention::projections() const {
  const int64_t e = options_.embed_dim;
  if (options_.one_matrix())
    return {{{"in_proj_weight", 0, e}, {"in_proj_weight", e, e}, {"in_proj_weight", 2 * e, e}}};
  return {{{"q_proj_weight", 0, e}, {"k_proj_weight", 0, options_.kdim}, {"v_proj_weight", 0, options_.vdim}}};
}

AttentionProblem MultiheadAttention::problem(const Shape& query, const Shape& given_key, const Shape& given_value,
                                             const Shape& mask) const {
  const Shape& key = given_key.rank() > 0 ? given_key : query;
  const Shape& value = given_value.rank() > 0 ? given_value : key;
  const int rows = rows_axis(query, options_.batch_first);
  bool fits = query.rank() == 2 || query.rank() == 3;
  for (const Shape* shape : {&key, &value}) {
    fits = fits && shape->rank() == query.rank() && (*shape)[rows] == key[rows] &&
           (query.rank() == 2 || (*shape)[1 - rows] == query[1 - rows]);
  }
  if (!fits || query[-1] != options_.embed_dim || key[-1] != options_.kdim || value[-1] != options_.vdim) {
    const std::string axes = options_.batch_first ? "[N, L, " : "[L, N, ";
    throw Error(ErrorCategory::kShape,
                "query, key and value are " + to_string(query) + ", " + to_string(key) + " and " + to_string(value) +
                    ", expected " + axes + std::to_string(options_.embed_dim) + "], .., " +
                    std::to_string(options_.kdim) + "] and .., " + std::to_string(options_.vdim) + "] (or without N)");
  }
  AttentionProblem problem;
  problem.batch = query.rank() == 3 ? query[1 - rows] : 1;
  problem.heads = options_.num_heads;
  problem.length = query[rows];
  problem.source = key[rows];
  problem.size = problem.value_size = options_.embed_dim / options_.num_heads;
  problem.scale = 1 / std::sqrt(static_cast<double>(problem.size));
  problem.causal = options_.causal;
  const int64_t e = options_.embed_dim;
  const bool adjacent = query.rank() == 2 || options_.batch_first;
  const auto strides = [&](int64_t length) -> HeadStrides {
    if (adjacent) return {checked_mul(length, e), problem.size, e};
    return {e, problem.size, checked_mul(problem.batch, e)};
  };
  problem.query = problem.output = strides(problem.length);
  problem.key = problem.value = strides(problem.source);
  if (mask.rank() > 0) set_mask(problem, mask);
  return problem;
}

AttentionProblem MultiheadAttention::problem(std::span<const TensorType> inputs) const {
  return problem(inputs[0].shape, shape_at(inputs, 1), shape_at(inputs, 2), shape_at(inputs, 3));
}

AttentionProblem MultiheadAttention::problem(const Bindings& bindings) const {
  const auto shape = [&](size_t port) { return input_at(bindings, port).shape(); };
  return problem(shape(0), shape(1), shape(2), shape(3));
}

std::vector<TensorType> MultiheadAttention::infer(std::span<const TensorType> inputs) const {
  problem(inputs);  // for its check
  TensorType output = inputs[0];
  if (output.time_axis == output.shape.rank() - 1) output.time_axis = TensorType::kNoTime;
  return {output};
}

std::vector<Parameter> MultiheadAttention::parameters() const {
  const int64_t e = options_.embed_dim;
  std::vector<Parameter> list;
  if (options_.one_matrix()) {
    list.push_back({"in_proj_weight", {checked_mul(3, e), e}, Init::kUniform, e});
  } else {
    for (const Projection& p : projections()) list.push_back({p.weight, {e, p.in}, Init::kUniform, p.in});
  }
  if (options_.bias) list.push_back({"in_proj_bias", {checked_mul(3, e)}, Init::kZeros});
  list.push_back({"out_proj.weight", {e, e}, Init::kUniform, e});
  if (options_.bias) list.push_back({"out_proj.bias", {e}, Init::kZeros});
  return list;
}

TimeMap MultiheadAttention::time_map(int input, int, std::span<const TensorType> inputs) const {
  if (shape_at(inputs, 1).rank() == 0) return TimeMap::all("self-attention looks at all times for every one");
  return attention_times(input, inputs, rows_axis(inputs[0].shape, options_.batch_first), options_.causal);
}

int64_t MultiheadAttention::multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType>) const {
  const AttentionProblem p = problem(inputs);
  const MultiheadLayout layout(p, options_.embed_dim);
  const auto rows = [&](int64_t count, int64_t in) { return checked_mul(checked_mul(count, in), options_.embed_dim); };
  const int64_t queries = checked_mul(2, rows(layout.rows, options_.embed_dim));  // and the output's
  const int64_t sources = checked_add(rows(layout.source, options_.kdim), rows(layout.source, options_.vdim));
  return checked_add(checked_add(queries, sources), products_of(p));
}

std::vector<Implementation> MultiheadAttention::implementations(const PrepareArgs& args) const {
  std::vector<Implementation> list;
  attention_cuda(*this, args, list);
  list.push_back(float32_implementation(args, "cpu.native", [this, &args] { return multihead_cpu(*this, args); }));
  list.push_back({"cpu.reference", DeviceType::kCpu, unless_floating(args),
                  [this, &args] { return multihead_reference(*this, args, false); }});
  return list;
}

ErrorBound MultiheadAttention::error_bound(const PrepareArgs& args) const {
  const int64_t longest = std::max({options_.embed_dim, options_.kdim, options_.vdim, problem(args.inputs).source});
  return {sum_factor(longest), multihead_reference(*this, args, true)};
}

void register_multihead(LayerRegistry& registry) {
  registry.add(
      {"MultiheadAttention",
       "attention of num_heads projections of query, key and value, projected back",
       {{"embed_dim", kInteger, "features of query and output"},
        {"num_heads", kInteger, "heads; it divides embed_dim"},
        {"dropout", kNumber, "of training; has no effect here", 0.0},
        {"bias", kBoolean, "whether there are in_proj_bias and out_proj.bias", true},
        {"kdim", kInteger | kNull, "features of key; null: embed_dim", Null{}},
        {"vdim", kInteger | kNull, "features of value; null: embed_dim", Null{}},
        {"batch_first", kBoolean, "the inputs are [N, L, E] instead of [L, N, E]", false},
        {"is_causal", kBoolean, "a row sees itself and rows before it alone", false}},
       make_multihead,
       "[L, N, E], [N, L, E] if batch_first, or [L, E]; key (else the query) and value (else the key) optional; "
       "attn_mask optional, added, broadcast to [N, heads, L, S], or [N heads, L, S]",
       "whole; pointwise for the query where there is a key and neither mask nor is_causal",
       {"cuda.cublas", "cpu.native", "cpu.reference"}});
}

}  // namespace strand::layers
