// STFT and ISTFT on the CPU: products of six frames with sixteen columns of a table at a time, held in registers while
// all terms pass, in order. The signal is padded in the workspace first; or the frames are laid there, and each sample
// of the signal gathers those that hold it.

#include <Eigen/Core>
#include <algorithm>
#include <array>

#include "engine/checked.h"
#include "layers/implementation_list.h"
#include "layers/packets_cpu.h"
#include "layers/stft/stft.h"

namespace strand::layers {
namespace {

constexpr int64_t kRows = 6;
constexpr int64_t kPanel = 16;  // columns of a table

// Six frames' values of a panel.
using Block = std::array<std::array<float, kPanel>, kRows>;

// The terms of frame f are values[f * frame_pitch + i * term_pitch], i in [0, terms).
struct Frames {
  const float* values;
  int64_t frame_pitch;
  int64_t term_pitch;
  int64_t terms;
};

template <int Rows>
void multiply(const Frames& frames, const float* panel, Block& block) {
  using Packet = typename Eigen::internal::find_best_packet<float, kPanel>::type;
  using Eigen::internal::ploadu, Eigen::internal::pset1, Eigen::internal::pstoreu;
  constexpr int kLanes = Eigen::internal::unpacket_traits<Packet>::size;
  constexpr int kPackets = kPanel / kLanes;
  Packet sums[Rows][kPackets];
  for (auto& row : sums) std::fill_n(row, kPackets, pset1<Packet>(0.0F));
  for (int64_t i = 0; i < frames.terms; ++i, panel += kPanel) {
    const float* values = frames.values + i * frames.term_pitch;
    Packet columns[kPackets];
    for (int k = 0; k < kPackets; ++k) columns[k] = ploadu<Packet>(panel + k * kLanes);
    for (int row = 0; row < Rows; ++row) {
      const Packet value = pset1<Packet>(values[row * frames.frame_pitch]);
      for (int k = 0; k < kPackets; ++k) sums[row][k] = multiply_add(value, columns[k], sums[row][k]);
    }
  }
  for (int row = 0; row < Rows; ++row) {
    for (int k = 0; k < kPackets; ++k) pstoreu(block[static_cast<size_t>(row)].data() + k * kLanes, sums[row][k]);
  }
}

// Calls store(frame, column, value) for all products of `count` frames with a table of `columns`, panel by panel.
template <class Store>
void product(const Context& context, const Frames& frames, int64_t count, const float* table, int64_t columns,
             Store store) {
  constexpr std::array kByRows = {multiply<1>, multiply<2>, multiply<3>, multiply<4>, multiply<5>, multiply<6>};
  const int64_t blocks = ceil_div(count, kRows);
  context.parallel_for(ceil_div(columns, kPanel) * blocks, 4, [&](int64_t begin, int64_t end) {
    Block block;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item % blocks * kRows;
      const int64_t column = item / blocks * kPanel;
      const int64_t rows = std::min(kRows, count - first);
      Frames some = frames;
      some.values += first * frames.frame_pitch;
      kByRows[static_cast<size_t>(rows - 1)](some, table + column * frames.terms, block);
      for (int64_t c = 0; c < std::min(kPanel, columns - column); ++c) {
        for (int64_t r = 0; r < rows; ++r) {
          store(first + r, column + c, block[static_cast<size_t>(r)][static_cast<size_t>(c)]);
        }
      }
    }
  });
}

// Panels [terms, kPanel] of a table whose entries value(term, column) gives, zeros past the last column.
template <class Value>
std::shared_ptr<const Buffer> pack(const PrepareArgs& args, const char* name, int64_t terms, int64_t columns,
                                   Value value) {
  const int64_t count = checked_mul(terms, round_up(columns, kPanel));
  return args.weights.pack(name, count * static_cast<int64_t>(sizeof(float)), [&](std::byte* bytes) {
    auto* target = reinterpret_cast<float*>(bytes);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t column = i / (terms * kPanel) * kPanel + i % kPanel;
      target[i] = column < columns ? static_cast<float>(value(i / kPanel % terms, column)) : 0.0F;
    }
  });
}

class StftKernel final : public Kernel {
 public:
  StftKernel(const StftBase& layer, const StftProblem& problem, const PrepareArgs& args)
      : problem_(problem), table_(pack(args, "stft.cpu", problem.taps, problem.rows(), [&](int64_t tap, int64_t row) {
          return layer.analysis(row, tap);
        })) {}

  int64_t workspace_bytes() const override { return floats(problem_) * static_cast<int64_t>(sizeof(float)); }

  void run(const Context& context, const Bindings& bindings) const override {
    const StftProblem p = stft_stretch(problem_, bindings);
    auto* padded = reinterpret_cast<float*>(bindings.workspace);
    if (p.frames == 0) return;
    for (int64_t n = 0; n < p.batch; ++n) {
      const float* x = bindings.inputs[0].ptr<const float>() + n * p.length;
      float* y = bindings.outputs[0].ptr<float>() + n * p.rows() * p.frames;
      for (int64_t i = 0; i < floats(p); ++i) {
        const int64_t at = stft_index(p, i + p.start);
        padded[i] = at < 0 ? 0.0F : x[at];
      }
      product(context, {padded, p.hop, 1, p.taps}, p.frames, reinterpret_cast<const float*>(table_->data()), p.rows(),
              [&](int64_t frame, int64_t row, float value) { y[row * p.frames + frame] = value; });
    }
  }

 private:
  // From the first frame's first tap to the last one's last.
  static int64_t floats(const StftProblem& p) { return (p.frames - 1) * p.hop + p.taps; }

  StftProblem problem_;
  std::shared_ptr<const Buffer> table_;  // [rows / kPanel, taps, kPanel]
};

class IstftKernel final : public Kernel {
 public:
  IstftKernel(const StftBase& layer, const StftProblem& problem, const PrepareArgs& args)
      : problem_(problem),
        window_(layer.window()),
        table_(pack(args, "istft.cpu", problem.rows(), problem.taps,
                    [&](int64_t row, int64_t tap) { return layer.synthesis(row, tap); })) {}

  int64_t workspace_bytes() const override {
    return checked_mul(problem_.frames, problem_.taps) * static_cast<int64_t>(sizeof(float));
  }

  void run(const Context& context, const Bindings& bindings) const override {
    const StftProblem p = istft_stretch(problem_, bindings);
    auto* laid = reinterpret_cast<float*>(bindings.workspace);  // [T, taps]
    for (int64_t n = 0; n < p.batch; ++n) {
      const float* x = bindings.inputs[0].ptr<const float>() + n * p.rows() * p.frames;
      float* y = bindings.outputs[0].ptr<float>() + n * p.length;
      product(context, {x, 1, p.frames, p.rows()}, p.frames, reinterpret_cast<const float*>(table_->data()), p.taps,
              [&](int64_t frame, int64_t tap, float value) { laid[frame * p.taps + tap] = value; });
      context.parallel_for(p.length, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t s = begin; s < end; ++s) y[s] = gather(p, laid, s + p.start);
      });
    }
  }

 private:
  float gather(const StftProblem& p, const float* laid, int64_t at) const {
    const StftFrames frames = frames_at(p, at);
    double sum = 0;
    double envelope = 0;
    for (int64_t t = frames.begin; t < frames.end; ++t) {
      const int64_t tap = at - t * p.hop;
      const double weight = window_[static_cast<size_t>(tap)];
      sum += static_cast<double>(laid[t * p.taps + tap]);
      envelope += weight * weight;
    }
    return static_cast<float>(sum / envelope);
  }

  StftProblem problem_;
  std::vector<double> window_;
  std::shared_ptr<const Buffer> table_;  // [taps / kPanel, rows, kPanel]
};

}  // namespace

std::unique_ptr<Kernel> stft_cpu(const StftBase& layer, const StftProblem& problem, const PrepareArgs& args) {
  return std::make_unique<StftKernel>(layer, problem, args);
}

std::unique_ptr<Kernel> istft_cpu(const StftBase& layer, const StftProblem& problem, const PrepareArgs& args) {
  return std::make_unique<IstftKernel>(layer, problem, args);
}

}  // namespace strand::layers
