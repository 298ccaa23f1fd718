// Attention on the CPU: a task is 48 rows of one head. Its scores [48, source] come to lie in the workspace by strips
// of 16 keys, are made weights row by row, and meet v by strips of 16 features (layers/strip_product_cpu.h). As many
// tasks run at once as have room in the workspace. A row's result does not depend on the others.

#include <algorithm>
#include <limits>

#include "engine/checked.h"
#include "layers/attention/attention.h"
#include "layers/function_kernel.h"
#include "layers/linear_rows.h"
#include "layers/softmax_rows.h"
#include "layers/strip_product_cpu.h"

namespace strand::layers {
namespace {

constexpr int64_t kTaskRows = 48;
constexpr int64_t kMostTasks = 64;  // at once, of which a thread takes some

int64_t task_floats(const AttentionProblem& p) { return checked_mul(std::min(p.length, kTaskRows), p.source); }

// Tasks whose scores the workspace holds: as many as stay under the limit, at least one.
int64_t tasks_at_once(const AttentionProblem& p, int64_t limit) {
  const int64_t tasks = checked_mul(checked_mul(p.batch, p.heads), ceil_div(p.length, kTaskRows));
  const int64_t bytes = checked_mul(task_floats(p), int64_t{sizeof(float)});
  return std::clamp<int64_t>(limit / std::max<int64_t>(bytes, 1), 1, std::clamp<int64_t>(tasks, 1, kMostTasks));
}

struct AttentionOperands {
  const float* query;
  const float* key;
  const float* value;
  const float* mask;  // null without
  float* output;
};

struct Head {
  int64_t n, h;
};

void finish_scores(const AttentionProblem& p, const float* mask, Head at, int64_t row, float* scores) {
  const auto scale = static_cast<float>(p.scale);
  for (int64_t j = 0; j < p.source; ++j) scores[j] *= scale;
  if (mask != nullptr) {
    mask += p.mask.offset(at.n, at.h, row);
    for (int64_t j = 0; j < p.source; ++j) scores[j] += mask[j * p.mask_column];
  }
  if (p.causal && row + 1 < p.source) {
    std::fill(scores + row + 1, scores + p.source, -std::numeric_limits<float>::infinity());
  }
  softmax_row(false, scores, scores, p.source);
}

// Rows [first, end) of one head.
void attend_rows(const AttentionProblem& p, const AttentionOperands& o, Head at, int64_t first, int64_t end,
                 float* scores) {
  const StripProduct products{o.query + p.query.offset(at.n, at.h, first),
                              p.query.row,
                              o.key + p.key.offset(at.n, at.h, 0),
                              1,
                              p.key.row,
                              scores,
                              p.source,
                              p.size};
  for (int64_t j = 0; j < p.source; j += kStrip) {
    multiply_strip(products, 0, end - first, j, std::min<int64_t>(kStrip, p.source - j));
  }
  for (int64_t row = first; row < end; ++row) finish_scores(p, o.mask, at, row, scores + (row - first) * p.source);
  const StripProduct sums{scores,       p.source, o.value + p.value.offset(at.n, at.h, 0),
                          p.value.row,  1,        o.output + p.output.offset(at.n, at.h, first),
                          p.output.row, p.source};
  for (int64_t d = 0; d < p.value_size; d += kStrip) {
    multiply_strip(sums, 0, end - first, d, std::min<int64_t>(kStrip, p.value_size - d));
  }
}

void attend(const Context& context, const AttentionProblem& p, const AttentionOperands& operands, int64_t at_once,
            float* scores) {
  const int64_t parts = ceil_div(p.length, kTaskRows);
  const int64_t tasks = p.batch * p.heads * parts;
  const int64_t floats = task_floats(p);
  const int64_t grain = 100'000 / (std::min(p.length, kTaskRows) * p.source * (p.size + p.value_size) + 1) + 1;
  for (int64_t done = 0; done < tasks; done += at_once) {
    context.parallel_for(std::min(at_once, tasks - done), grain, [&](int64_t begin, int64_t end) {
      for (int64_t slot = begin; slot < end; ++slot) {
        const int64_t task = done + slot;
        const int64_t first = task % parts * kTaskRows;
        attend_rows(p, operands, {task / parts / p.heads, task / parts % p.heads}, first,
                    std::min(p.length, first + kTaskRows), scores + slot * floats);
      }
    });
  }
}

}  // namespace

std::unique_ptr<Kernel> attention_cpu(const ScaledDotProductAttention& layer, const PrepareArgs& args) {
  const auto mask = args.inputs.size() > 3 ? args.inputs[3].shape : Shape{};
  const AttentionProblem most = layer.problem(args.inputs[0].shape, args.inputs[1].shape, args.inputs[2].shape, mask);
  const int64_t at_once = tasks_at_once(most, args.workspace_limit);
  const auto run = [layer, at_once](const Context& context, const Bindings& b) {
    const AttentionOperands operands{b.inputs[0].ptr<const float>(), b.inputs[1].ptr<const float>(),
                                     b.inputs[2].ptr<const float>(), input_at(b, 3).ptr<const float>(),
                                     b.outputs[0].ptr<float>()};
    attend(context, layer.problem(b), operands, at_once, reinterpret_cast<float*>(b.workspace));
  };
  return function_kernel(run, checked_mul(checked_mul(at_once, task_floats(most)), int64_t{sizeof(float)}));
}

std::unique_ptr<Kernel> multihead_cpu(const MultiheadAttention& layer, const PrepareArgs& args) {
  const auto shape = [&](size_t port) { return port < args.inputs.size() ? args.inputs[port].shape : Shape{}; };
  const AttentionProblem most = layer.problem(shape(0), shape(1), shape(2), shape(3));
  const int64_t e = layer.options().embed_dim;
  const int64_t at_once = tasks_at_once(most, args.workspace_limit);
  const int64_t floats = checked_add(MultiheadLayout(most, e).elements(), checked_mul(at_once, task_floats(most)));
  const bool bias = layer.options().bias;
  std::vector<LinearRows> projections;
  for (const Projection& p : layer.projections()) {
    const int64_t place = static_cast<int64_t>(projections.size()) * e;
    projections.emplace_back(args.weights, p.weight, p.in, e, p.first, bias ? "in_proj_bias" : "", place);
  }
  const LinearRows out(args.weights, "out_proj.weight", e, e, 0, bias ? "out_proj.bias" : "", 0);
  const auto run = [layer, at_once, projections, out](const Context& context, const Bindings& b) {
    const AttentionProblem problem = layer.problem(b);
    const MultiheadLayout layout(problem, layer.options().embed_dim);
    auto* scratch = reinterpret_cast<float*>(b.workspace);
    float* const q = scratch;
    float* const k = scratch + layout.key();
    float* const v = scratch + layout.value();
    float* const attended = scratch + layout.output();
    projections[0].run(context, b.inputs[0].ptr<const float>(), layout.rows, q);
    projections[1].run(context, source_of(b, 1).ptr<const float>(), layout.source, k);
    projections[2].run(context, source_of(b, 2).ptr<const float>(), layout.source, v);
    attend(context, problem, {q, k, v, input_at(b, 3).ptr<const float>(), attended}, at_once,
           scratch + layout.elements());
    out.run(context, attended, layout.rows, b.outputs[0].ptr<float>());
  };
  return function_kernel(run, checked_mul(floats, int64_t{sizeof(float)}));
}

}  // namespace strand::layers
