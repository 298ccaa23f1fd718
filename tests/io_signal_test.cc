// Signals in files, stretch by stretch, against the whole files.

#include <cmath>
#include <fstream>
#include <iterator>
#include <random>

#include "graphs/io/npy.h"
#include "graphs/io/signal_file.h"
#include "graphs/io/wav.h"
#include "graphs/normal.h"
#include "graphs/signal.h"
#include "tests/io_support.h"

namespace {

using strand::DType;
using strand::Shape;
using strand::SignalReader;
using strand::SignalWriter;
using strand::Tensor;
using strand::TensorType;
using strand::testing::TemporaryFolder;

Tensor timed(const Shape& shape, int axis) {
  Tensor tensor(TensorType{DType::kFloat32, shape, axis});
  strand::graphs::fill_normal(tensor.as<float>(), std::random_device()());
  return tensor;
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<float> values_of(const Tensor& tensor) {
  const auto values = tensor.as<const float>();
  return {values.begin(), values.end()};
}

// Stretches anywhere, forwards and back.
void check_reads(SignalReader& reader, const Tensor& whole) {
  const int axis = whole.type().time_axis;
  const int64_t times = whole.shape()[axis];
  std::mt19937_64 random(std::random_device{}());
  for (int i = 0; i < 50; ++i) {
    const auto begin = static_cast<int64_t>(random() % static_cast<uint64_t>(times + 1));
    const int64_t end = begin + static_cast<int64_t>(random() % static_cast<uint64_t>(times - begin + 1));
    const Tensor expected = strand::graphs::cut_times(whole.view(), begin, end);
    Tensor found(expected.type());
    for (float& value : found.as<float>()) value = NAN;
    reader.read(begin, found.view());
    CHECK(values_of(found) == values_of(expected));
  }
  const Tensor beyond(strand::graphs::cut_times(whole.view(), 0, 2).type());
  CHECK_THROWS_AS(reader.read(times - 1, beyond.view()), strand::Error);
  CHECK_THROWS_AS(reader.read(-1, beyond.view()), strand::Error);
}

void write_in_pieces(SignalWriter& writer, const Tensor& whole) {
  const int64_t times = whole.shape()[whole.type().time_axis];
  std::mt19937_64 random(std::random_device{}());
  for (int64_t begin = 0; begin < times;) {
    const int64_t end = std::min(times, begin + static_cast<int64_t>(random() % 700));
    writer.write(begin, strand::graphs::cut_times(whole.view(), begin, end).view());
    begin = end;
  }
}

}  // namespace

TEST_CASE("signals: .npy in stretches, whatever axis is time") {
  const TemporaryFolder folder;
  for (const int axis : {0, 1, 2}) {
    CAPTURE(axis);
    Shape shape{3, 4, 5};
    shape.set(axis, 3001);
    const Tensor whole = timed(shape, axis);
    const std::filesystem::path path = folder / "x.npy";
    strand::write_npy(path, whole.view());
    const auto reader = strand::open_npy_signal(path);
    REQUIRE(reader);
    CHECK(reader->type().shape == shape);
    check_reads(*reader, whole);
    const auto writer = strand::make_npy_signal(folder / "y.npy", whole.type());
    write_in_pieces(*writer, whole);
    writer->commit();
    CHECK((read_text(folder / "y.npy") == read_text(path)));
  }
  strand::write_npy(folder / "wide.npy", timed({1, 1, 9}, 2).to(DType::kFloat64).view());
  CHECK(strand::open_npy_signal(folder / "wide.npy") == nullptr);
}

TEST_CASE("signals: audio in stretches, also going back") {
  if (!strand::built_with_sndfile()) return;
  const TemporaryFolder folder;
  const Tensor whole = timed({1, 3, 20011}, 2);
  strand::write_wav(folder / "x.wav", whole.view(), 8000);
  const auto reader = strand::open_wav_signal(folder / "x.wav");
  CHECK(reader->rate() == 8000);
  CHECK(reader->type() == whole.type());
  check_reads(*reader, whole);
  const auto writer = strand::make_wav_signal(folder / "y.wav", whole.type(), 8000);
  write_in_pieces(*writer, whole);
  writer->commit();
  CHECK((read_text(folder / "y.wav") == read_text(folder / "x.wav")));
  CHECK_THROWS_AS(strand::make_wav_signal(folder / "z.wav", timed({2, 3, 9}, 2).type(), 8000), strand::Error);
}

TEST_CASE("signals: a gap or an end that is missing is an error, and no file appears") {
  const TemporaryFolder folder;
  const Tensor whole = timed({1, 2, 100}, 2);
  {
    const auto writer = strand::make_npy_signal(folder / "y.npy", whole.type());
    const Tensor part = strand::graphs::cut_times(whole.view(), 0, 60);
    CHECK_THROWS_AS(writer->write(1, part.view()), strand::Error);
    writer->write(0, part.view());
    CHECK_THROWS_AS(writer->write(60, part.view()), strand::Error);
    CHECK_THROWS_AS(writer->commit(), strand::Error);
  }
  CHECK(folder.files() == 0);
}

TEST_CASE("signals: a file that shrinks while it is read is an error") {
  const TemporaryFolder folder;
  const Tensor whole = timed({1, 2, 100000}, 2);
  strand::write_npy(folder / "x.npy", whole.view());
  const auto reader = strand::open_npy_signal(folder / "x.npy");
  std::filesystem::resize_file(folder / "x.npy", 5000);
  const Tensor target = strand::graphs::cut_times(whole.view(), 0, 100000);
  CHECK_THROWS_AS(reader->read(0, target.view()), strand::Error);
}
