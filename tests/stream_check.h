#pragma once
// Streams a network in given pieces and compares with a run on the whole signal, bit for bit. For tests only.

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "engine/session.h"
#include "graphs/normal.h"
#include "graphs/stream.h"
#include "tests/run_layer.h"

namespace strand::testing {

// [N, C, L] with its times [begin, begin + count).
inline Tensor times_of(const Tensor& signal, int64_t begin, int64_t count) {
  const Shape& shape = signal.shape();
  Tensor piece({DType::kFloat32, {shape[0], shape[1], count}, 2});
  for (int64_t row = 0; row < shape[0] * shape[1]; ++row) {
    for (int64_t t = 0; t < count; ++t) {
      piece.as<float>()[static_cast<size_t>(row * count + t)] =
          signal.as<const float>()[static_cast<size_t>(row * shape[2] + begin + t)];
    }
  }
  return piece;
}

// What came out of a stream, an output's rows one after another.
class Collected {
 public:
  void add(const TensorView& view) {
    const int axis = view.type.time_axis;
    const int64_t outer = view.shape().elements(0, axis);
    const int64_t inner = view.shape().elements(axis, view.shape().rank());
    rows_.resize(static_cast<size_t>(outer));
    const auto values = view.as<const float>();
    for (int64_t o = 0; o < outer; ++o) {
      const auto row = values.subspan(static_cast<size_t>(o * inner), static_cast<size_t>(inner));
      rows_[static_cast<size_t>(o)].insert(rows_[static_cast<size_t>(o)].end(), row.begin(), row.end());
    }
  }
  std::vector<float> values() const {
    std::vector<float> all;
    for (const std::vector<float>& row : rows_) all.insert(all.end(), row.begin(), row.end());
    return all;
  }

 private:
  std::vector<std::vector<float>> rows_;
};

// Pushes of the given sizes, repeated until the signal ends. The outputs, one after another.
inline std::vector<std::vector<float>> stream(StreamSession& session, const Tensor& signal,
                                              const std::vector<int64_t>& chunks) {
  std::vector<Collected> outputs(session.plan().outputs.size());
  const auto collect = [&](std::span<const TensorView> views) {
    for (size_t i = 0; i < views.size(); ++i) outputs[i].add(views[i]);
  };
  const int64_t length = signal.shape()[2];
  size_t next = 0;
  for (int64_t t = 0; t < length;) {
    const int64_t count = std::min(chunks[next++ % chunks.size()], length - t);
    const Tensor piece = times_of(signal, t, count);
    collect(session.push(std::vector{piece.view()}));
    t += count;
  }
  collect(session.finish());
  std::vector<std::vector<float>> values;
  for (const Collected& output : outputs) values.push_back(output.values());
  return values;
}

inline std::vector<std::vector<float>> run_whole(const graphs::Network& network, graphs::CompileOptions options,
                                                 const Tensor& signal) {
  options.dimensions[graphs::time_symbol(network.graph())] = signal.shape()[2];
  Session session(network.compile(options));
  std::vector<std::vector<float>> values;
  for (const TensorView& output : session.run(std::vector{signal.view()})) {
    const auto span = output.as<const float>();
    values.emplace_back(span.begin(), span.end());
  }
  return values;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace strand::testing
