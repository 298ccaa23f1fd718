// `strand run --tile` from outside: the untiled run's bytes, in memory that does not grow with the signal.

#include <malloc.h>
#include <sys/resource.h>

#include "graphs/io/npy.h"
#include "graphs/io/wav.h"
#include "tests/run_command.h"

namespace {

using strand::Tensor;
using strand::testing::CommandResult;
using strand::testing::contains;
using strand::testing::kNetwork;
using strand::testing::random_tensor;
using strand::testing::read_text;
using strand::testing::run_strand;
using strand::testing::TemporaryFolder;

using Lines = std::vector<std::string>;

// Sanitizers keep what was freed, so what a run holds is not what it needs.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kKeepsFreed = true;
#else
constexpr bool kKeepsFreed = false;
#endif

// In a process of its own: a run's peak counts what its parent held when it forked.
void write_signal(const std::string& file, int64_t length) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const Tensor signal = random_tensor({1, 2, length});
    if (file.ends_with(".npy")) {
      strand::write_npy(file, signal.view());
    } else {
      strand::write_wav(file, signal.view(), 16000);
    }
    _exit(0);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
}

// The most memory that a run of the command took, in KiB.
int64_t peak_of(const Lines& arguments) {
  std::vector<char*> line = {const_cast<char*>(STRAND_COMMAND)};
  for (const std::string& argument : arguments) line.push_back(const_cast<char*>(argument.c_str()));
  line.push_back(nullptr);
  malloc_trim(0);  // the run's peak begins at what this process has when it forks
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    if (std::freopen("/dev/null", "w", stdout) == nullptr || std::freopen("/dev/null", "w", stderr) == nullptr)
      _exit(3);
    execv(STRAND_COMMAND, line.data());
    _exit(3);
  }
  int status = 0;
  rusage usage = {};
  REQUIRE(wait4(child, &status, 0, &usage) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  return usage.ru_maxrss;
}

// Runs both ways and holds the files against each other.
void check_equal(const TemporaryFolder& folder, const std::string& net, const std::string& input, const char* tile,
                 const std::string& output) {
  CAPTURE(input);
  CAPTURE(tile);
  CAPTURE(output);
  const std::string tiled = folder.file("tiled-" + output);
  const std::string whole = folder.file("whole-" + output);
  const CommandResult a = run_strand({"run", net, "--input", input, "--output", tiled, "--tile", tile});
  const CommandResult b = run_strand({"run", net, "--input", input, "--output", whole});
  INFO(a.err);
  REQUIRE(a.code == 0);
  REQUIRE(b.code == 0);
  const std::string bytes = read_text(tiled);
  CHECK(bytes.size() > 128);
  CHECK((bytes == read_text(whole)));
  const auto line_of = [](const std::string& text) {
    return text.substr(text.find("  head  "), text.find(", to ") - text.find("  head  "));
  };
  CHECK(line_of(a.out) == line_of(b.out));  // type and range
  std::filesystem::remove(tiled);
  std::filesystem::remove(whole);
}

}  // namespace

TEST_CASE("a tiled run writes the untiled run's bytes") {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kNetwork);
  const Tensor batch = random_tensor({3, 2, 1003});
  strand::write_npy(folder.file("batch.npy"), batch.view());
  strand::write_npy(folder.file("rank2.npy"), random_tensor({2, 501}).view());
  strand::write_npy(folder.file("wide.npy"), batch.to(strand::DType::kFloat64).view());  // held as a whole
  for (const char* tile : {"1", "7", "64", "1000", "5000"}) {
    for (const char* input : {"batch.npy", "rank2.npy", "wide.npy"}) {
      check_equal(folder, net, folder.file(input), tile, "y.npy");
      check_equal(folder, net, folder.file(input), tile, "y.safetensors");
    }
  }
  if (!strand::built_with_sndfile()) return;
  strand::write_wav(folder.file("x.wav"), random_tensor({1, 2, 9001}).view(), 16000);
  for (const char* tile : {"7", "4096", "5000", "20000"}) {
    check_equal(folder, net, folder.file("x.wav"), tile, "y.wav");
    check_equal(folder, net, folder.file("x.wav"), tile, "y.npy");
  }
}

TEST_CASE("a tiled run's memory does not grow with the signal" * doctest::skip(kKeepsFreed)) {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kNetwork);
  std::vector<std::string> formats = {"npy"};
  if (strand::built_with_sndfile()) formats.emplace_back("wav");
  for (const std::string& format : formats) {
    CAPTURE(format);
    const auto peak = [&](int64_t length) {
      const std::string file = folder.file("x." + format);
      write_signal(file, length);
      return peak_of({"run", net, "--input", file, "--output", folder.file("y." + format), "--tile", "8192"});
    };
    const int64_t short_peak = peak(100'000);
    const int64_t long_peak = peak(4'000'000);  // 31,250 KiB of input, as many of output
    CHECK(long_peak < short_peak + 4096);
  }
}

TEST_CASE("a tiled run keeps within --max-memory, all of the process counted, or says what would do" *
          doctest::skip(kKeepsFreed)) {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kNetwork);
  std::vector<std::string> formats = {"npy"};
  if (strand::built_with_sndfile()) formats.emplace_back("wav");
  for (const std::string& format : formats) {
    CAPTURE(format);
    const std::string file = folder.file("x." + format);
    write_signal(file, 4'000'000);
    const auto arguments = [&](const std::string& bytes) {
      return Lines{"run", net, "--input", file, "--output", folder.file("y." + format), "--max-memory", bytes};
    };
    const CommandResult refused = run_strand(arguments("1MB"));
    CHECK(refused.code == 2);
    CAPTURE(refused.err);
    const std::string words = "needs at least ";
    REQUIRE(contains(refused.err, words));
    // What it says does; a program's resident pages vary a little from run to run.
    const int64_t least = std::stoll(refused.err.substr(refused.err.find(words) + words.size()));
    write_signal(file, 4'000);  // the least means tiles of a sample
    CHECK(peak_of(arguments(std::to_string(least + (1 << 20)))) * 1024 <= least + (1 << 20));
    write_signal(file, 4'000'000);
    for (const int64_t more : {8 << 20, 32 << 20, 64 << 20}) {
      CAPTURE(more);
      CHECK(peak_of(arguments(std::to_string(least + more))) * 1024 <= least + more);
    }
  }
}

TEST_CASE("a tiled run that fails leaves nothing behind") {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kNetwork);
  strand::write_npy(folder.file("x.npy"), random_tensor({1, 2, 1000}).view());
  const auto fails = [&](const std::string& input, const std::string& output, const std::string& message) {
    const auto before = folder.names();
    const CommandResult result = run_strand({"run", net, "--input", input, "--output", output, "--tile", "64"});
    CHECK(result.code == 2);
    CAPTURE(result.err);
    CHECK(contains(result.err, message));
    CHECK(folder.names() == before);
  };
  folder.write("cut.npy", read_text(folder.file("x.npy")).substr(0, 5000));
  fails(folder.file("cut.npy"), folder.file("y.npy"), "needs 8000 bytes of data");
  fails(folder.file("x.npy"), folder.file("none/y.npy"), "there is no folder");
  fails(folder.file("x.npy"), folder.file(""), "expected a file named");
  if (!strand::built_with_sndfile()) return;
  strand::write_wav(folder.file("x.wav"), random_tensor({1, 2, 1000}).view(), 16000);
  folder.write("cut.wav", read_text(folder.file("x.wav")).substr(0, 5000));
  fails(folder.file("cut.wav"), folder.file("y.wav"), "ends past the file's 5000");
  fails(folder.file("x.wav"), folder.file("none/y.wav"), "there is no folder");
}

TEST_CASE("a tiled run that can't write to the end leaves the old file as it was") {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kNetwork);
  strand::write_npy(folder.file("x.npy"), random_tensor({1, 2, 40000}).view());
  folder.write("y.npy", "old");
  const auto before = folder.names();
  // A file may have 64 KiB, as on a full disk.
  const std::string line = "trap '' XFSZ; ulimit -f 128; " + strand::testing::shell_quoted(STRAND_COMMAND) + " run " +
                           strand::testing::shell_quoted(net) + " --input " +
                           strand::testing::shell_quoted(folder.file("x.npy")) + " --output " +
                           strand::testing::shell_quoted(folder.file("y.npy")) + " --tile 1000 >/dev/null 2>&1";
  const int status = std::system(line.c_str());
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 2);
  CHECK(read_text(folder.file("y.npy")) == "old");
  CHECK(folder.names() == before);
}
