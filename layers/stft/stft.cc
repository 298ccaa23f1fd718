#include "layers/stft/stft.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/checked.h"
#include "engine/error.h"
#include "layers/implementation_list.h"
#include "layers/registry.h"

namespace strand::layers {
namespace {

std::string text(int64_t value) { return std::to_string(value); }

// torch's periodic windows.
std::vector<double> make_window(const std::string& name, int64_t length) {
  struct Cosines {
    const char* name;
    double a0, a1, a2;
  };
  constexpr Cosines kWindows[] = {
      {"ones", 1, 0, 0}, {"hann", 0.5, 0.5, 0}, {"hamming", 0.54, 0.46, 0}, {"blackman", 0.42, 0.5, 0.08}};
  const auto* found = std::ranges::find_if(kWindows, [&](const Cosines& window) { return name == window.name; });
  if (found == std::end(kWindows)) {
    throw Error(ErrorCategory::kSchema, "window is '" + name + "', expected ones, hann, hamming or blackman");
  }
  std::vector<double> window(static_cast<size_t>(length));
  for (size_t i = 0; i < window.size(); ++i) {
    const double angle = 2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(length);
    window[i] = found->a0 - found->a1 * std::cos(angle) + found->a2 * std::cos(2 * angle);
  }
  if (length == 1) window[0] = 1;
  return window;
}

StftPad parse_pad(const std::string& name) {
  if (name == "reflect") return StftPad::kReflect;
  if (name == "constant") return StftPad::kConstant;
  if (name == "replicate") return StftPad::kReplicate;
  throw Error(ErrorCategory::kSchema, "pad_mode is '" + name + "', expected reflect, constant or replicate");
}

// The definition, in double; with `magnitudes` the sums of |window * x|.
struct AnalysisReference {
  StftProblem whole;
  std::vector<double> table;  // [rows, taps]
  bool magnitudes = false;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const StftProblem p = stft_stretch(whole, bindings);
    auto* y = bindings.outputs[0].ptr<T>();
    for (int64_t i = 0; i < p.batch * p.rows() * p.frames; ++i) {
      const T* x = bindings.inputs[0].ptr<const T>() + i / p.frames / p.rows() * p.length;
      double sum = 0;
      for (int64_t j = 0; j < p.taps; ++j) {
        const int64_t at = stft_index(p, i % p.frames * p.hop + p.start + j);
        const double value = at < 0 ? 0 : static_cast<double>(x[at]);
        const int64_t row = magnitudes ? 0 : i / p.frames % p.rows();  // the window itself
        const double term = table[static_cast<size_t>(row * p.taps + j)] * value;
        sum += magnitudes ? std::fabs(term) : term;
      }
      y[i] = static_cast<T>(sum);
    }
  }
};

struct SynthesisReference {
  StftProblem whole;
  std::vector<double> table;  // [rows, taps]
  std::vector<double> window;
  bool magnitudes = false;

  template <class T>
  void operator()(const Bindings& bindings) const {
    const StftProblem p = istft_stretch(whole, bindings);
    auto* y = bindings.outputs[0].ptr<T>();
    for (int64_t i = 0; i < p.batch * p.length; ++i) {
      const T* x = bindings.inputs[0].ptr<const T>() + i / p.length * p.rows() * p.frames;
      const int64_t at = i % p.length + p.start;
      const StftFrames frames = frames_at(p, at);
      double sum = 0;
      double envelope = 0;
      for (int64_t t = frames.begin; t < frames.end; ++t) {
        const int64_t tap = at - t * p.hop;
        for (int64_t row = 0; row < p.rows(); ++row) {
          const double entry = table[static_cast<size_t>(row * p.taps + tap)];
          const double term = entry * static_cast<double>(x[row * p.frames + t]);
          sum += magnitudes ? std::fabs(term) : term;
        }
        envelope += window[static_cast<size_t>(tap)] * window[static_cast<size_t>(tap)];
      }
      y[i] = static_cast<T>(sum / envelope);
    }
  }
};

template <class Entry>
std::vector<double> table_of(const StftProblem& p, Entry entry) {
  std::vector<double> table;
  table.reserve(static_cast<size_t>(p.rows() * p.taps));
  for (int64_t i = 0; i < p.rows() * p.taps; ++i) table.push_back(entry(i / p.taps, i % p.taps));
  return table;
}

AnalysisReference reference(const Stft& layer, const StftProblem& p, bool magnitudes = false) {
  return {p, table_of(p, [&](int64_t row, int64_t tap) { return layer.analysis(row, tap); }), magnitudes};
}
SynthesisReference reference(const Istft& layer, const StftProblem& p, bool magnitudes = false) {
  return {p, table_of(p, [&](int64_t row, int64_t tap) { return layer.synthesis(row, tap); }), layer.window(),
          magnitudes};
}

}  // namespace

StftBase::StftBase(const Attributes& attributes) {
  fixed_.n_fft = attributes.positive("n_fft");
  fixed_.taps = attributes.is_null("win_length") ? fixed_.n_fft : attributes.positive("win_length");
  fixed_.hop =
      attributes.is_null("hop_length") ? std::max<int64_t>(fixed_.n_fft / 4, 1) : attributes.positive("hop_length");
  constexpr int64_t kLargest = int64_t{1} << 16;  // tables grow with the square
  if (fixed_.n_fft > kLargest) {
    throw Error(ErrorCategory::kLimit, "n_fft " + text(fixed_.n_fft) + ", at most " + text(kLargest));
  }
  if (fixed_.taps > fixed_.n_fft) {
    throw Error(ErrorCategory::kSchema,
                "win_length " + text(fixed_.taps) + " is more than n_fft " + text(fixed_.n_fft));
  }
  left_ = (fixed_.n_fft - fixed_.taps) / 2;
  window_ = make_window(attributes.string("window"), fixed_.taps);
  if (attributes.boolean("normalized")) scale_ = 1 / std::sqrt(static_cast<double>(fixed_.n_fft));
}

void StftBase::set_ends(int64_t start, StftPad pad) {
  fixed_.start = start;
  fixed_.pad = pad;
}

double StftBase::turn(int64_t row, int64_t tap) const {
  const int64_t bins = fixed_.bins();
  const int64_t step = row % bins * (left_ + tap) % fixed_.n_fft;
  const double angle = 2 * std::numbers::pi * static_cast<double>(step) / static_cast<double>(fixed_.n_fft);
  return row < bins ? std::cos(angle) : -std::sin(angle);
}

double StftBase::analysis(int64_t row, int64_t tap) const {
  return scale_ * window_[static_cast<size_t>(tap)] * turn(row, tap);
}

double StftBase::synthesis(int64_t row, int64_t tap) const {
  const int64_t bin = row % fixed_.bins();
  const bool single = bin == 0 || 2 * bin == fixed_.n_fft;  // the others stand for their mirror images too
  if (single && row >= fixed_.bins()) return 0;
  const double share = (single ? 1 : 2) / (scale_ * static_cast<double>(fixed_.n_fft));
  return share * window_[static_cast<size_t>(tap)] * turn(row, tap);
}

StftProblem stft_stretch(StftProblem problem, const Bindings& bindings) {
  const Shape& input = bindings.inputs[0].shape();
  problem.length = input[input.rank() - 1];
  problem.frames = bindings.outputs[0].shape()[2];
  problem.start += bindings.window.output * problem.hop - bindings.window.input;
  return problem;
}

StftProblem istft_stretch(StftProblem problem, const Bindings& bindings) {
  problem.length = bindings.outputs[0].shape()[2];
  problem.frames = bindings.inputs[0].shape()[2];
  problem.start += bindings.window.output - bindings.window.input * problem.hop;
  return problem;
}

Stft::Stft(const Attributes& attributes) : StftBase(attributes), center_(attributes.boolean("center")) {
  set_ends(left() - (center_ ? fixed().n_fft / 2 : 0), parse_pad(attributes.string("pad_mode")));
}

StftProblem Stft::problem(const Shape& shape) const {
  if (shape.rank() != 2 && !(shape.rank() == 3 && shape[1] == 1)) {
    throw Error(ErrorCategory::kShape, "input is " + to_string(shape) + ", expected [N, 1, L] or [N, L]");
  }
  StftProblem p = fixed();
  p.batch = shape[0];
  p.length = shape[shape.rank() - 1];
  const int64_t padding = center_ ? p.n_fft / 2 : 0;
  const int64_t room = p.length + 2 * padding - p.n_fft;
  const int64_t least = p.pad == StftPad::kReflect ? padding + 1 : 1;
  if (room < 0 || (center_ && p.length < least)) {
    throw Error(ErrorCategory::kShape, "length " + text(p.length) + " is too short for n_fft " + text(p.n_fft) +
                                           " and padding " + text(padding));
  }
  p.frames = room / p.hop + 1;
  return p;
}

std::vector<TensorType> Stft::infer(std::span<const TensorType> inputs) const {
  const StftProblem p = problem(inputs[0].shape);
  const bool timed = inputs[0].time_axis == inputs[0].shape.rank() - 1;
  return {{inputs[0].dtype, {p.batch, p.rows(), p.frames}, timed ? 2 : TensorType::kNoTime}};
}

TimeMap Stft::time_map(int, int, std::span<const TensorType> inputs) const {
  if (inputs[0].time_axis != inputs[0].shape.rank() - 1) return TimeMap::all("the transformed axis is not time");
  TimeMap map;
  map.numerator = fixed().hop;
  map.first = fixed().start;
  map.last = fixed().start + fixed().taps - 1;
  map.length = fixed().hop - fixed().n_fft;
  if (!center_) return map;
  map.length += fixed().n_fft / 2 * 2;
  map.ends = fixed().pad == StftPad::kReflect     ? Ends::kReflect
             : fixed().pad == StftPad::kReplicate ? Ends::kReplicate
                                                  : Ends::kZeros;
  return map;
}

int64_t Stft::multiply_adds(std::span<const TensorType>, std::span<const TensorType> outputs) const {
  return checked_mul(outputs[0].shape.elements(), fixed().taps);
}

std::vector<Implementation> Stft::implementations(const PrepareArgs& args) const {
  const StftProblem p = problem(args.inputs[0].shape);
  std::vector<Implementation> list;
  stft_cuda(*this, args, list);
  list.push_back(float32_implementation(args, "cpu.native", [this, p, &args] { return stft_cpu(*this, p, args); }));
  list.push_back(reference_implementation(args, [this, p] { return reference(*this, p); }));
  return list;
}

ErrorBound Stft::error_bound(const PrepareArgs& args) const {
  return error_bound_of(sum_factor(fixed().taps), [sums = reference(*this, problem(args.inputs[0].shape), true)](
                                                      const Bindings& b) { sums.operator()<double>(b); });
}

Istft::Istft(const Attributes& attributes) : StftBase(attributes) {
  const std::string& padding = attributes.string("padding");
  if (padding != "center" && padding != "same") {
    throw Error(ErrorCategory::kSchema, "padding is '" + padding + "', expected center or same");
  }
  if (padding == "same" && fixed().taps < fixed().hop) {
    throw Error(ErrorCategory::kSchema, "padding same needs a win_length of at least hop_length");
  }
  trim_ = padding == "center" ? fixed().n_fft / 2 : (fixed().taps - fixed().hop) / 2;
  set_ends(trim_ - left(), StftPad::kConstant);
}

StftProblem Istft::problem(const Shape& shape) const {
  if (shape.rank() != 3 || shape[1] != fixed().rows()) {
    throw Error(ErrorCategory::kShape, "input is " + to_string(shape) + ", expected [N, " + text(fixed().rows()) +
                                           ", T]: real and imaginary parts of n_fft / 2 + 1 bins");
  }
  StftProblem p = fixed();
  p.batch = shape[0];
  p.frames = shape[2];
  p.length = checked_add(checked_mul(p.frames, p.hop), p.n_fft - p.hop - 2 * trim_);
  if (p.frames == 0 || p.length < 1) {
    throw Error(ErrorCategory::kShape, text(p.frames) + " frames give a signal of length " + text(p.length));
  }
  // As torch.istft: nothing can be made where no window reaches. The middle repeats itself.
  StftProblem ends = p;
  ends.frames = std::min(p.frames, 2 * ceil_div(p.n_fft, p.hop) + 2);
  ends.length = ends.frames * p.hop + p.n_fft - p.hop - 2 * trim_;
  // sums[i]: of the squares of taps i, i - hop, i - 2 hop, ...
  std::vector<double> sums(window().size());
  for (size_t i = 0; i < sums.size(); ++i) {
    const auto tap = static_cast<int64_t>(i);
    sums[i] = window()[i] * window()[i] + (tap >= p.hop ? sums[static_cast<size_t>(tap - p.hop)] : 0);
  }
  for (int64_t s = 0; s < ends.length; ++s) {
    const int64_t at = s + p.start;
    const StftFrames frames = frames_at(ends, at);
    double envelope = 0;
    if (at >= 0 && frames.begin < frames.end) {
      const int64_t below = at - frames.end * p.hop;  // the tap after the least one
      envelope =
          sums[static_cast<size_t>(at - frames.begin * p.hop)] - (below >= 0 ? sums[static_cast<size_t>(below)] : 0);
    }
    if (envelope < 1e-11) {
      throw Error(ErrorCategory::kShape,
                  "the windows leave a gap at sample " + text(s) + " of the signal or from its end");
    }
  }
  return p;
}

std::vector<TensorType> Istft::infer(std::span<const TensorType> inputs) const {
  const StftProblem p = problem(inputs[0].shape);
  return {{inputs[0].dtype, {p.batch, 1, p.length}, inputs[0].time_axis == 2 ? 2 : TensorType::kNoTime}};
}

TimeMap Istft::time_map(int, int, std::span<const TensorType> inputs) const {
  if (inputs[0].time_axis != 2) return TimeMap::all("the frames are not time");
  TimeMap map;
  map.denominator = fixed().hop;
  map.first = fixed().start - std::max<int64_t>(fixed().taps - fixed().hop, 0);
  map.last = fixed().start;
  map.length = fixed().n_fft - fixed().hop - 2 * trim_;
  return map;
}

int64_t Istft::multiply_adds(std::span<const TensorType> inputs, std::span<const TensorType>) const {
  return checked_mul(inputs[0].shape.elements(), fixed().taps);
}

std::vector<Implementation> Istft::implementations(const PrepareArgs& args) const {
  const StftProblem p = problem(args.inputs[0].shape);
  std::vector<Implementation> list;
  stft_cuda(*this, args, list);
  list.push_back(float32_implementation(args, "cpu.native", [this, p, &args] { return istft_cpu(*this, p, args); }));
  list.push_back(reference_implementation(args, [this, p] { return reference(*this, p); }));
  return list;
}

ErrorBound Istft::error_bound(const PrepareArgs& args) const {
  const int64_t terms = fixed().rows() + ceil_div(fixed().taps, fixed().hop) + 2;
  return error_bound_of(sum_factor(terms), [sums = reference(*this, problem(args.inputs[0].shape), true)](
                                               const Bindings& b) { sums.operator()<double>(b); });
}

void register_stft(LayerRegistry& registry);
void register_stft(LayerRegistry& registry) {
  const std::vector<Field> shared = {
      {"n_fft", kInteger, "samples of a frame"},
      {"hop_length", kInteger | kNull, "samples from frame to frame; a quarter of n_fft unless given", Null{}},
      {"win_length", kInteger | kNull, "samples of the window, in the middle of the frame; n_fft unless given", Null{}},
      {"window", kString, "ones, hann, hamming or blackman (periodic)", std::string("ones")},
      {"normalized", kBoolean, "divide spectra by sqrt(n_fft)", false}};
  std::vector<Field> forward = shared;
  forward.emplace_back("center", kBoolean, "pad n_fft / 2 samples at both ends", true);
  forward.emplace_back("pad_mode", kString, "reflect, constant or replicate", std::string("reflect"));
  std::vector<Field> back = shared;
  back.emplace_back("padding", kString,
                    "what is cut: center (n_fft / 2 at both ends) or same ((win_length - hop_length) / 2)",
                    std::string("center"));
  registry.add({"STFT", "short-time Fourier transform", forward,
                [](const Attributes& a) { return std::make_unique<Stft>(a); },
                "[N, 1, L] or [N, L] -> [N, 2 (n_fft / 2 + 1), T], real parts and then imaginary ones",
                "hop_length t - n_fft / 2 (if center), + win_length - 1; ends as pad_mode"});
  registry.add({"ISTFT", "its inverse, by overlapped windows over their envelope", back,
                [](const Attributes& a) { return std::make_unique<Istft>(a); },
                "[N, 2 (n_fft / 2 + 1), T] -> [N, 1, hop_length (T - 1) + n_fft - what is cut]",
                "frames whose windows reach t"});
}

}  // namespace strand::layers
