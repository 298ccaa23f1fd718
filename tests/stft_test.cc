#include <cmath>
#include <numbers>

#include "tests/make_layer.h"
#include "tests/run_pieces.h"

namespace strand::testing {
namespace {

struct Frame {
  int64_t n_fft, hop_length, win_length;
  const char* window;
};
const std::vector<Frame> kFrames = {{16, 4, 16, "hann"},  {16, 4, 12, "hamming"},  {15, 5, 15, "hann"},
                                    {64, 16, 64, "hann"}, {40, 7, 33, "blackman"}, {9, 9, 9, "ones"},
                                    {1, 1, 1, "ones"}};

std::unique_ptr<layers::Layer> stft(const Frame& f, bool center = true, const char* pad_mode = "reflect",
                                    bool normalized = false) {
  return make_layer("STFT", {{"n_fft", f.n_fft},
                             {"hop_length", f.hop_length},
                             {"win_length", f.win_length},
                             {"window", std::string(f.window)},
                             {"center", center},
                             {"pad_mode", std::string(pad_mode)},
                             {"normalized", normalized}});
}
std::unique_ptr<layers::Layer> istft(const Frame& f, const char* padding = "center", bool normalized = false) {
  return make_layer("ISTFT", {{"n_fft", f.n_fft},
                              {"hop_length", f.hop_length},
                              {"win_length", f.win_length},
                              {"window", std::string(f.window)},
                              {"padding", std::string(padding)},
                              {"normalized", normalized}});
}

TEST_CASE("STFT and ISTFT at odd sizes") {
  for (const Frame& f : kFrames) {
    const std::string what = "STFT of " + std::to_string(f.n_fft);
    for (const int64_t length : {64, 65, 231}) {
      check_layer(*stft(f), Shape{2, 1, length}, what);
      check_layer(*stft(f, true, "constant", true), Shape{3, length}, what);
      check_layer(*stft(f, false, "replicate"), Shape{2, 1, length}, what);
    }
    for (const int64_t frames : {3, 8, 41}) {
      check_layer(*istft(f), Shape{2, f.n_fft / 2 * 2 + 2, frames}, "I" + what);
      check_layer(*istft(f, "same", true), Shape{2, f.n_fft / 2 * 2 + 2, frames}, "I" + what);
    }
  }
  check_layer(*stft(kFrames[0]), Shape{0, 1, 64}, "STFT of nothing");
  check_layer(*istft(kFrames[0]), Shape{0, 18, 5}, "ISTFT of nothing");
}

TEST_CASE("STFT and ISTFT piece by piece") {
  for (const Frame& f : kFrames) {
    std::vector<Tensor> inputs;
    inputs.push_back(random_tensor({2, 1, 400}));
    for (const char* pad_mode : {"reflect", "constant", "replicate"}) {
      check_pieces(*stft(f, true, pad_mode), inputs, {}, std::string("STFT ") + pad_mode, 17);
    }
    check_pieces(*stft(f, false), inputs, {}, "STFT", 17);
    inputs[0] = random_tensor({2, f.n_fft / 2 * 2 + 2, 40});
    check_pieces(*istft(f), inputs, {}, "ISTFT", 50);
    check_pieces(*istft(f, "same"), inputs, {}, "ISTFT", 50);
  }
}

TEST_CASE("ISTFT gives back what STFT was given") {
  for (const Frame& f : kFrames) {
    std::vector<Tensor> signal;
    signal.push_back(random_tensor({1, 1, 40 * f.hop_length}));
    const std::vector<Tensor> spectrum = run_implementation(*stft(f), "cpu.native", signal, {});
    const std::vector<Tensor> back = run_implementation(*istft(f), "cpu.native", spectrum, {});
    const auto x = signal[0].as<const float>();
    const auto y = back[0].as<const float>();
    REQUIRE(y.size() <= x.size() + 1);
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) CHECK(std::fabs(x[i] - y[i]) < 1e-4F);
  }
}

TEST_CASE("STFT of a cosine is one bin") {
  std::vector<Tensor> inputs;
  inputs.push_back(random_tensor({1, 1, 64}));
  for (size_t i = 0; i < 64; ++i) {
    inputs[0].as<float>()[i] = static_cast<float>(std::cos(2 * std::numbers::pi * 3 * static_cast<double>(i) / 16));
  }
  for_each_implementation(*stft({16, 16, 16, "ones"}, false), inputs, {},
                          [](const std::string&, std::span<const float> y) {
                            for (size_t i = 0; i < y.size(); ++i) CHECK(std::fabs(y[i] - (i / 4 == 3 ? 8 : 0)) < 1e-5F);
                          });
}

TEST_CASE("STFT's shapes and times") {
  CHECK(output_shape(*stft({512, 128, 512, "hann"}), {2, 1, 1024}) == Shape{2, 514, 9});
  CHECK(output_shape(*make_layer("STFT", {{"n_fft", 512}}), {2, 1024}) == Shape{2, 514, 9});
  CHECK(output_shape(*istft({512, 128, 512, "hann"}), {2, 514, 9}) == Shape{2, 1, 1024});
  CHECK(output_shape(*istft({512, 128, 512, "hann"}, "same"), {2, 514, 8}) == Shape{2, 1, 1024});
  const TimeMap map = time_map_of(*stft({512, 128, 400, "hann"}), {signal({2, 1, 1024})});
  CHECK(map.numerator == 128);
  CHECK(map.first == -200);
  CHECK(map.last == 199);
  CHECK(map.ends == Ends::kReflect);
  CHECK(time_map_of(*istft({512, 128, 512, "hann"}), {signal({2, 514, 9})}).denominator == 128);
}

TEST_CASE("STFT's errors") {
  CHECK(refusal(ErrorCategory::kSchema, [] { stft({16, 4, 17, "hann"}); }) == "win_length 17 is more than n_fft 16");
  CHECK(refusal(ErrorCategory::kSchema, [] {
          stft({16, 4, 16, "hanning"});
        }) == "window is 'hanning', expected ones, hann, hamming or blackman");
  CHECK(refusal(ErrorCategory::kSchema, [] {
          stft({16, 4, 16, "hann"}, true, "zeros");
        }) == "pad_mode is 'zeros', expected reflect, constant or replicate");
  CHECK(refusal(ErrorCategory::kSchema, [] {
          istft({16, 4, 16, "hann"}, "valid");
        }) == "padding is 'valid', expected center or same");
  refusal(ErrorCategory::kLimit, [] { stft({1 << 20, 4, 4, "hann"}); });
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*stft({16, 4, 16, "hann"}), {1, 1, 8});
        }) == "length 8 is too short for n_fft 16 and padding 8");
  refusal(ErrorCategory::kShape, [] { output_shape(*stft({16, 4, 16, "hann"}, false), {1, 1, 15}); });
  refusal(ErrorCategory::kShape, [] { output_shape(*stft({16, 4, 16, "hann"}), {1, 2, 80}); });
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*istft({16, 4, 16, "hann"}), {1, 17, 8});
        }) == "input is [1, 17, 8], expected [N, 18, T]: real and imaginary parts of n_fft / 2 + 1 bins");
  CHECK(refusal(ErrorCategory::kShape, [] {
          output_shape(*istft({16, 16, 16, "hann"}), {1, 18, 8});
        }) == "the windows leave a gap at sample 8 of the signal or from its end");
}

}  // namespace
}  // namespace strand::testing
