#include "graphs/io/safetensors.h"

#include <cmath>

#include "graphs/io/utf8.h"
#include "tests/bad/bad_inputs.h"
#include "tests/io_support.h"

namespace strand::testing {
namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 24;

TensorMap sample_map() {
  std::mt19937 random(1);
  TensorMap tensors;
  for (const DType dtype : kEveryDType) {
    for (size_t i = 0; i < some_shapes().size(); ++i) {
      tensors.emplace("layer." + std::to_string(i) + "." + std::string(to_string(dtype)),
                      random_tensor(dtype, some_shapes()[i], random));
    }
  }
  return tensors;
}

// Enough for every field of the header to be cut or flipped.
std::string small_file(const TemporaryFolder& folder) {
  std::mt19937 random(2);
  TensorMap tensors;
  tensors.emplace("a", random_tensor(DType::kFloat32, {2, 3}, random));
  tensors.emplace("b", random_tensor(DType::kInt16, {3}, random));
  tensors.emplace("c", random_tensor(DType::kFloat64, {0, 4}, random));
  write_safetensors(folder / "small", tensors, {{"format", "pt"}});
  return read_file(folder / "small", kMaxBytes);
}

const Parse kParse = [](std::span<const std::byte> bytes) { parse_safetensors(bytes, "fuzz"); };

TEST_CASE("safetensors: every dtype and rank comes back bit for bit") {
  const TemporaryFolder folder;
  const TensorMap written = sample_map();
  write_safetensors(folder / "w.safetensors", written);
  const TensorMap read = read_safetensors(folder / "w.safetensors");
  REQUIRE(read.size() == written.size());
  for (const auto& item : written) {
    CAPTURE(item.first);
    REQUIRE(read.contains(item.first));
    check_equal(read.at(item.first), item.second);
  }
  CHECK(folder.files() == 1);
}

TEST_CASE("safetensors: the same tensors make the same bytes, aligned as the reference's") {
  const TemporaryFolder folder;
  write_safetensors(folder / "1", sample_map(), {{"b", "2"}, {"a", "1"}});
  write_safetensors(folder / "2", sample_map(), {{"a", "1"}, {"b", "2"}});
  const std::string file = read_file(folder / "1", kMaxBytes);
  CHECK(file == read_file(folder / "2", kMaxBytes));
  uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof header);
  CHECK(header % 8 == 0);
  CHECK(file.substr(8, 40).starts_with(R"({"__metadata__":{"a":"1","b":"2"},"layer)"));
  CHECK(file.find("float64") < file.find("float32"));  // larger elements first
}

TEST_CASE("safetensors: the bytes of a file, spelled out") {
  const std::string json = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  )";
  const std::string bytes = std::string{'\x38', 0, 0, 0, 0, 0, 0, 0} + json + std::string("\0\0\x80\x3f\0\0\0\xc0", 8);
  const TensorMap tensors = parse_safetensors(std::as_bytes(std::span(bytes)), "spelled out");
  CHECK(tensors.at("w").as<float>()[0] == 1.0F);
  CHECK(tensors.at("w").as<float>()[1] == -2.0F);
  const TemporaryFolder folder;
  write_safetensors(folder / "w", tensors);
  CHECK(read_file(folder / "w", kMaxBytes) == bytes);
}

TEST_CASE("safetensors: metadata and odd names come back") {
  const TemporaryFolder folder;
  TensorMap tensors;
  for (const std::string name : {"", "quote\"\\", "caf\xc3\xa9", "line\n", "\xf0\x9f\x8e\xb5"}) {
    tensors.emplace(name, Tensor(Shape{1}, std::vector<float>{static_cast<float>(name.size())}));
  }
  const Metadata metadata = {{"format", "pt"}, {"", "\t\"\xc3\xa9"}};
  write_safetensors(folder / "w", tensors, metadata);
  Metadata back;
  const TensorMap read = read_safetensors(folder / "w", &back);
  CHECK(back == metadata);
  REQUIRE(read.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) check_equal(read.at(name), tensor);
}

TEST_CASE("safetensors: what can't be written leaves no file") {
  const TemporaryFolder folder;
  const auto write = [&](const std::string& name, Tensor tensor) {
    TensorMap tensors;
    tensors.emplace(name, std::move(tensor));
    return error_text([&] { write_safetensors(folder / "w", tensors); });
  };
  CHECK(write("__metadata__", Tensor(TensorType{})).starts_with("SCHEMA"));
  CHECK(write("\xff", Tensor(TensorType{})).starts_with("SCHEMA"));
  CHECK(write("w", Tensor()).starts_with("SHAPE"));
  CHECK(folder.files() == 0);
}

TEST_CASE("safetensors: NaN and Inf load") {
  const TensorMap tensors = read_safetensors(bad_inputs_folder() / "st_nan_inf.safetensors");
  CHECK(std::isnan(tensors.at("a").as<float>()[0]));
  CHECK(std::isinf(tensors.at("a").as<float>()[2]));
}

TEST_CASE("safetensors: malformed files are refused, each for its reason") {
  check_bad_inputs("st_", [](const auto& path) { read_safetensors(path); });
}

TEST_CASE("safetensors: malformed files of the shared data are refused") {
  check_shared_bad_inputs("st_", [](const auto& path) { read_safetensors(path); });
}

TEST_CASE("safetensors: every cut and random flips end in tensors or an Error") {
  const TemporaryFolder folder;
  const std::string file = small_file(folder);
  check_prefixes(file, kParse);
  check_flips(file, 20000, kParse);
}

TEST_CASE("UTF-8 is checked as RFC 3629 has it") {
  struct Row {
    std::string text;
    size_t invalid;  // the first invalid byte
  };
  const size_t none = std::string_view::npos;
  const std::vector<Row> rows = {
      {"", none},
      {"plain", none},
      {std::string("a\0b", 3), none},
      {"\xc2\x80\xdf\xbf", none},
      {"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", none},
      {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", none},
      {"ab\x80", 2},            // a lone continuation
      {"\xc0\xaf", 0},          // longer than needed
      {"\xc1\xbf", 0},          // longer than needed
      {"\xe0\x9f\xbf", 0},      // longer than needed
      {"\xf0\x8f\xbf\xbf", 0},  // longer than needed
      {"\xed\xa0\x80", 0},      // a surrogate
      {"\xf4\x90\x80\x80", 0},  // above U+10FFFF
      {"\xf5\x80\x80\x80", 0},  // above U+10FFFF
      {"a\xc3", 1},             // cut off
      {"a\xe2\x82", 1},         // cut off
      {"a\xf0\x9f\x8e", 1},     // cut off
      {"caf\xe9 noir", 3},      // Latin-1
      {"\xff\xfe", 0},
  };
  for (const Row& row : rows) {
    CAPTURE(in_quotes(row.text));
    CHECK(find_invalid_utf8(row.text) == row.invalid);
    CHECK(is_valid_utf8(row.text) == (row.invalid == none));
  }
  CHECK(in_quotes("a\n\xff\xc3\xa9") == "'a\\x0a\\xff\xc3\xa9'");
  CHECK(in_quotes(std::string(1000, 'x')).size() < 110);
}

}  // namespace
}  // namespace strand::testing
