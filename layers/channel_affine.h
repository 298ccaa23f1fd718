#pragma once
// A layer that is one multiply-add a channel (BatchNorm1d), and the sums before it that take it into their weights: the
// two sides of Layer::as_channel_affine and Layer::fold. Plain values.
//
// Why the folded layer keeps the bound of its own sums, c(n) eps (sum |w' x| + |b'|), held against both layers in
// double: c(n) leaves room for one rounding of each factor, an eps at most, beside those of the sum (up to n = 16 it is
// two above what n + 1 roundings do at worst, and above that over twice what was ever seen, conv1d/README.md). So a
// fold need only promise that w' and b' are within eps of what they stand for, however large the scale (a variance near
// 0), and folded_weights() looks at each: what leaves float32's normal numbers, or is left of a difference that double
// has lost, is not folded. The bound is no larger than those of the two layers together, as |b'| is at most |b scale| +
// |centre scale| + |shift|, which the second would be measured by.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "engine/tensor.h"
#include "layers/weights.h"

namespace strand::layers {

class Layer;

// y = (x - centre) * scale + shift
struct ChannelAffine {
  double centre = 0;
  double scale = 1;
  double shift = 0;
};

using FoldedWeights = std::map<std::string, Tensor, std::less<>>;

// One layer for two, and the weights that it has instead of the first one's.
struct Folded {
  std::shared_ptr<const Layer> layer;
  FoldedWeights weights;
};

// "weight" and "bias" (which may be new) of sums with `next` after them, computed in double and rounded once. `next`:
// of each output channel; "weight" is rows of `row_size` numbers of one output channel, which channel_of(row) names.
// Nothing where the bound above would not hold, or a number is not finite.
std::optional<FoldedWeights> folded_weights(const Weights& weights, std::span<const ChannelAffine> next,
                                            int64_t row_size, const std::function<int64_t(int64_t row)>& channel_of);

}  // namespace strand::layers
