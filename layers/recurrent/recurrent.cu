// LSTM and GRU on CUDA. A layer is one cuBLAS SGEMM, which gives the gates' share of x at all times and of both
// directions (float32 throughout), and one launch that goes through the times: cuda.block where weight_hh fits the
// shared memory of one block, cuda.grid for all sizes.
//
// Workspace: rows * directions * gates * hidden_size floats for the product, and sequences between layers.

#include <algorithm>

#include "layers/implementation_list.h"
#include "layers/recurrent/recurrent_cuda.cuh"

namespace strand::layers {
namespace {

struct FillRows {
  const float* bias;  // [columns]
  float* y;           // [rows, columns]
  int64_t columns;
  template <class Index>
  __device__ float load(Index i) const {
    return bias[i % static_cast<Index>(columns)];
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

class RecurrentCuda final : public Kernel {
 public:
  RecurrentCuda(const RecurrentProblem& problem, const Weights& weights, const std::string& name,
                const RecurrentMethod& method)
      : problem_(problem), method_(method) {
    for (int64_t layer = 0; layer < problem.layers; ++layer) {
      layers_.push_back({pack_hh(weights, name, layer), pack_ih(weights, layer), pack_bias(weights, layer)});
    }
  }

  int64_t workspace_bytes() const override {
    const int64_t between = std::min<int64_t>(problem_.layers - 1, 2);
    return checked_add(checked_add(gates_bytes(), checked_mul(between, sequence_bytes())),
                       method_.workspace_bytes(problem_));
  }

  void run(const Context& context, const Bindings& bindings) const override {
    if (problem_.batch == 0) return;
    std::byte* workspace = bindings.workspace;
    auto* gates = reinterpret_cast<float*>(workspace);
    workspace += gates_bytes();
    const auto* x = bindings.inputs[0].ptr<const float>();
    const int64_t state_size = problem_.directions * problem_.batch * problem_.hidden_size;
    const size_t first = problem_.cell ? 0 : 1;
    for (int64_t layer = 0; layer < problem_.layers; ++layer) {
      const LayerWeights& weights = layers_[static_cast<size_t>(layer)];
      float* y = reinterpret_cast<float*>(workspace + layer % 2 * sequence_bytes());
      if (layer == problem_.layers - 1) y = problem_.cell ? nullptr : bindings.outputs[0].ptr<float>();
      multiply(context, weights, layer, x, gates);
      const auto given = [&](int number) -> const float* {
        const TensorView* state = initial_state(bindings, number);
        return state != nullptr ? state->ptr<const float>() + layer * state_size : nullptr;
      };
      Recurrence recurrence{};
      recurrence.gates_x = gates;
      recurrence.weight = floats(weights.hh);
      recurrence.bias_n = floats(weights.bias) + gate_columns();
      recurrence.h_0 = given(0);
      recurrence.y = y;
      recurrence.h_n = bindings.outputs[first].ptr<float>() + layer * state_size;
      if (problem_.lstm) {
        recurrence.c_0 = given(1);
        recurrence.c_n = bindings.outputs[first + 1].ptr<float>() + layer * state_size;
      }
      recurrence.batch = problem_.batch;
      recurrence.steps = problem_.length;
      recurrence.hidden = problem_.hidden_size;
      recurrence.directions = static_cast<int>(problem_.directions);
      recurrence.batch_first = problem_.batch_first;
      method_.launch(context, problem_, recurrence,
                     workspace + std::min<int64_t>(problem_.layers - 1, 2) * sequence_bytes());
      x = y;
    }
  }

 private:
  struct LayerWeights {
    std::shared_ptr<const Buffer> hh;
    std::shared_ptr<const Buffer> ih;    // [directions * gates * H, width]
    std::shared_ptr<const Buffer> bias;  // [directions * gates * H], then bias_n [directions * H]
  };

  static const float* floats(const std::shared_ptr<const Buffer>& buffer) {
    return reinterpret_cast<const float*>(buffer->data());
  }
  static int64_t aligned_bytes(int64_t count) {
    return round_up(checked_mul(count, int64_t{sizeof(float)}), Buffer::kAlignment);
  }
  int64_t gate_columns() const { return problem_.directions * problem_.gates() * problem_.hidden_size; }
  int64_t gates_bytes() const { return aligned_bytes(checked_mul(problem_.rows(), gate_columns())); }
  int64_t sequence_bytes() const {
    return aligned_bytes(checked_mul(problem_.rows(), problem_.directions * problem_.hidden_size));
  }

  // x's share of the gates, on top of the biases.
  void multiply(const Context& context, const LayerWeights& weights, int64_t layer, const float* x,
                float* gates) const {
    const int64_t columns = gate_columns();
    const int64_t width = problem_.width(layer);
    if (problem_.rows() == 0) return;
    cuda::launch_flat(context, "the gates' bias", problem_.rows() * columns,
                      FillRows{floats(weights.bias), gates, columns});
    const float one = 1;
    cuda::check(cublasSgemm_64(cuda::cublas(context), CUBLAS_OP_T, CUBLAS_OP_N, columns, problem_.rows(), width, &one,
                               floats(weights.ih), width, x, width, &one, gates, columns),
                "cublasSgemm_64");
  }

  std::string packing(const char* kind, int64_t layer) const {
    return std::string("recurrent.") + kind + "_l" + std::to_string(layer);
  }
  std::shared_ptr<const Buffer> pack_hh(const Weights& weights, const std::string& name, int64_t layer) const {
    const int64_t each = method_.packed_floats(problem_);
    const int64_t bytes = checked_mul(checked_mul(each, problem_.directions), int64_t{sizeof(float)});
    return weights.pack(packing((name + ".hh").c_str(), layer), bytes, [&](std::byte* target) {
      auto* packed = reinterpret_cast<float*>(target);
      std::fill_n(packed, each * problem_.directions, 0.0F);
      for (int64_t d = 0; d < problem_.directions; ++d) {
        method_.pack(problem_, d, weights.host(problem_.parameter("weight_hh", layer, d)).data(), packed + d * each);
      }
    });
  }
  std::shared_ptr<const Buffer> pack_ih(const Weights& weights, int64_t layer) const {
    const int64_t floats = checked_mul(gate_columns(), problem_.width(layer));
    return weights.pack(packing("ih", layer), checked_mul(floats, int64_t{sizeof(float)}), [&](std::byte* target) {
      auto* packed = reinterpret_cast<float*>(target);
      for (int64_t d = 0; d < problem_.directions; ++d) {
        packed = std::ranges::copy(weights.host(problem_.parameter("weight_ih", layer, d)), packed).out;
      }
    });
  }
  std::shared_ptr<const Buffer> pack_bias(const Weights& weights, int64_t layer) const {
    const int64_t hidden = problem_.hidden_size;
    const int64_t count = gate_columns() + problem_.directions * hidden;
    return weights.pack(packing("bias", layer), checked_mul(count, int64_t{sizeof(float)}), [&](std::byte* target) {
      auto* packed = reinterpret_cast<float*>(target);
      std::fill_n(packed, count, 0.0F);
      for (int64_t d = 0; problem_.bias && d < problem_.directions; ++d) {
        const std::span<const float> ih = weights.host(problem_.parameter("bias_ih", layer, d));
        const std::span<const float> hh = weights.host(problem_.parameter("bias_hh", layer, d));
        for (size_t i = 0; i < ih.size(); ++i) {
          const int64_t j = static_cast<int64_t>(i) - 2 * hidden;  // of GRU's n
          const bool apart = !problem_.lstm && j >= 0;
          packed[d * problem_.gates() * hidden + static_cast<int64_t>(i)] = apart ? ih[i] : ih[i] + hh[i];
          if (apart) packed[gate_columns() + d * hidden + j] = hh[i];
        }
      }
    });
  }

  RecurrentProblem problem_;
  RecurrentMethod method_;
  std::vector<LayerWeights> layers_;
};

}  // namespace

void recurrent_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const RecurrentProblem problem = static_cast<const Recurrent&>(layer).problem(args.inputs);
  const auto add = [&](const std::string& name, const RecurrentMethod& method, const std::string& declined) {
    list.push_back(float32_implementation(args, "cuda." + name, [&args, problem, name, method] {
      return std::make_unique<RecurrentCuda>(problem, args.weights, name, method);
    }));
    if (list.back().declined.empty()) list.back().declined = declined;
  };
  add("block", recurrent_block(), recurrent_block_declines(problem));
  add("grid", recurrent_grid(), "");
}

}  // namespace strand::layers
