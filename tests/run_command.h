#pragma once
// Runs the built `strand` command as a process, in a folder of its own that goes when the test ends.

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "engine/tensor.h"
#include "graphs/normal.h"

namespace strand::testing {

constexpr const char* kNetwork = R"(strand: 1
name: small
weights: {seed: 0}
inputs:
  audio: {shape: [batch, 2, length], defaults: {batch: 1, length: 100}, rate: 16000}
layers:
  - {name: stem, type: Conv1d, in_channels: 2, out_channels: 8, kernel_size: 5, padding: same}
  - {name: relu, type: ReLU}
  - {name: head, type: Conv1d, in_channels: 8, out_channels: 2, kernel_size: 3, dilation: 2, padding: same}
outputs: [head]
)";

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

inline Tensor random_tensor(const Shape& shape, uint64_t seed = 1) {
  Tensor tensor(TensorType{DType::kFloat32, shape});
  graphs::fill_normal(tensor.as<float>(), seed);
  return tensor;
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "strand_command_XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string file(const std::string& name) const { return (path_ / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return file(name);
  }
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) result.push_back(entry.path().filename());
    std::ranges::sort(result);
    return result;
  }

 private:
  std::filesystem::path path_;
};

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct CommandResult {
  int code = -1;  // -1: ended by a signal
  std::string out;
  std::string err;
};

inline std::string shell_quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

inline CommandResult run_strand(const std::vector<std::string>& arguments) {
  const TemporaryFolder folder;
  std::string line = shell_quoted(STRAND_COMMAND);
  for (const std::string& argument : arguments) line += " " + shell_quoted(argument);
  line += " >" + shell_quoted(folder.file("out")) + " 2>" + shell_quoted(folder.file("err")) + " </dev/null";
  const int status = std::system(line.c_str());
  CommandResult result;
  if (WIFEXITED(status)) result.code = WEXITSTATUS(status);
  result.out = read_text(folder.file("out"));
  result.err = read_text(folder.file("err"));
  return result;
}

}  // namespace strand::testing
