#pragma once
// Runs a layer's CPU kernels over a signal at once and in pieces of random lengths, and demands the same bits. A piece
// holds what the TimeMap says that its outputs need, and up to a few samples more where a kernel must look for them by
// the window: not for pointwise layers and those with state. For tests only.

#include "tests/run_layer.h"

namespace strand::testing {

// Times [first, end), of a signal.
struct Times {
  int64_t first = 0;
  int64_t end = 0;
};

inline Tensor piece_of(const Tensor& whole, Times times) {
  const int axis = whole.type().time_axis;
  if (axis == TensorType::kNoTime) return copy_of(whole.view());
  TensorType type = whole.type();
  type.shape.set(axis, times.end - times.first);
  Tensor piece(type);
  const int64_t bytes = type.shape.elements(axis + 1, type.shape.rank()) * size_of(type.dtype);  // a time's
  const int64_t from = whole.shape()[axis] * bytes;
  const int64_t to = type.shape[axis] * bytes;
  const auto* source = whole.view().ptr<const std::byte>() + times.first * bytes;
  for (int64_t outer = 0; outer < type.shape.elements(0, axis) && to > 0; ++outer) {
    std::memcpy(piece.view().ptr<std::byte>() + outer * to, source + outer * from, static_cast<size_t>(to));
  }
  return piece;
}

// The times of a signal of that length that outputs `out` need, those that its ends are continued with included.
inline Times needed_times(const TimeMap& map, Times out, int64_t length) {
  const int64_t first = map.first_needed(out.first);
  const int64_t last = map.last_needed(out.end - 1);
  Times needed{std::clamp<int64_t>(first, 0, length), std::clamp<int64_t>(last + 1, 0, length)};
  if (first >= 0 && last < length) return needed;
  if (map.ends == Ends::kCircular) return {0, length};
  if (map.ends == Ends::kReflect && first < 0) needed = {0, std::clamp(1 - first, needed.end, length)};
  if (map.ends == Ends::kReflect && last >= length) {
    needed = {std::clamp<int64_t>(2 * (length - 1) - last, 0, needed.first), length};
  }
  if (map.ends == Ends::kReplicate && first < 0) needed.end = std::max<int64_t>(needed.end, 1);
  if (map.ends == Ends::kReplicate && last >= length) needed.first = std::min(needed.first, length - 1);
  return needed;
}

// What the inputs hold for outputs `out`, and up to `spare` samples more: all begin at one time, and end at one.
inline Times input_times(const layers::Layer& layer, std::span<const TensorType> types, Times out, int64_t outputs,
                         int64_t spare) {
  Times in{INT64_MAX, 0};
  int64_t length = 0;
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i].shape.rank() == 0 || types[i].time_axis == TensorType::kNoTime) continue;
    length = types[i].shape[types[i].time_axis];
    const TimeMap map = layer.time_map(static_cast<int>(i), 0, types);
    REQUIRE_MESSAGE(!map.is_whole(), map.whole);
    CHECK(map.output_length(length) == outputs);
    if (map.numerator == map.denominator && map.first == 0 && map.last == 0) spare = 0;
    const Times needed = needed_times(map, out, length);
    in = {std::min(in.first, needed.first), std::max(in.end, needed.end)};
  }
  return {std::max<int64_t>(in.first - spare, 0), std::min(in.end + spare, length)};
}

// How many pieces of 1 to `longest` output times have other bits than the whole.
inline int64_t pieces_that_differ(const layers::Layer& layer, const Kernel& kernel, std::span<const Tensor> inputs,
                                  const PreparedLayer& prepared, int64_t longest) {
  static std::mt19937 random(test_seed());
  const auto up_to = [](int64_t most) { return std::uniform_int_distribution<int64_t>(0, most)(random); };
  const std::vector<TensorType>& outputs = prepared.output_types();
  const std::vector<Tensor> whole = run_kernel(kernel, inputs, outputs, {});
  const int64_t length = outputs[0].shape[outputs[0].time_axis];
  std::vector<std::byte> state(static_cast<size_t>(kernel.state_bytes()));
  int64_t wrong = 0;
  for (Times out; out.first < length; out.first = out.end) {
    out.end = std::min(length, out.first + 1 + up_to(longest - 1));
    const Times in = input_times(layer, prepared.input_types(), out, length, state.empty() ? up_to(3) : 0);
    std::vector<Tensor> piece;
    for (const Tensor& input : inputs) piece.push_back(input.shape().rank() == 0 ? Tensor() : piece_of(input, in));
    std::vector<TensorType> types = outputs;
    for (TensorType& type : types) {
      if (type.time_axis != TensorType::kNoTime) type.shape.set(type.time_axis, out.end - out.first);
    }
    const std::vector<Tensor> got =
        run_kernel(kernel, piece, types, {}, 1, {in.first, out.first}, state.empty() ? nullptr : state.data());
    for (size_t port = 0; port < outputs.size(); ++port) {
      // What has no time is there when the signal ends.
      if (outputs[port].time_axis == TensorType::kNoTime && out.end < length) continue;
      const Tensor expected = piece_of(whole[port], out);
      const auto bytes = static_cast<size_t>(expected.type().bytes());
      if (bytes > 0 && std::memcmp(expected.view().data, got[port].view().data, bytes) != 0) ++wrong;
    }
  }
  return wrong;
}

// Every CPU implementation, cpu.reference too; time is the axis that the inputs' types say. The pieces are 1 to
// `longest` output times long.
inline void check_pieces(const layers::Layer& layer, const std::vector<Tensor>& inputs, const Parameters& parameters,
                         const std::string& what, int64_t longest = 40) {
  const PreparedLayer prepared(layer, inputs, parameters, DType::kFloat32, {});
  REQUIRE(prepared.output_types()[0].time_axis != TensorType::kNoTime);
  for (const layers::Implementation& implementation : prepared.implementations()) {
    if (implementation.device != DeviceType::kCpu || !implementation.declined.empty()) continue;
    const std::unique_ptr<Kernel> kernel = implementation.prepare();
    for (const int64_t length : {int64_t{1}, int64_t{5}, longest}) {
      const int64_t wrong = pieces_that_differ(layer, *kernel, inputs, prepared, std::min(length, longest));
      CHECK_MESSAGE(wrong == 0, what << " " << implementation.name << ": " << wrong << " pieces of up to " << length
                                     << " differ (seed " << test_seed() << ")");
    }
  }
}

}  // namespace strand::testing
