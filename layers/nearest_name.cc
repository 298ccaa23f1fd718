#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "layers/registry.h"

namespace strand::layers {
namespace {

// What Keras or ONNX call it, and what it is called here. Where a name has several rows, the first one counts whose
// second name is a candidate.
constexpr std::array kElsewhere = std::to_array<std::pair<std::string_view, std::string_view>>({
    {"Activation", "ReLU"},
    {"AveragePooling1D", "AvgPool1d"},
    {"AveragePool", "AvgPool1d"},
    {"BatchNormalization", "BatchNorm1d"},
    {"Clip", "Clamp"},
    {"Concatenate", "Concat"},
    {"Conv", "Conv1d"},
    {"Conv1DTranspose", "ConvTranspose1d"},
    {"ConvTranspose", "ConvTranspose1d"},
    {"Convolution1D", "Conv1d"},
    {"Cropping1D", "Crop"},
    {"Dense", "Linear"},
    {"DepthwiseConv1D", "Conv1d"},
    {"Div", "Divide"},
    {"Gather", "Embedding"},
    {"Gemm", "Linear"},
    {"GlobalAveragePooling1D", "AdaptiveAvgPool1d"},
    {"GlobalAveragePool", "AdaptiveAvgPool1d"},
    {"GlobalMaxPooling1D", "Max"},
    {"GlobalMaxPool", "Max"},
    {"GroupNormalization", "GroupNorm"},
    {"InstanceNormalization", "InstanceNorm1d"},
    {"LayerNormalization", "LayerNorm"},
    {"MaxPooling1D", "MaxPool1d"},
    {"Mul", "Multiply"},
    {"RMSNormalization", "RMSNorm"},
    {"ReduceMax", "Max"},
    {"ReduceMean", "Mean"},
    {"ReduceSum", "Sum"},
    {"SeparableConv1D", "Conv1d"},
    {"SpatialDropout1D", "Dropout"},
    {"Sub", "Subtract"},
    {"Swish", "SiLU"},
    {"Trim", "Crop"},
    {"UpSampling1D", "Upsample"},
    {"ZeroPadding1D", "Pad"},
    {"ZeroPadding1D", "ConstantPad1d"},
    {"alpha", "negative_slope"},
    {"axis", "dim"},
    {"center", "affine"},
    {"channels", "num_features"},
    {"channels", "num_channels"},
    {"dilation_rate", "dilation"},
    {"epsilon", "eps"},
    {"filters", "out_channels"},
    {"input_dim", "in_features"},
    {"input_dim", "input_size"},
    {"kernel", "kernel_size"},
    {"kernel_shape", "kernel_size"},
    {"max_value", "max_val"},
    {"pads", "padding"},
    {"perm", "dims"},
    {"pool_size", "kernel_size"},
    {"rate", "p"},
    {"scale", "affine"},
    {"size", "scale_factor"},
    {"strides", "stride"},
    {"target_shape", "shape"},
    {"units", "out_features"},
    {"units", "hidden_size"},
    {"use_bias", "bias"},
});

constexpr size_t kLongest = 64;  // names past this get no suggestion: the distance is quadratic in them

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

// Insertions, deletions, replacements and swaps of neighbours, each one step.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::array<std::array<size_t, kLongest + 1>, 3> rows{};  // this, the one above, the one above that
  size_t* row = rows[0].data();
  size_t* above = rows[1].data();
  size_t* above2 = rows[2].data();
  for (size_t j = 0; j <= b.size(); ++j) above[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({replace, above[j] + 1, row[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], above2[j - 2] + 1);
    }
    size_t* free = above2;
    above2 = above;
    above = row;
    row = free;
  }
  return above[b.size()];
}

}  // namespace

std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
  if (name.empty() || name.size() > kLongest) return {};
  for (const auto& [elsewhere, here] : kElsewhere) {
    if (name == elsewhere && std::ranges::find(candidates, here) != candidates.end()) return std::string(here);
  }
  const std::string wanted = lower(name);
  size_t best = name.size() / 3 + 1;  // one more than is near
  std::string nearest;
  for (const std::string& candidate : candidates) {
    if (candidate.size() >= name.size() + best || name.size() >= candidate.size() + best) continue;
    if (candidate.size() > kLongest) continue;
    const size_t distance = edit_distance(wanted, lower(candidate));
    if (distance >= best) continue;
    best = distance;
    nearest = candidate;
  }
  return nearest;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates) {
  const std::string nearest = nearest_name(name, candidates);
  return nearest.empty() ? "" : "; did you mean '" + nearest + "'?";
}

}  // namespace strand::layers
