#include "graphs/io/npz.h"

#include <cstdio>

#include "tests/bad/bad_inputs.h"
#include "tests/io_support.h"

namespace strand::testing {
namespace {

const Parse kParse = [](std::span<const std::byte> bytes) { parse_npz(bytes, "fuzz"); };

bool skipped() {
  if (!built_with_libzip()) std::printf("SKIPPED: built without libzip\n");
  return !built_with_libzip();
}

TensorMap sample_map() {
  std::mt19937 random(5);
  TensorMap tensors;
  for (const DType dtype : kEveryDType) {
    if (dtype == DType::kBFloat16) continue;
    for (size_t i = 0; i < some_shapes().size(); ++i) {
      tensors.emplace("layer." + std::to_string(i) + "." + std::string(to_string(dtype)),
                      random_tensor(dtype, some_shapes()[i], random));
    }
  }
  return tensors;
}

TEST_CASE("npz: without libzip every call says so") {
  if (built_with_libzip()) return;
  CHECK(error_text([] { read_npz("a.npz"); }).starts_with("UNSUPPORTED a.npz: strand was built without libzip"));
  CHECK(error_text([] { write_npz("a.npz", {}); }).starts_with("UNSUPPORTED"));
}

TEST_CASE("npz: every dtype and rank comes back bit for bit, and the file is the same each time") {
  if (skipped()) return;
  const TemporaryFolder folder;
  const TensorMap written = sample_map();
  write_npz(folder / "a.npz", written);
  write_npz(folder / "b.npz", written);
  const TensorMap read = read_npz(folder / "a.npz");
  REQUIRE(read.size() == written.size());
  for (const auto& item : written) {
    CAPTURE(item.first);
    REQUIRE(read.contains(item.first));
    check_equal(read.at(item.first), item.second);
  }
  constexpr int64_t kMaxBytes = int64_t{1} << 24;
  CHECK(read_file(folder / "a.npz", kMaxBytes) == read_file(folder / "b.npz", kMaxBytes));
  CHECK(folder.files() == 2);
}

TEST_CASE("npz: no arrays, and deflated ones") {
  if (skipped()) return;
  const TemporaryFolder folder;
  write_npz(folder / "none.npz", {});
  CHECK(read_npz(folder / "none.npz").empty());
  const TensorMap tensors = read_npz(bad_inputs_folder() / "npz_deflated_ok.npz");
  CHECK(tensors.at("w").shape() == Shape{2, 3});
  CHECK(tensors.at("w").as<float>()[5] == 5.0F);
}

TEST_CASE("npz: what can't be written leaves no file, and what was there stays") {
  if (skipped()) return;
  const TemporaryFolder folder;
  const auto write = [&](const std::string& name, DType dtype) {
    TensorMap tensors;
    tensors.emplace(name, Tensor(TensorType{dtype, Shape{0}}));
    return error_text([&] { write_npz(folder / "a.npz", tensors); });
  };
  for (const std::string name : {"a/b", "..", "a\\b", "\xff"})
    CHECK(write(name, DType::kFloat32).starts_with("SCHEMA"));
  CHECK(write("a", DType::kBFloat16).starts_with("UNSUPPORTED"));
  CHECK(folder.files() == 0);
  CHECK(write("a", DType::kFloat32) == "no error");
  CHECK(write("a/b", DType::kFloat32).starts_with("SCHEMA"));
  CHECK(read_npz(folder / "a.npz").contains("a"));
  CHECK(folder.files() == 1);
}

TEST_CASE("npz: malformed files are refused, each for its reason") {
  if (skipped()) return;
  check_bad_inputs("npz_", [](const auto& path) { read_npz(path); });
}

TEST_CASE("npz: malformed files of the shared data are refused") {
  if (skipped()) return;
  check_shared_bad_inputs("npz_", [](const auto& path) { read_npz(path); });
}

TEST_CASE("npz: a directory given as a file is told apart from a broken archive") {
  if (skipped()) return;
  const TemporaryFolder folder;
  CHECK(error_text([&] { read_npz(folder.path()); }).starts_with("IO"));
  CHECK(error_text([&] { read_npz(folder / "none"); }).starts_with("IO"));
}

TEST_CASE("npz: every cut and random flips end in tensors or an Error") {
  if (skipped()) return;
  for (const std::string name : {"npz_two_ok.npz", "npz_deflated_ok.npz"}) {
    const std::string file = read_file(bad_inputs_folder() / name, 1 << 20);
    check_prefixes(file, kParse);
    check_flips(file, 10000, kParse);
  }
}

}  // namespace
}  // namespace strand::testing
