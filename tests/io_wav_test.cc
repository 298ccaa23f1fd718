#include "graphs/io/wav.h"

#include <cstdio>

#include "tests/io_support.h"

namespace strand::testing {
namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 24;

const Parse kParse = [](std::span<const std::byte> bytes) { parse_wav(bytes, "fuzz"); };

bool skipped() {
  if (!built_with_sndfile()) std::printf("SKIPPED: built without libsndfile\n");
  return !built_with_sndfile();
}

std::string little_endian(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 255U);
  return text;
}

struct Wav {
  uint64_t channels = 1;
  uint64_t rate = 16000;
  uint64_t bits = 16;
  uint64_t format = 1;  // 1: integers, 3: floats
  std::string data = little_endian(0x4000, 2) + little_endian(0x8000, 2) + little_endian(0, 2);
  uint64_t data_bytes = 0;  // told in the header; 0: the truth
};

std::string wav_file(const Wav& wav) {
  const uint64_t frame = wav.channels * wav.bits / 8;
  const std::string fmt = little_endian(wav.format, 2) + little_endian(wav.channels, 2) + little_endian(wav.rate, 4) +
                          little_endian(wav.rate * frame, 4) + little_endian(frame, 2) + little_endian(wav.bits, 2);
  const std::string body = "WAVEfmt " + little_endian(fmt.size(), 4) + fmt + "data" +
                           little_endian(wav.data_bytes != 0 ? wav.data_bytes : wav.data.size(), 4) + wav.data;
  return "RIFF" + little_endian(body.size(), 4) + body;
}

Audio parse(const std::string& file) { return parse_wav(std::as_bytes(std::span(file)), "test.wav"); }

TEST_CASE("wav: without libsndfile every call says so") {
  if (built_with_sndfile()) return;
  CHECK(error_text([] { read_wav("a.wav"); }).starts_with("UNSUPPORTED a.wav: strand was built without libsndfile"));
  CHECK(error_text([] { write_wav("a.wav", TensorView(), 1); }).starts_with("UNSUPPORTED"));
}

TEST_CASE("wav: float samples come back bit for bit, and the file is the same each time") {
  if (skipped()) return;
  const TemporaryFolder folder;
  std::mt19937 random(6);
  std::uniform_real_distribution<float> level(-2.0F, 2.0F);  // beyond full scale too: nothing clips
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{1, 2, 10000}, Shape{6, 4097}, Shape{1, 3, 0}, Shape{1, 4096}}) {
    const Tensor samples(TensorType{DType::kFloat32, shape});
    for (float& sample : samples.as<float>()) sample = level(random);
    CAPTURE(to_string(shape));
    write_wav(folder / "a.wav", samples.view(), 44100);
    write_wav(folder / "b.wav", samples.view(), 44100);
    CHECK(read_file(folder / "a.wav", kMaxBytes) == read_file(folder / "b.wav", kMaxBytes));
    const Audio audio = read_wav(folder / "a.wav");
    CHECK(audio.rate == 44100);
    CHECK(audio.samples.shape() == Shape{1, shape[-2], shape[-1]});
    CHECK(std::ranges::equal(bytes_of(audio.samples), bytes_of(samples)));
  }
  CHECK(folder.files() == 2);
}

TEST_CASE("wav: integer samples are scaled to +-1, channels first") {
  if (skipped()) return;
  const Audio mono = parse(wav_file({}));
  CHECK(mono.rate == 16000);
  CHECK(mono.samples.shape() == Shape{1, 1, 3});
  CHECK(mono.samples.as<float>()[0] == 0.5F);
  CHECK(mono.samples.as<float>()[1] == -1.0F);
  const std::string frames =
      little_endian(0x4000, 2) + little_endian(0xC000, 2) + little_endian(0x2000, 2) + little_endian(0xE000, 2);
  const Audio stereo = parse(wav_file({.channels = 2, .data = frames}));
  CHECK(stereo.samples.shape() == Shape{1, 2, 2});
  CHECK(std::ranges::equal(stereo.samples.as<float>(), std::vector<float>{0.5F, 0.25F, -0.5F, -0.25F}));
  const Audio wide = parse(wav_file({.bits = 24, .data = little_endian(0x400000, 3) + little_endian(0x800000, 3)}));
  CHECK(std::ranges::equal(wide.samples.as<float>(), std::vector<float>{0.5F, -1.0F}));
}

TEST_CASE("wav: headers that lie and files that are no audio are refused") {
  if (skipped()) return;
  struct Row {
    std::string why;
    std::string file;
  };
  const std::vector<Row> rows = {{"empty", ""},
                                 {"no audio", std::string(100, 'x')},
                                 {"no data chunk", wav_file({}).substr(0, 36)},
                                 {"more data than the file has", wav_file({.data_bytes = 8})},
                                 {"4 GiB of data", wav_file({.data_bytes = 0xFFFFFFFF})},
                                 {"no channels", wav_file({.channels = 0})},
                                 {"65535 channels", wav_file({.channels = 65535})},
                                 {"no rate", wav_file({.rate = 0})},
                                 {"0 bits", wav_file({.bits = 0})},
                                 {"an unknown format", wav_file({.format = 0x7777})}};
  for (const Row& row : rows) {
    CAPTURE(row.why);
    CHECK(error_text([&] { parse(row.file); }).starts_with("PARSE test.wav: "));
  }
  const TemporaryFolder folder;
  CHECK(error_text([&] { read_wav(folder.path()); }).starts_with("IO "));
  CHECK(error_text([&] { read_wav("/dev/zero"); }).starts_with("IO "));
}

TEST_CASE("wav: tensors that are no audio are not written") {
  if (skipped()) return;
  const TemporaryFolder folder;
  const auto write = [&](const Shape& shape, DType dtype, int rate) {
    return error_text([&] { write_wav(folder / "a.wav", Tensor(TensorType{dtype, shape}).view(), rate); });
  };
  for (const Shape& shape : {Shape{}, Shape{4}, Shape{2, 1, 4}, Shape{1, 1, 1, 4}, Shape{0, 4}, Shape{1025, 4}}) {
    CAPTURE(to_string(shape));
    CHECK(write(shape, DType::kFloat32, 16000).starts_with("SHAPE"));
  }
  CHECK(write({1, 4}, DType::kFloat64, 16000).starts_with("SHAPE"));
  CHECK(write({1, 4}, DType::kFloat32, 0).starts_with("SHAPE"));
  CHECK(error_text([&] { write_wav(folder / "a.wav", TensorView(), 16000); }).starts_with("SHAPE"));
  CHECK(folder.files() == 0);
}

TEST_CASE("wav: every cut and random flips end in samples or an Error") {
  if (skipped()) return;
  const std::string integers = wav_file({.channels = 2, .data = std::string(40, '\x11')});
  check_prefixes(integers, kParse);
  check_flips(integers, 10000, kParse);
  const std::string floats = wav_file({.bits = 32, .format = 3, .data = std::string(40, '\x22')});
  check_prefixes(floats, kParse);
  check_flips(floats, 10000, kParse);
}

}  // namespace
}  // namespace strand::testing
