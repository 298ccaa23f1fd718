#include <algorithm>
#include <optional>
#include <string>

#include "engine/error.h"
#include "layers/registry.h"
#include "layers/shape/permute.h"
#include "layers/shape/shape_layers.h"

namespace strand::layers {
namespace {

std::unique_ptr<Layer> make_slice(const Attributes& attributes) {
  std::optional<int64_t> end;
  if (!attributes.is_null("end")) end = attributes.integer("end");
  return std::make_unique<Slice>(attributes.integer("dim"), attributes.integer("start"), end,
                                 attributes.positive("step"));
}

std::unique_ptr<Layer> make_crop(const Attributes& attributes) {
  const int64_t right = attributes.non_negative("right");
  const std::optional<int64_t> end = right > 0 ? std::optional<int64_t>(-right) : std::nullopt;
  return std::make_unique<Slice>(-1, attributes.non_negative("left"), end, 1);
}

// PyTorch's limit is memory; a thousand outputs are a mistake.
std::unique_ptr<Layer> make_chunk(const Attributes& attributes) {
  constexpr int64_t kMost = 1024;
  const int64_t chunks = attributes.positive("chunks");
  if (chunks > kMost) {
    throw Error(ErrorCategory::kLimit, std::to_string(chunks) + " chunks, at most " + std::to_string(kMost));
  }
  return std::make_unique<Split>(attributes.integer("dim"), chunks);
}

PadMode parse_mode(const std::string& mode) {
  if (mode == "constant") return PadMode::kConstant;
  if (mode == "reflect") return PadMode::kReflect;
  if (mode == "replicate") return PadMode::kReplicate;
  if (mode == "circular") return PadMode::kCircular;
  throw Error(ErrorCategory::kSchema, "mode is '" + mode + "', expected constant, reflect, replicate or circular");
}

std::unique_ptr<Layer> make_pad(const Attributes& attributes) {
  const std::vector<int64_t> padding = attributes.integers("padding");
  if (padding.empty() || padding.size() > 2 || std::ranges::min(padding) < 0) {
    throw Error(ErrorCategory::kSchema, "padding is " + to_string(attributes.value("padding")) +
                                            ", expected [left, right] or one integer for both, none below 0");
  }
  return std::make_unique<Pad>(padding.front(), padding.back(), parse_mode(attributes.string("mode")),
                               attributes.number("value"));
}

std::unique_ptr<Layer> make_reshape(const Attributes& attributes) {
  std::vector<int64_t> shape = attributes.integers("shape");
  if (shape.empty() || std::ranges::min(shape) < -1 || std::ranges::count(shape, -1) > 1) {
    throw Error(ErrorCategory::kSchema, "shape is " + to_string(attributes.value("shape")) +
                                            ", expected sizes, 0 for an axis that stays and at most one -1");
  }
  return std::make_unique<Reshape>(std::move(shape));
}

}  // namespace

void register_shape(LayerRegistry& registry) {
  registry.add({"Slice",
                "a range of one axis",
                {{"dim", kInteger, "the axis; a negative one counts from the end"},
                 {"start", kInteger, "the first element; negative: from the end", int64_t{0}},
                 {"end", kInteger | kNull, "one past the last; negative: from the end; null: to the end", Null{}},
                 {"step", kInteger, "from element to element, at least 1", int64_t{1}}},
                make_slice,
                "any but for dim; bounds clamp as in PyTorch, nothing left is an error",
                "step t + start if dim is time; whole for a start below 0"});
  registry.add({"Crop",
                "less of the last axis",
                {{"left", kInteger, "elements cut from its beginning", int64_t{0}},
                 {"right", kInteger, "elements cut from its end", int64_t{0}}},
                make_crop,
                "[*, L] -> [*, L - left - right]",
                "t + left"});
  registry.add({"Split",
                "parts of one axis, outputs 0, 1, ...",
                {{"sizes", kIntegers, "of the parts, which make up the axis"},
                 {"dim", kInteger, "the axis; a negative one counts from the end", int64_t{1}}},
                [](const Attributes& a) { return std::make_unique<Split>(a.integer("dim"), a.integers("sizes")); },
                "any -> as many outputs as sizes, equal but for dim",
                "pointwise; whole if dim is time"});
  registry.add({"Chunk",
                "one axis in equal parts (the last may be smaller), outputs 0, 1, ...",
                {{"chunks", kInteger, "how many"},
                 {"dim", kInteger, "the axis; a negative one counts from the end", int64_t{1}}},
                make_chunk,
                "any -> chunks outputs, equal but for dim; as PyTorch",
                "pointwise; whole if dim is time"});
  registry.add({"Pad",
                "more elements at the ends of the last axis",
                {{"padding", kInteger | kIntegers, "[left, right], or one number for both"},
                 {"mode", kString, "constant, reflect, replicate or circular", std::string("constant")},
                 {"value", kNumber, "of the constant mode", 0.0}},
                make_pad,
                "[*, L] -> [*, left + L + right]",
                "t - left, ends as the mode"});
  registry.add({"Transpose",
                "two axes exchanged",
                {{"dim0", kInteger, "an axis; a negative one counts from the end"}, {"dim1", kInteger, "the other"}},
                [](const Attributes& a) { return std::make_unique<Transpose>(a.integer("dim0"), a.integer("dim1")); },
                "any; copies",
                "pointwise; time moves along"});
  registry.add({"Permute",
                "axes in another order",
                {{"dims", kIntegers, "for each axis of the output, the input's"}},
                [](const Attributes& a) { return std::make_unique<Permute>(a.integers("dims")); },
                "any; copies",
                "pointwise; time moves along"});
  registry.add(
      {"PixelShuffle1d",
       "channels laid out in time",
       {{"upscale_factor", kInteger, "r"}},
       [](const Attributes& a) { return std::make_unique<PixelShuffle1d>(a.positive("upscale_factor"), false); },
       "[N, C r, L] -> [N, C, L r], y[c, l r + i] = x[c r + i, l]",
       "t / r"});
  registry.add(
      {"PixelUnshuffle1d",
       "times laid out in channels",
       {{"downscale_factor", kInteger, "r"}},
       [](const Attributes& a) { return std::make_unique<PixelShuffle1d>(a.positive("downscale_factor"), true); },
       "[N, C, L r] -> [N, C r, L]",
       "r t to r t + r - 1"});
  registry.add({"Squeeze",
                "an axis of one element left out, without a copy",
                {{"dim", kInteger, "the axis; it stays where it has another size"}},
                [](const Attributes& a) { return std::make_unique<Squeeze>(a.integer("dim")); },
                "any, without the axis; a view",
                "pointwise",
                {}});
  registry.add({"Unsqueeze",
                "an axis of one element more, without a copy",
                {{"dim", kInteger, "its place in the output"}},
                [](const Attributes& a) { return std::make_unique<Unsqueeze>(a.integer("dim")); },
                "any, with the axis; a view",
                "pointwise",
                {}});
  registry.add(
      {"Flatten",
       "axes merged into one, without a copy",
       {{"start_dim", kInteger, "the first of them", int64_t{1}},
        {"end_dim", kInteger, "the last of them", int64_t{-1}}},
       [](const Attributes& a) { return std::make_unique<Flatten>(a.integer("start_dim"), a.integer("end_dim")); },
       "as PyTorch; a view",
       "pointwise; whole where time is merged",
       {}});
  registry.add({"Reshape",
                "another shape for the same elements, without a copy",
                {{"shape", kIntegers, "sizes; 0 keeps the input's axis of that number, one -1 takes what is left"}},
                make_reshape,
                "as many elements; a view",
                "pointwise; whole where time is merged",
                {}});
}

}  // namespace strand::layers
