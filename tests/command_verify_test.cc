// `strand verify` and `strand run` in tiles, from outside.

#include "engine/cuda_runtime.h"
#include "tests/run_command.h"

namespace strand::testing {
namespace {

// A network that keeps a state, and one that needs the whole signal.
constexpr const char* kHead = R"(strand: 1
name: small
weights: {seed: 0}
inputs:
  x: {shape: [1, 3, length], defaults: {length: 300}}
layers:
)";

TEST_CASE("verify finds all ways alike, and tells them") {
  const TemporaryFolder folder;
  const std::string network = folder.write("net.yaml", kNetwork);
  const CommandResult result = run_strand({"verify", network, "--set", "length=900", "--chunk", "5", "--tile", "64"});
  CHECK(result.code == 0);
  CHECK(contains(result.out, "tiles of 64"));
  CHECK(contains(result.out, "stream, silence, chunks of 5"));
  CHECK(contains(result.out, "stream, context, chunks at random"));
  CHECK(contains(result.out, "live, silence, chunks of "));
  // A GPU adds a way or more.
  CHECK(contains(result.out, cuda::device_count() > 0 ? " ways agree with the offline run\n"
                                                      : "\n13 of 13 ways agree with the offline run\n"));
}

TEST_CASE("verify says what is not possible, and fails where nothing is") {
  const TemporaryFolder folder;
  const std::string norm =
      folder.write("norm.yaml", std::string(kHead) + "  - {name: norm, type: CumulativeLayerNorm, channel_size: 3}\n");
  const CommandResult state = run_strand({"verify", norm, "--chunk", "7"});
  CHECK(state.code == 0);
  CHECK(contains(state.out,
                 "CumulativeLayerNorm 'norm' can't be computed in tiles: its state remembers all times before"));
  const std::string pool =
      folder.write("pool.yaml", std::string(kHead) + "  - {name: pool, type: AdaptiveAvgPool1d, output_size: 3}\n");
  const CommandResult whole = run_strand({"verify", pool});
  CHECK(whole.code == 2);
  CHECK(contains(whole.out, "AdaptiveAvgPool1d's windows depend on the length"));
  CHECK(contains(whole.err, "runs on whole signals only"));
}

TEST_CASE("a run in tiles writes what the untiled one does") {
  const TemporaryFolder folder;
  const std::string network = folder.write("net.yaml", kNetwork);
  const auto run = [&](const std::string& name, std::vector<std::string> options) {
    std::vector<std::string> arguments = {"run",         network,    "--random",       "--set",
                                          "length=5000", "--output", folder.file(name)};
    arguments.insert(arguments.end(), options.begin(), options.end());
    return run_strand(arguments);
  };
  CHECK(run("whole.npy", {}).code == 0);
  const CommandResult tiled = run("tiled.npy", {"--tile", "100"});
  CHECK(tiled.code == 0);
  CHECK(contains(tiled.out, "tiles    50 of 100 samples"));
  CHECK(read_text(folder.file("tiled.npy")) == read_text(folder.file("whole.npy")));
  CHECK(run("memory.npy", {"--max-memory", "1GB"}).code == 0);
  CHECK(read_text(folder.file("memory.npy")) == read_text(folder.file("whole.npy")));
  const CommandResult little = run("no.npy", {"--max-memory", "1KiB"});
  CHECK(little.code == 2);
  CHECK(contains(little.err, "bytes, for the smallest tile; at most 1024 were allowed"));
  CHECK(contains(run("no.npy", {"--max-memory", "much"}).err, "expected bytes, such as 2GiB or 500MB"));
}

}  // namespace
}  // namespace strand::testing
