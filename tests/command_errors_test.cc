// What the `strand` command does with networks, files and devices that it can't use: exit code 2, words that tell
// where, and no output touched.

#include "engine/cuda_runtime.h"
#include "graphs/io/npy.h"
#include "tests/run_command.h"

namespace strand::testing {
namespace {

struct BadNetwork {
  const char* what;
  const char* from;  // of kNetwork, replaced
  const char* to;
  const char* message;  // a part of it
};

constexpr BadNetwork kBadNetworks[] = {
    {"unknown key", "dilation: 2", "dilatoin: 2", "net.yaml:9"},
    {"cycle", "type: ReLU}", "type: ReLU, inputs: [head]}", "net.yaml:8"},
    {"missing weights file", "{seed: 0}", "gone.safetensors", "gone.safetensors"},
    {"channels that do not fit", "in_channels: 8", "in_channels: 9", "net.yaml:9"},
    {"stride of 0", "kernel_size: 5, padding: same", "kernel_size: 5, stride: 0", "net.yaml:7"},
    {"unknown type", "type: ReLU", "type: RuLU", "ReLU"},
    {"no YAML", "layers:", "layers: [", "net.yaml"},
};

}  // namespace

TEST_CASE("bad networks exit 2, tell where, and leave the output as it was") {
  for (const BadNetwork& bad : kBadNetworks) {
    CAPTURE(bad.what);
    const TemporaryFolder folder;
    std::string text = kNetwork;
    const size_t at = text.find(bad.from);
    REQUIRE(at != std::string::npos);
    text.replace(at, std::string(bad.from).size(), bad.to);
    const std::string net = folder.write("net.yaml", text);
    write_npy(folder.file("x.npy"), random_tensor({1, 2, 100}).view());
    folder.write("y.npy", "precious");
    const CommandResult result =
        run_strand({"run", net, "--input", folder.file("x.npy"), "--output", folder.file("y.npy")});
    INFO(result.err);
    CHECK(result.code == 2);
    CHECK(result.out.empty());
    CHECK(result.err.starts_with("strand: "));
    CHECK(contains(result.err, bad.message));
    CHECK(read_text(folder.file("y.npy")) == "precious");
    CHECK(folder.names() == std::vector<std::string>{"net.yaml", "x.npy", "y.npy"});
  }
}

TEST_CASE("bad files exit 2 and leave the output as it was") {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kNetwork);
  write_npy(folder.file("x.npy"), random_tensor({1, 2, 100}).view());
  write_npy(folder.file("three.npy"), random_tensor({1, 3, 100}).view());
  folder.write("short.npy", read_text(folder.file("x.npy")).substr(0, 300));
  folder.write("x.txt", "1 2 3");
  std::filesystem::create_directory(folder.file("folder.npy"));
  folder.write("y.npy", "precious");
  for (const char* input : {"three.npy", "short.npy", "x.txt", "folder.npy", "none.npy"}) {
    CAPTURE(input);
    const CommandResult result =
        run_strand({"run", net, "--input", folder.file(input), "--output", folder.file("y.npy")});
    CHECK(result.code == 2);
    CHECK(contains(result.err, input == std::string("three.npy") ? "[1, 3, 100]" : input));
  }
  CHECK(run_strand({"run", folder.file("folder.npy"), "--random"}).code == 2);
  for (const char* output : {"folder.npy", "no/such/folder/y.npy", "y.txt", "y.flac"}) {
    CAPTURE(output);
    const CommandResult result =
        run_strand({"run", net, "--input", folder.file("x.npy"), "--output", folder.file(output)});
    CHECK(result.code == 2);
    CHECK(contains(result.err, output));
  }
  CHECK(run_strand({"run", net, "--random", "--output", folder.file("y.npy"), "--output", folder.file("y.npy")}).code ==
        2);
  CHECK(run_strand({"run", net, "--random", "--weights", folder.file("x.npy")}).code == 2);
  CHECK(read_text(folder.file("y.npy")) == "precious");
  CHECK(folder.names().size() == 7);
}

TEST_CASE("a CUDA device that is not there is an error with exit code 2") {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kNetwork);
  const std::string device = "cuda:" + std::to_string(cuda::device_count());
  CHECK(run_strand({"run", net, "--random", "--device", device}).code == 2);
  CHECK(run_strand({"inspect", net, "--device", device}).code == 2);
  CHECK(run_strand({"compare", net, "--devices", "cpu," + device}).code == 2);
  CHECK(run_strand({"bench", net, "--device", device}).code == 2);
}

}  // namespace strand::testing
