// Attention on CUDA: cuBLAS's strided batched SGEMM over the heads of one sequence, for the scores [heads, rows,
// source] and for what they weigh, in float32 throughout; between the two a kernel of its own adds the mask and takes
// the softmax in place.
//
// Scores lie in the workspace, for as many heads and rows at a time as stay under its limit (at least one row of one
// head). Heads are read where they lie: a head's rows are a matrix with a leading dimension, so nothing is moved.
// Projections of MultiheadAttention are layers/linear_rows.cuh's.
//
// Mapping of the softmax: a row has 32 threads, or a whole block of 256 where it is long, three passes as Softmax's;
// the sums are trees in shared memory, in the same order each run. Limits: sizes are 64 bits wide, the grid rides on x.

#include <algorithm>

#include "layers/attention/attention.h"
#include "layers/cuda_launch.cuh"
#include "layers/cuda_reduce.cuh"
#include "layers/implementation_list.h"
#include "layers/linear_rows.cuh"

namespace strand::layers {
namespace {

constexpr int kThreads = cuda::kThreads;
constexpr int64_t kMaxProducts = 65535;  // a call of cuBLAS

// Rows [row, row + rows) of heads [head, head + heads) of sequence n.
struct Piece {
  int64_t n = 0;
  int64_t head = 0;
  int64_t heads = 0;
  int64_t row = 0;
  int64_t rows = 0;
};

template <int kLanes>
__global__ void __launch_bounds__(kThreads)
    weights_kernel(float* scores, const float* __restrict__ mask, AttentionProblem p, Piece piece) {
  constexpr int kRows = kThreads / kLanes;
  __shared__ float shared[kThreads];
  const int lane = threadIdx.x % kLanes;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.x / kLanes;
  const int64_t row = piece.row + index % piece.rows;
  // Threads without a row only keep the barriers.
  const int64_t size = index < piece.heads * piece.rows ? p.source : 0;
  const int64_t seen = p.causal && row + 1 < size ? row + 1 : size;
  scores += index * p.source;
  if (mask != nullptr && size > 0) mask += p.mask.offset(piece.n, piece.head + index / piece.rows, row);

  float max = -INFINITY;
  for (int64_t j = lane; j < seen; j += kLanes) {
    if (mask != nullptr) scores[j] += mask[j * p.mask_column];
    max = fmaxf(max, scores[j]);
  }
  max = cuda::reduce_lanes<kLanes>(max, shared, lane, 1, cuda::Max());
  float sum = 0;
  for (int64_t j = lane; j < seen; j += kLanes) {
    const float e = expf(scores[j] - max);
    scores[j] = e;
    sum += e;
  }
  sum = cuda::reduce_lanes<kLanes>(sum, shared, lane, 1, cuda::Sum());
  for (int64_t j = lane; j < size; j += kLanes) scores[j] = j < seen ? scores[j] / sum : 0.0F;
}

template <int kLanes>
void launch_weights(const Context& context, const AttentionProblem& p, const Piece& piece, const float* mask,
                    float* scores) {
  const int64_t blocks = ceil_div(checked_mul(piece.heads, piece.rows), kThreads / kLanes);
  weights_kernel<kLanes>
      <<<cuda::grid_size(blocks, "attention"), kThreads, 0, cuda::stream(context)>>>(scores, mask, p, piece);
  cuda::check_launch("attention");
}

// How many heads and rows of one sequence the workspace holds.
struct Room {
  int64_t heads = 1;
  int64_t rows = 1;

  Room(const AttentionProblem& p, int64_t limit) {
    const int64_t row = checked_mul(std::max<int64_t>(p.source, 1), int64_t{sizeof(float)});
    heads = std::clamp<int64_t>(limit / row, 1, std::clamp<int64_t>(p.heads, 1, kMaxProducts));
    rows = std::clamp<int64_t>(limit / checked_mul(row, heads), 1, std::max<int64_t>(p.length, 1));
  }
  int64_t floats(const AttentionProblem& p) const { return checked_mul(checked_mul(heads, rows), p.source); }
};

struct Operands {
  const float* query;
  const float* key;
  const float* value;
  const float* mask;  // null without
  float* output;
};

// cuBLAS sees column-major matrices, so each product is written transposed: scores^T [source, rows] = k q^T, and
// y^T [value_size, rows] = v^T weights^T.
void attend_piece(const Context& context, const AttentionProblem& p, const Operands& o, const Piece& piece,
                  float* scores) {
  const auto [n, head, heads, row, rows] = piece;
  const auto scale = static_cast<float>(p.scale);
  const float one = 1;
  const float zero = 0;
  const int64_t scores_stride = rows * p.source;
  cuda::check(cublasSgemmStridedBatched_64(cuda::cublas(context), CUBLAS_OP_T, CUBLAS_OP_N, p.source, rows, p.size,
                                           &scale, o.key + p.key.offset(n, head, 0), p.key.row, p.key.head,
                                           o.query + p.query.offset(n, head, row), p.query.row, p.query.head, &zero,
                                           scores, p.source, scores_stride, heads),
              "cublasSgemmStridedBatched_64");
  constexpr int64_t kLongRow = 1024;
  (p.source > kLongRow ? launch_weights<256> : launch_weights<32>)(context, p, piece, o.mask, scores);
  cuda::check(cublasSgemmStridedBatched_64(
                  cuda::cublas(context), CUBLAS_OP_N, CUBLAS_OP_N, p.value_size, rows, p.source, &one,
                  o.value + p.value.offset(n, head, 0), p.value.row, p.value.head, scores, p.source, scores_stride,
                  &zero, o.output + p.output.offset(n, head, row), p.output.row, p.output.head, heads),
              "cublasSgemmStridedBatched_64");
}

// The outputs of all heads and sequences lie one after another.
void attend(const Context& context, const AttentionProblem& given, const Operands& operands, const Room& room,
            float* scores) {
  const AttentionProblem p = merged(given);
  const int64_t outputs = p.batch * p.heads * p.length * p.value_size;
  if (outputs == 0) return;
  if (p.source == 0) {
    cuda::check(
        cudaMemsetAsync(operands.output, 0, static_cast<size_t>(outputs) * sizeof(float), cuda::stream(context)),
        "cudaMemsetAsync");
    return;
  }
  for (int64_t n = 0; n < p.batch; ++n) {
    for (int64_t head = 0; head < p.heads; head += room.heads) {
      for (int64_t row = 0; row < p.length; row += room.rows) {
        attend_piece(context, p, operands,
                     {n, head, std::min(room.heads, p.heads - head), row, std::min(room.rows, p.length - row)}, scores);
      }
    }
  }
}

std::unique_ptr<Kernel> attention_kernel(const ScaledDotProductAttention& layer, const PrepareArgs& args) {
  const auto mask = args.inputs.size() > 3 ? args.inputs[3].shape : Shape{};
  const AttentionProblem problem =
      layer.problem(args.inputs[0].shape, args.inputs[1].shape, args.inputs[2].shape, mask);
  const Room room(merged(problem), args.workspace_limit);
  const auto run = [problem, room](const Context& context, const Bindings& b) {
    const Operands operands{b.inputs[0].ptr<const float>(), b.inputs[1].ptr<const float>(),
                            b.inputs[2].ptr<const float>(), input_at(b, 3).ptr<const float>(),
                            b.outputs[0].ptr<float>()};
    attend(context, problem, operands, room, reinterpret_cast<float*>(b.workspace));
  };
  return function_kernel(run, checked_mul(room.floats(problem), int64_t{sizeof(float)}));
}

class MultiheadKernel final : public Kernel {
 public:
  MultiheadKernel(const MultiheadAttention& layer, const AttentionProblem& problem, const PrepareArgs& args)
      : problem_(problem),
        layout_(problem, layer.options().embed_dim),
        projections_(layer.projections()),
        room_(merged(problem), args.workspace_limit) {
    for (const Projection& projection : projections_) weights_.push_back(args.weights.floats(projection.weight));
    weights_.push_back(args.weights.floats("out_proj.weight"));
    if (!layer.options().bias) return;
    in_bias_ = args.weights.floats("in_proj_bias");
    out_bias_ = args.weights.floats("out_proj.bias");
  }

  int64_t workspace_bytes() const override {
    return checked_mul(checked_add(layout_.elements(), room_.floats(problem_)), int64_t{sizeof(float)});
  }

  void run(const Context& context, const Bindings& b) const override {
    const int64_t e = layout_.features;
    auto* scratch = reinterpret_cast<float*>(b.workspace);
    const std::array<float*, 3> projected = {scratch, scratch + layout_.key(), scratch + layout_.value()};
    float* const attended = scratch + layout_.output();
    for (size_t i = 0; i < 3; ++i) {
      const Projection& projection = projections_[i];
      const float* bias = in_bias_ != nullptr ? floats(in_bias_) + static_cast<int64_t>(i) * e : nullptr;
      cuda::linear_rows(context, floats(weights_[i]) + projection.first * projection.in, bias,
                        source_of(b, i).ptr<const float>(), i == 0 ? layout_.rows : layout_.source, projection.in, e,
                        projected[i]);
    }
    attend(context, problem_, {projected[0], projected[1], projected[2], input_at(b, 3).ptr<const float>(), attended},
           room_, scratch + layout_.elements());
    cuda::linear_rows(context, floats(weights_[3]), out_bias_ != nullptr ? floats(out_bias_) : nullptr, attended,
                      layout_.rows, e, e, b.outputs[0].ptr<float>());
  }

 private:
  static const float* floats(const std::shared_ptr<const Buffer>& buffer) {
    return reinterpret_cast<const float*>(buffer->data());
  }

  AttentionProblem problem_;
  MultiheadLayout layout_;
  std::array<Projection, 3> projections_;
  Room room_;
  std::vector<std::shared_ptr<const Buffer>> weights_;  // of q, k, v and the output
  std::shared_ptr<const Buffer> in_bias_, out_bias_;    // null without
};

}  // namespace

void attention_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  list.push_back(float32_implementation(args, "cuda.cublas", [&layer, &args]() -> std::unique_ptr<Kernel> {
    if (const auto* attention = dynamic_cast<const ScaledDotProductAttention*>(&layer)) {
      return attention_kernel(*attention, args);
    }
    const auto& multihead = static_cast<const MultiheadAttention&>(layer);
    const auto shape = [&](size_t port) { return port < args.inputs.size() ? args.inputs[port].shape : Shape{}; };
    return std::make_unique<MultiheadKernel>(multihead, multihead.problem(shape(0), shape(1), shape(2), shape(3)),
                                             args);
  }));
}

}  // namespace strand::layers
