// STFT and ISTFT on CUDA, as products with tables of windowed cosines and sines.
//
// STFT: a thread computes kMany rows of the spectrum for one frame, lanes along the frames; the table's entries, alike
//   for all lanes, come as broadcasts, and a sample serves kMany rows.
// ISTFT: a thread computes one tap of kMany frames, lanes along the taps, into a workspace [N, T, win_length]; then a
//   thread a sample gathers the frames that hold it, in order, and divides by the envelope.
// Limits: 64-bit sizes; win_length times n_fft multiply-adds a frame, which a transform by FFT would not need.

#include <algorithm>

#include "layers/cuda_launch.cuh"
#include "layers/implementation_list.h"
#include "layers/stft/stft.h"

namespace strand::layers {
namespace {

constexpr int kMany = 8;

struct Sums {
  float v[kMany];
};

// Element i is (n, block of kMany rows, frame), frames fastest.
struct Analysis {
  StftProblem problem;
  int64_t blocks;      // of rows
  const float* table;  // [blocks, taps, kMany], zeros past the last row
  const float* x;
  float* y;

  template <class Index>
  __device__ Sums load(Index i) const {
    const auto frame = static_cast<int64_t>(i) % problem.frames;
    const auto item = static_cast<int64_t>(i) / problem.frames;
    const float* source = x + item / blocks * problem.length;
    const float* entries = table + item % blocks * problem.taps * kMany;
    const int64_t start = frame * problem.hop + problem.start;
    Sums sums{};
    for (int64_t j = 0; j < problem.taps; ++j, entries += kMany) {
      const int64_t at = stft_index(problem, start + j);
      const float sample = at < 0 ? 0.0F : source[at];
#pragma unroll
      for (int k = 0; k < kMany; ++k) sums.v[k] = fmaf(entries[k], sample, sums.v[k]);
    }
    return sums;
  }
  template <class Index>
  __device__ void store(Index i, const Sums& sums) const {
    const auto frame = static_cast<int64_t>(i) % problem.frames;
    const auto item = static_cast<int64_t>(i) / problem.frames;
    const int64_t row = item % blocks * kMany;
    float* target = y + (item / blocks * problem.rows() + row) * problem.frames + frame;
#pragma unroll
    for (int k = 0; k < kMany; ++k) {
      if (row + k < problem.rows()) target[k * problem.frames] = sums.v[k];
    }
  }
};

// Element i is (n, block of kMany frames, tap), taps fastest.
struct Synthesis {
  StftProblem problem;
  int64_t blocks;      // of frames
  const float* table;  // [rows, taps]
  const float* x;
  float* laid;  // [N, T, taps]

  template <class Index>
  __device__ Sums load(Index i) const {
    const auto tap = static_cast<int64_t>(i) % problem.taps;
    const auto item = static_cast<int64_t>(i) / problem.taps;
    const int64_t first = item % blocks * kMany;
    const float* source = x + item / blocks * problem.rows() * problem.frames + first;
    const int64_t count = min(int64_t{kMany}, problem.frames - first);
    Sums sums{};
    for (int64_t row = 0; row < problem.rows(); ++row, source += problem.frames) {
      const float entry = table[row * problem.taps + tap];
#pragma unroll
      for (int k = 0; k < kMany; ++k) {
        if (k < count) sums.v[k] = fmaf(entry, source[k], sums.v[k]);
      }
    }
    return sums;
  }
  template <class Index>
  __device__ void store(Index i, const Sums& sums) const {
    const auto tap = static_cast<int64_t>(i) % problem.taps;
    const auto item = static_cast<int64_t>(i) / problem.taps;
    const int64_t first = item % blocks * kMany;
    float* target = laid + (item / blocks * problem.frames + first) * problem.taps + tap;
#pragma unroll
    for (int k = 0; k < kMany; ++k) {
      if (first + k < problem.frames) target[k * problem.taps] = sums.v[k];
    }
  }
};

struct Overlap {
  StftProblem problem;
  const float* window;  // [taps]
  const float* laid;    // [N, T, taps]
  float* y;

  template <class Index>
  __device__ float load(Index i) const {
    const auto n = static_cast<int64_t>(i) / problem.length;
    const int64_t at = static_cast<int64_t>(i) - n * problem.length + problem.start;
    const StftFrames frames = frames_at(problem, at);
    double sum = 0;
    double envelope = 0;
    for (int64_t t = frames.begin; t < frames.end; ++t) {
      const int64_t tap = at - t * problem.hop;
      const auto weight = static_cast<double>(window[tap]);
      sum += static_cast<double>(laid[(n * problem.frames + t) * problem.taps + tap]);
      envelope += weight * weight;
    }
    return static_cast<float>(sum / envelope);
  }
  template <class Index>
  __device__ void store(Index i, float value) const {
    y[i] = value;
  }
};

template <class Value>
std::shared_ptr<const Buffer> pack(const PrepareArgs& args, const char* name, int64_t count, Value value) {
  return args.weights.pack(name, checked_mul(count, sizeof(float)), [&](std::byte* bytes) {
    auto* target = reinterpret_cast<float*>(bytes);
    for (int64_t i = 0; i < count; ++i) target[i] = static_cast<float>(value(i));
  });
}

const float* floats(const std::shared_ptr<const Buffer>& buffer) {
  return reinterpret_cast<const float*>(buffer->data());
}

std::unique_ptr<Kernel> prepare_stft(const Stft& layer, const StftProblem& p, const PrepareArgs& args) {
  const int64_t blocks = ceil_div(p.rows(), kMany);
  auto table = pack(args, "stft.cuda", checked_mul(blocks * kMany, p.taps), [&](int64_t i) {
    const int64_t row = i / kMany / p.taps * kMany + i % kMany;
    return row < p.rows() ? layer.analysis(row, i / kMany % p.taps) : 0.0;
  });
  return function_kernel([p, blocks, table](const Context& context, const Bindings& bindings) {
    cuda::launch_flat(
        context, "STFT", p.batch * blocks * p.frames,
        Analysis{p, blocks, floats(table), bindings.inputs[0].ptr<const float>(), bindings.outputs[0].ptr<float>()});
  });
}

std::unique_ptr<Kernel> prepare_istft(const Istft& layer, const StftProblem& p, const PrepareArgs& args) {
  auto table = pack(args, "istft.cuda", checked_mul(p.rows(), p.taps),
                    [&](int64_t i) { return layer.synthesis(i / p.taps, i % p.taps); });
  auto window = pack(args, "istft.window", p.taps, [&](int64_t i) { return layer.window()[static_cast<size_t>(i)]; });
  const int64_t laid = checked_mul(checked_mul(p.batch, p.frames), p.taps);
  const auto run = [p, table, window](const Context& context, const Bindings& bindings) {
    const int64_t blocks = ceil_div(p.frames, kMany);
    auto* frames = reinterpret_cast<float*>(bindings.workspace);
    cuda::launch_flat(context, "ISTFT, frames", p.batch * blocks * p.taps,
                      Synthesis{p, blocks, floats(table), bindings.inputs[0].ptr<const float>(), frames});
    cuda::launch_flat(context, "ISTFT, overlap", p.batch * p.length,
                      Overlap{p, floats(window), frames, bindings.outputs[0].ptr<float>()});
  };
  return function_kernel(run, checked_mul(laid, sizeof(float)));
}

}  // namespace

void stft_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list) {
  const Shape& shape = args.inputs[0].shape;
  if (const auto* stft = dynamic_cast<const Stft*>(&layer)) {
    list.push_back(float32_implementation(
        args, "cuda.native", [stft, p = stft->problem(shape), &args] { return prepare_stft(*stft, p, args); }));
  } else if (const auto* istft = dynamic_cast<const Istft*>(&layer)) {
    list.push_back(float32_implementation(
        args, "cuda.native", [istft, p = istft->problem(shape), &args] { return prepare_istft(*istft, p, args); }));
  }
}

}  // namespace strand::layers
