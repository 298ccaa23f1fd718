#pragma once
// STFT and its inverse, as products with tables of windowed cosines and sines: exact sums in a fixed order, whatever
// the size. A spectrum is [N, 2 (n_fft / 2 + 1), T], real parts of all bins and then imaginary parts; a signal is
// [N, 1, L]. torch.stft's and torch.istft's formulas (onesided). Immutable.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "layers/attributes.h"
#include "layers/host_device.h"
#include "layers/layer.h"

namespace strand::layers {

enum class StftPad : uint8_t { kConstant, kReflect, kReplicate };

// Frame t takes elements t * hop + start + j of x, j in [0, taps): those under the window.
struct StftProblem {
  int64_t batch = 0;
  int64_t length = 0;  // of the signal
  int64_t frames = 0;
  int64_t n_fft = 1;
  int64_t hop = 1;
  int64_t taps = 1;   // win_length
  int64_t start = 0;  // below 0: what lies before x is padding
  StftPad pad = StftPad::kReflect;

  STRAND_HD int64_t bins() const { return n_fft / 2 + 1; }
  STRAND_HD int64_t rows() const { return 2 * bins(); }  // of a spectrum
};

// Where element `at` of the padded signal is read from; -1 stands for a zero.
STRAND_HD inline int64_t stft_index(const StftProblem& p, int64_t at) {
  if (at >= 0 && at < p.length) return at;
  if (p.pad == StftPad::kConstant) return -1;
  if (p.pad == StftPad::kReplicate) return at < 0 ? 0 : p.length - 1;
  return at < 0 ? -at : 2 * (p.length - 1) - at;
}

// The first and one past the last frame that hold position `at` of the overlapped signal (start and padding apart).
struct StftFrames {
  int64_t begin;
  int64_t end;
};
STRAND_HD inline StftFrames frames_at(const StftProblem& p, int64_t at) {
  const int64_t last = at / p.hop + 1;
  const int64_t before = at - p.taps;  // frames that begin up to there have ended
  const int64_t first = before < 0 ? 0 : before / p.hop + 1;
  return {first, last < p.frames ? last : p.frames};
}

// The fields that both layers share.
class StftBase : public Layer {
 public:
  explicit StftBase(const Attributes& attributes);  // Error(kSchema)

  const std::vector<double>& window() const { return window_; }
  // What row `row` of a spectrum takes of tap `tap`: analysis, or synthesis (divided by the envelope later).
  double analysis(int64_t row, int64_t tap) const;
  double synthesis(int64_t row, int64_t tap) const;

 protected:
  const StftProblem& fixed() const { return fixed_; }
  int64_t left() const { return left_; }
  void set_ends(int64_t start, StftPad pad);

 private:
  double turn(int64_t row, int64_t tap) const;  // cos or -sin

  StftProblem fixed_;           // all but batch and lengths
  int64_t left_ = 0;            // of the window in a frame
  double scale_ = 1;            // of a spectrum
  std::vector<double> window_;  // [win_length]
};

class Stft final : public StftBase {
 public:
  explicit Stft(const Attributes& attributes);

  StftProblem problem(const Shape& shape) const;

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  int64_t multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType> outputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

 private:
  bool center_;
};

class Istft final : public StftBase {
 public:
  explicit Istft(const Attributes& attributes);

  // With `start` what is trimmed: y[s] is position s + start of the overlapped signal.
  StftProblem problem(const Shape& shape) const;

  std::vector<TensorType> infer(std::span<const TensorType> inputs) const override;
  TimeMap time_map(int input, int output, std::span<const TensorType> inputs) const override;
  int64_t multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType> outputs) const override;
  std::vector<Implementation> implementations(const PrepareArgs& args) const override;
  ErrorBound error_bound(const PrepareArgs& args) const override;

 private:
  int64_t trim_;  // from either end, counted from the window's first tap
};

// The parts of the problems that the bindings' window shows.
StftProblem stft_stretch(StftProblem problem, const Bindings& bindings);
StftProblem istft_stretch(StftProblem problem, const Bindings& bindings);

std::unique_ptr<Kernel> stft_cpu(const StftBase& layer, const StftProblem& problem, const PrepareArgs& args);
std::unique_ptr<Kernel> istft_cpu(const StftBase& layer, const StftProblem& problem, const PrepareArgs& args);
void stft_cuda(const Layer& layer, const PrepareArgs& args, std::vector<Implementation>& list);

}  // namespace strand::layers
