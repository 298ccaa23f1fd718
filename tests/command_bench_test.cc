// `strand bench` on files of cases, from outside.

#include <csignal>
#include <nlohmann/json.hpp>

#include "tests/cuda_required.h"
#include "tests/run_command.h"
#include "tools/stop_signals.h"

namespace strand::testing {
namespace {

constexpr const char* kLayers = R"(# for this test
relu     2x8x1000           -    ReLU
add      2x8x1000,2x8x1000  -    Add
pool     2x8x1001           relu MaxPool1d kernel_size=3 padding=1
pad      2x8x1000           -    Pad padding=[2,3] mode=reflect
softmax  2x8x1000           -    Softmax dim=1
lstm     20x2x16            -    LSTM input_size=16 hidden_size=8
)";

// The drawing of what `strand bench` printed.
std::string plot(const std::string& kind, const TemporaryFolder& folder, const std::string& printed) {
  const std::string report = folder.write("report", printed);
  const std::string drawing = folder.file("drawing.svg");
  const std::string command = "python3 " + shell_quoted(STRAND_SOURCE_DIR "/tools/bench/plot.py") + " " + kind + " " +
                              shell_quoted(report) + " " + shell_quoted(drawing);
  CHECK(std::system(command.c_str()) == 0);
  const std::string svg = read_text(drawing);
  CHECK(svg.starts_with("<svg "));
  CHECK(svg.ends_with("</svg>\n"));
  return svg;
}

TEST_CASE("bench --layers times each case, beside PyTorch's and other cases' times") {
  const TemporaryFolder folder;
  const std::string cases = folder.write("layers.txt", kLayers);
  const std::string times = folder.write("times.csv", "name,fp32,tf32\nrelu,1000,\nsoftmax,0.5,1e3\nother,1,2\n");
  const CommandResult text = run_strand({"bench", "--layers", cases, "--repeat", "1", "--pytorch", times});
  INFO(text.out, text.err);
  REQUIRE(text.code == 0);
  for (const char* part : {"relu", "add", "lstm", "cpu.native", "B/s", "of the copy", "PyTorch fp32", "PyTorch tf32",
                           "1000.0 ms", "0.5000 ms", " times relu\n"}) {
    CAPTURE(part);
    CHECK(contains(text.out, part));
  }
  const CommandResult json =
      run_strand({"bench", "--layers", cases, "--repeat", "1", "--filter", "re", "--pytorch", times, "--json"});
  REQUIRE(json.code == 0);
  const auto parsed = nlohmann::json::parse(json.out);
  REQUIRE(parsed["cases"].size() == 1);
  const auto& relu = parsed["cases"][0];
  CHECK(relu["bytes"] == 2 * 2 * 8 * 1000 * 4);
  CHECK(relu["pytorch_ms"].size() == 1);
  CHECK(relu["pytorch_ms"]["fp32"] == 1000);
  const double rate = relu["bytes"].get<double>() / (relu["ms"].get<double>() / 1e3);
  CHECK(relu["share_of_copy"].get<double>() == doctest::Approx(rate / parsed["copy_bytes_per_second"].get<double>()));
  // Inputs, outputs and the states of the last step.
  const CommandResult lstm = run_strand(
      {"bench", "--layers", cases, "--repeat", "1", "--filter", "lstm", "--implementation", "cpu.reference", "--json"});
  REQUIRE(lstm.code == 0);
  CHECK(nlohmann::json::parse(lstm.out)["cases"][0]["bytes"] == 4 * (20 * 2 * 16 + 20 * 2 * 8 + 2 * 2 * 8));
  CHECK(nlohmann::json::parse(lstm.out)["cases"][0]["implementation"] == "cpu.reference");
}

TEST_CASE("bench --conv1d puts PyTorch's times, and rows of the other alignment, beside each case") {
  const TemporaryFolder folder;
  const std::string cases = folder.write("cases.txt", "even 2 8 16 66 3 1 1 0 1\nodd 1 6 4 300 5 3 2 0 2\n");
  const std::string times = folder.write("times.csv", "name,fp32,fp16\neven,1000,2000\neven~67,,3000\n");
  const std::vector<std::string> line = {"bench",    "--conv1d", cases,       "--both-alignments",
                                         "--repeat", "1",        "--pytorch", times};
  const CommandResult text = run_strand(line);
  INFO(text.out, text.err);
  REQUIRE(text.code == 0);
  for (const char* part : {"even~67: 2 x 8 -> 16, L 69,", "odd~104: 1 x 6 -> 4, L 318,", "  pytorch fp32", "2000.0 ms",
                           "of ours", "times as fast as pytorch fp16 over 2"}) {
    CAPTURE(part);
    CHECK(contains(text.out, part));
  }
  std::vector<std::string> json_line = line;
  json_line.emplace_back("--json");
  const auto parsed = nlohmann::json::parse(run_strand(json_line).out);
  REQUIRE(parsed["cases"].size() == 4);
  CHECK(parsed["cases"][1]["L"] == 69);
  CHECK(parsed["cases"][1]["results"].back()["implementation"] == "pytorch fp16");
  CHECK(parsed["cases"][1]["results"].back()["ms"] == 3000);
  // What plot.py draws of the table.
  const std::string svg = plot("shares", folder, text.out);
  for (const char* part : {"even~67", "odd~104", "cpu.eigen"}) {
    CAPTURE(part);
    CHECK(contains(svg, part));
  }
}

TEST_CASE("bench --conv1d in float16 and bfloat16 holds what is stored in halves to the promise") {
  const TemporaryFolder folder;
  const std::string cases = folder.write("cases.txt",
                                         "even 4 64 128 4000 3 1 1 1 1\nodd 3 64 96 4001 3 1 1 0 1\n"
                                         "depthwise 4 64 64 4003 3 1 2 2 64\nthin 2 3 8 999 3 1 1 1 1\n");
  for (const std::string precision : {"float16", "bfloat16"}) {
    std::vector<std::string> line = {
        "bench", "--conv1d", cases, "--precision",         precision, "--check", "--repeat",
        "1",     "--device", "cpu", "--max-multiply-adds", "1e6"};
    const CommandResult on_cpu = run_strand(line);
    INFO(on_cpu.out, on_cpu.err);
    CHECK(on_cpu.code == 0);
    CHECK(contains(on_cpu.out, "precision " + precision));
    CHECK(contains(on_cpu.out, "stored as float32"));
    if (!cuda_available()) continue;
    line = {"bench", "--conv1d", cases, "--precision", precision, "--check", "--repeat", "1", "--device", "cuda"};
    const CommandResult halves = run_strand(line);
    INFO(halves.out, halves.err);
    CHECK(halves.code == 0);
    CHECK(contains(halves.out, "cuda.wgmma (" + precision + " stored)"));
    CHECK(contains(halves.out, "cuda.depthwise (" + precision + " stored)"));
    line.emplace_back("--no-half-storage");
    const CommandResult floats = run_strand(line);
    CHECK(floats.code == 0);
    CHECK(!contains(floats.out, " stored)"));
  }
}

TEST_CASE("bench --conv1d --random holds random problems to the double loop") {
  const std::vector<std::string> line = {"bench", "--conv1d", "--random", "30", "--seed", "7", "--max-multiply-adds",
                                         "1e6",   "--repeat", "1"};
  const CommandResult text = run_strand(line);
  INFO(text.out, text.err);
  CHECK(text.code == 0);
  CHECK(contains(text.out, "30 problems: 30 right, 0 wrong, 0 skipped"));
  // Each as it is measured, then ten of them.
  const size_t slowest = text.out.find("\nThe slowest:\n");
  REQUIRE(slowest != std::string::npos);
  for (int i = 0; i < 30; ++i) CHECK(text.out.find("random" + std::to_string(i) + " ") < slowest);
  int again = 0;
  for (size_t at = slowest; (at = text.out.find("\nrandom", at + 1)) != std::string::npos;) ++again;
  CHECK(again == 10);
  std::vector<std::string> json_line = line;
  json_line.emplace_back("--json");
  const auto once = nlohmann::json::parse(run_strand(json_line).out);
  REQUIRE(once["cases"].size() == 30);
  json_line[5] = "8";
  const auto other = nlohmann::json::parse(run_strand(json_line).out);
  int strided = 0;
  int dilated = 0;
  int grouped = 0;
  int same = 0;
  for (size_t i = 0; i < 30; ++i) {
    const auto& row = once["cases"][i];
    strided += row["s"] > 1 ? 1 : 0;
    dilated += row["d"] > 1 ? 1 : 0;
    grouped += row["groups"] > 1 ? 1 : 0;
    same += row["L"] == other["cases"][i]["L"] ? 1 : 0;
    CHECK(row["results"][0]["checked_outputs"] >= 1);
  }
  CHECK(strided >= 3);
  CHECK(dilated >= 3);
  CHECK(grouped >= 1);
  CHECK(same < 15);
  CHECK(run_strand({"bench", "--conv1d"}).code == 2);
  CHECK(run_strand({"bench", "--random", "3"}).code == 2);
  CHECK(run_strand({"bench", "--conv1d", "cases.txt", "--random", "3"}).code == 2);
}

// timeout(1) sends it to the process and to its group.
TEST_CASE("a second SIGTERM is noted as the first one is") {
  tools::stop_on_signals();
  CHECK(!tools::stopped());
  for (int i = 0; i < 2; ++i) std::raise(SIGTERM);
  CHECK(tools::stopped());
}

TEST_CASE("bench --conv1d tells what it has when it is stopped") {
  const TemporaryFolder folder;
  std::string out;
  std::string err;
  // Longer, where it had not begun with the cases.
  for (const char* seconds : {"2", "8", "30"}) {
    const std::string line = std::string("timeout ") + seconds + " " + shell_quoted(STRAND_COMMAND) +
                             " bench --conv1d --random 5000 --max-multiply-adds 1e6 --repeat 1 >" +
                             shell_quoted(folder.file("out")) + " 2>" + shell_quoted(folder.file("err"));
    REQUIRE(std::system(line.c_str()) != -1);
    out = read_text(folder.file("out"));
    err = read_text(folder.file("err"));
    if (contains(err, "stopped by a signal after ")) break;
  }
  INFO(out, err);
  CHECK(contains(err, "of 5000 cases"));
  CHECK(contains(out, " right, 0 wrong, 0 skipped for memory"));
}

TEST_CASE("bench --conv1d --sweep tells what a size costs") {
  const std::vector<std::string> line = {"bench", "--conv1d", "--sweep", "--repeat", "1", "--max-multiply-adds",
                                         "1.1e8"};
  const CommandResult text = run_strand(line);
  INFO(text.out, text.err);
  CHECK(text.code == 0);
  for (const char* part : {"L=256", "L=259", "8 x 64 -> 128, L 256, k3", "Steps above 1.5: "}) {
    CAPTURE(part);
    CHECK(contains(text.out, part));
  }
  CHECK_FALSE(contains(text.out, "L=1024"));  // 8 * 128 * 1022 * 192 multiply-adds
  CHECK(contains(text.out, "Cin=1 "));
  CHECK(run_strand({"bench", "--conv1d", "--sweep", "--random", "3"}).code == 2);
  // What plot.py draws of it.
  const TemporaryFolder folder;
  std::vector<std::string> json_line = line;
  json_line.emplace_back("--json");
  const std::string json = run_strand(json_line).out;
  CHECK(contains(plot("shares", folder, json), "cpu.eigen"));
  CHECK(contains(plot("sweep", folder, json), "time against length"));
}

TEST_CASE("bench refuses cases and times that are not as described, with their line") {
  const TemporaryFolder folder;
  struct Row {
    std::string cases;
    std::string message;
  };
  const std::vector<Row> rows = {
      {"# x\nrelu 2x8\n", "cases.txt:2: has 2 columns"},
      {"relu 2x8x - ReLU\n", "cases.txt:1: expected a shape such as 16x256x1000, found '2x8x'"},
      {"relu 2x-8 - ReLU\n", "cases.txt:1: expected a shape"},
      {"relu 2x99999999999999999999 - ReLU\n", "cases.txt:1: expected a shape"},
      {"relu 2x8 - ReLU inplace\n", "cases.txt:1: expected field=value, found 'inplace'"},
      {"relu 2x8 - ReLU}, inplace=1\n", "cases.txt:1: expected a layer's type"},
      {"relu 2x8 - ReLU inplace={a:1}\n", "cases.txt:1: expected a field's value"},
      {"relu 2x8 other ReLU\n", "cases.txt:1: is held against 'other', which is no case above"},
      {"relu 2x8 - ReLU\nrelu 2x8 - ReLU\n", "cases.txt:2: a second case 'relu'"},
      {"relu 2x8 - ReLO\n", "did you mean 'ReLU'"},
      {"soft 2x8 - Softmax dim=7\n", "soft"},
      {"view 2x8 - Flatten\n", "expected a layer that computes something"},
      {"", "no case has ''"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.cases);
    const CommandResult result =
        run_strand({"bench", "--layers", folder.write("cases.txt", row.cases), "--repeat", "1"});
    INFO(result.err);
    CHECK(result.code == 2);
    CHECK(contains(result.err, row.message));
  }
  const std::string cases = folder.write("cases.txt", kLayers);
  for (const char* times : {"relu,1\n", "name\n", "name,fp32\nrelu,1,2\n", "name,fp32\nrelu,fast\n",
                            "name,fp32\nrelu,-1\n", "name,fp32\nrelu,nan\n"}) {
    CAPTURE(times);
    const CommandResult result =
        run_strand({"bench", "--layers", cases, "--pytorch", folder.write("times.csv", times)});
    CHECK(result.code == 2);
    CHECK(contains(result.err, "times.csv:"));
  }
  CHECK(run_strand({"bench", "--layers", cases, "--conv1d", cases}).code == 2);
}

}  // namespace
}  // namespace strand::testing
