#pragma once
// What the tests of graphs/io share: a folder that vanishes, random tensors of every dtype, bytes compared, and readers
// fed with what is left of a good file. Tests only.

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "engine/tensor.h"
#include "graphs/io/file.h"

namespace strand::testing {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "strand-test-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  // How many files lie in it, temporary ones too.
  int64_t files() const {
    return std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator());
  }

 private:
  std::filesystem::path path_;
};

inline constexpr std::array<DType, 10> kEveryDType = {
    DType::kFloat64, DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kInt64,
    DType::kInt32,   DType::kInt16,   DType::kInt8,    DType::kUInt8,    DType::kBool};

inline std::span<std::byte> bytes_of(const Tensor& tensor) {
  return {tensor.view().ptr<std::byte>(), static_cast<size_t>(tensor.type().bytes())};
}

// Random bits: NaNs and Infs of every kind among them.
inline Tensor random_tensor(DType dtype, const Shape& shape, std::mt19937& random) {
  Tensor tensor(TensorType{dtype, shape});
  for (std::byte& byte : bytes_of(tensor))
    byte = static_cast<std::byte>(random() & (dtype == DType::kBool ? 1U : 255U));
  return tensor;
}

// Scalars, empty ones, and every rank that there is.
inline const std::vector<Shape>& some_shapes() {
  static const std::vector<Shape> shapes = {{},
                                            {0},
                                            {1},
                                            {17},
                                            {3, 0, 2},
                                            {2, 3},
                                            {4, 1, 5},
                                            {2, 3, 2, 2},
                                            {2, 1, 3, 1, 2},
                                            {1, 2, 1, 2, 1, 2},
                                            {2, 2, 2, 2, 2, 2, 2},
                                            {1, 2, 3, 1, 2, 1, 2, 2}};
  return shapes;
}

inline void check_equal(const Tensor& a, const Tensor& b) {
  CHECK(to_string(a.type()) == to_string(b.type()));
  CHECK(std::ranges::equal(bytes_of(a), bytes_of(b)));
}

inline std::string error_text(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return std::string(to_string(error.category())) + " " + error.what();
  }
  return "no error";
}

using Parse = std::function<void(std::span<const std::byte>)>;

// Each copy is a heap block of its own size, so that AddressSanitizer sees a read past its end.
inline void check_prefixes(const std::string& file, const Parse& parse) {
  for (size_t length = 0; length < file.size(); ++length) {
    std::vector<std::byte> prefix(length);
    if (length > 0) std::memcpy(prefix.data(), file.data(), length);
    CAPTURE(length);
    CHECK_THROWS_AS(parse(prefix), Error);
  }
}

// Flipped bytes may load or be refused with an Error; anything else, a crash included, fails the test.
inline void check_flips(const std::string& file, int rounds, const Parse& parse) {
  std::mt19937 random(20240229);
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::byte> bytes(file.size());
    std::memcpy(bytes.data(), file.data(), file.size());
    for (auto flips = 1 + random() % 3; flips > 0; --flips) {
      // Mostly near the ends, where the headers and directories lie.
      const size_t span = round % 2 == 0 ? file.size() : std::min<size_t>(file.size(), 96);
      const size_t at = random() % 2 == 0 ? random() % span : file.size() - 1 - random() % span;
      bytes[at] = static_cast<std::byte>(random() & 255U);
    }
    CAPTURE(round);
    try {
      parse(bytes);
    } catch (const Error&) {
    }
  }
}

}  // namespace strand::testing
