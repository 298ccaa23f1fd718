#pragma once
// y[r, o] = bias[o] + sum over i of weight[o, i] * x[r, i] on the CPU, for rows of floats: what Linear and the
// projections of MultiheadAttention are made of. Immutable; shares its packed weights.
//
// Weights are packed in panels of 16 outputs, [panel][in][16], zeros in a last panel's tail, and up to six rows of x
// meet a panel at a time, so that 12 vector accumulators stay in registers. An output's sum runs over `in` in order,
// whatever the row, block or thread: a row's result never depends on the others. Eigen's own product is not used,
// because it allocates and its order depends on the sizes.

#include <memory>
#include <string>

#include "engine/context.h"
#include "layers/weights.h"

namespace strand::layers {

class LinearRows {
 public:
  // Of rows [first, first + out) of the parameter `weight` [.., in], and as many values of `bias` from `first_bias` on;
  // without a bias where its name is empty.
  LinearRows(const Weights& weights, const std::string& weight, int64_t in, int64_t out, int64_t first,
             const std::string& bias, int64_t first_bias);

  void run(const Context& context, const float* x, int64_t rows, float* y) const;

 private:
  void run_block(int64_t panel, int64_t row, int64_t rows, const float* x, float* y) const;

  int64_t in_;
  int64_t out_;
  int64_t first_bias_;
  std::shared_ptr<const Buffer> panels_;
  std::shared_ptr<const Buffer> bias_;  // null without
};

}  // namespace strand::layers
