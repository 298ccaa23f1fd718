// Measured choices: `strand tune`, the file that keeps them, and what compile() makes of them.

#include <nlohmann/json.hpp>

#include "engine/session.h"
#include "graphs/tune.h"
#include "tests/run_command.h"

namespace strand::testing {
namespace {

using graphs::Tuning;

std::shared_ptr<const Plan> compile_with(const graphs::Network& network, const Tuning& tuning) {
  graphs::CompileOptions options;
  options.tuning = std::make_shared<const Tuning>(tuning);
  return network.compile(options);
}

std::vector<std::string> implementations_of(const Plan& plan) {
  std::vector<std::string> names;
  for (const PlanStep& step : plan.steps) names.push_back(step.implementation);
  return names;
}

TEST_CASE("compile takes measured choices, and only those that fit") {
  const graphs::Network network = graphs::Network::from_memory(kNetwork, {});
  const std::vector<std::string> keys = network.tuning_keys({});
  REQUIRE(keys.size() == 2);
  CHECK(keys[0] == "float32 Conv1d 1 x 2 -> 8, L 100, k5 s1 d1 p2+2 g1 bias then1");
  CHECK(keys[1] == "float32 Conv1d 1 x 8 -> 2, L 100, k3 s1 d2 p2+2 g1 bias");
  using Names = std::vector<std::string>;
  CHECK(implementations_of(*compile_with(network, {})) == Names{"cpu.eigen", "cpu.eigen"});
  const Tuning second{{{keys[1], "cpu.reference"}}};
  CHECK(implementations_of(*compile_with(network, second)) == Names{"cpu.eigen", "cpu.reference"});
  // Unknown, or another device's.
  const Tuning unfit{{{keys[0], "cpu.bananas"}, {keys[1], "cuda.direct"}}};
  CHECK(implementations_of(*compile_with(network, unfit)) == Names{"cpu.eigen", "cpu.eigen"});
  // Without fusion, and so without a key: layers that nothing is measured of.
  graphs::CompileOptions apart;
  apart.fuse = false;
  CHECK(network.tuning_keys(apart)[1].empty());
  // Another length is another problem; a name that was asked for goes first.
  graphs::CompileOptions options;
  options.tuning = std::make_shared<const Tuning>(second);
  options.dimensions["length"] = 101;
  CHECK(implementations_of(*network.compile(options))[1] == "cpu.eigen");
  options.dimensions.clear();
  options.implementation = "cpu.eigen";
  CHECK(implementations_of(*network.compile(options))[1] == "cpu.eigen");
  options.implementation.clear();
  const auto candidates = network.candidates(options);
  CHECK_FALSE(candidates[0][0].tuned);
  CHECK(candidates[1][1].name == "cpu.reference");
  CHECK(candidates[1][1].picked);
  CHECK(candidates[1][1].tuned);
  CHECK_FALSE(candidates[1][0].picked);
}

TEST_CASE("tune measures every implementation that takes a problem, and picks the fastest") {
  const graphs::Network network = graphs::Network::from_memory(kNetwork, {});
  TensorMap inputs;
  inputs.emplace("audio", random_tensor({1, 2, 100}));
  graphs::TuneOptions options;
  options.seconds = 0.01;
  std::vector<std::string> said;
  options.progress = [&](std::string_view name) { said.emplace_back(name); };
  const std::vector<graphs::TunedProblem> problems = graphs::tune(network, inputs, options);
  CHECK(said == std::vector<std::string>{"cpu.eigen", "cpu.reference"});
  REQUIRE(problems.size() == 2);
  for (const graphs::TunedProblem& problem : problems) {
    REQUIRE(problem.implementations.size() == 2);
    REQUIRE(problem.layers.size() == 1);
    CHECK(problem.implementations[0].name == "cpu.eigen");
    CHECK(problem.implementations[1].name == "cpu.reference");
    for (const auto& each : problem.implementations) CHECK(each.milliseconds > 0);
    const double best = problem.implementations[problem.best].milliseconds;
    CHECK(0.97 * best <= problem.implementations[1 - problem.best].milliseconds);
  }
  const Tuning tuning = graphs::choices(problems);
  for (const graphs::TunedProblem& problem : problems) {
    CHECK(tuning.picks.find(problem.key)->second == problem.implementations[problem.best].name);
  }
  CHECK_THROWS_AS(graphs::tune(network, {}, options), Error);
}

TEST_CASE("the file of choices keeps other devices' rows and drops what is stale") {
  const TemporaryFolder folder;
  const std::string path = folder.file("new/folder/tuning.txt");
  CHECK(contains(graphs::read_tuning(path, {}).note, "no such file"));
  graphs::write_tuning(path, {}, {{{"a", "cpu.eigen"}, {"b", "cpu.eigen"}}, {{"a", 1.5}, {"b", 2}}});
  graphs::write_tuning(path, {}, {{{"b", "cpu.reference"}}, {{"b", 1}}});
  const graphs::TuningFile file = graphs::read_tuning(path, {});
  CHECK(file.note.empty());
  CHECK(file.tuning.picks.at("a") == "cpu.eigen");
  CHECK(file.tuning.milliseconds.at("a") == 1.5);
  CHECK(file.tuning.picks.at("b") == "cpu.reference");

  const std::string text = read_text(path);
  const std::string row = text.substr(text.find('\n') + 1, text.find('\n', text.find('\n') + 1) - text.find('\n'));
  const size_t device_end = row.find('\t');
  const size_t version_end = row.find('\t', device_end + 1);
  const std::string other_device = "Another GPU" + row.substr(device_end);
  const std::string other_version = row.substr(0, device_end) + "\t0.0.0" + row.substr(version_end);
  const std::string others = folder.write("others.txt", "strand tuning 1\n" + other_device + other_version);
  const graphs::TuningFile foreign = graphs::read_tuning(others, {});
  CHECK(foreign.tuning.picks.empty());
  CHECK(contains(foreign.note, "has nothing for"));
  CHECK(contains(foreign.note, "but for Another GPU and strand"));
  graphs::write_tuning(others, {}, {{{"c", "cpu.eigen"}}, {{"c", 1}}});
  CHECK(contains(read_text(others), other_device));
  CHECK_FALSE(contains(read_text(others), "\t0.0.0\t"));
  CHECK(graphs::read_tuning(others, {}).tuning.picks.size() == 1);

  const std::string cells = row.substr(0, row.size() - 1);
  for (const std::string& bad :
       {std::string(), std::string("\n"), std::string("strand tuning 2\n"), row, "strand tuning 1\n" + row + "x\n",
        "strand tuning 1\n" + cells + "0\tx\n", "strand tuning 1\n" + cells + "x\n", "strand tuning 1\n" + row + "\n",
        "strand tuning 1\n" + std::string(1000, '\t') + "\n",
        "strand tuning 1\n" + row.substr(0, row.rfind('\t')) + "\tnan\n",
        "strand tuning 1\n" + row.substr(0, row.rfind('\t')) + "\t-1\n"}) {
    CAPTURE(bad);
    const std::string corrupt = folder.write("corrupt.txt", bad);
    const graphs::TuningFile ignored = graphs::read_tuning(corrupt, {});
    CHECK(contains(ignored.note, "the tuning cache is ignored: " + corrupt));
    CHECK(ignored.tuning.picks.empty());
  }
  graphs::write_tuning(folder.file("corrupt.txt"), {}, {{{"c", "cpu.eigen"}}, {{"c", 1}}});
  CHECK(graphs::read_tuning(folder.file("corrupt.txt"), {}).tuning.picks.size() == 1);
  CHECK(contains(graphs::read_tuning(folder.file("."), {}).note, "is ignored"));
}

TEST_CASE("strand tune writes what the other commands read") {
  const TemporaryFolder folder;
  const std::string net = folder.write("net.yaml", kNetwork);
  const std::string cache = folder.file("tuning.txt");
  const CommandResult tuned = run_strand({"tune", net, "--tune-cache", cache});
  INFO(tuned.out, tuned.err);
  REQUIRE(tuned.code == 0);
  for (const char* part : {"float32 Conv1d 1 x 2 -> 8, L 100, k5", "cpu.eigen", "cpu.reference", "2 choices for "}) {
    CAPTURE(part);
    CHECK(contains(tuned.out, part));
  }
  // Whatever was the fastest, what is read is what counts.
  std::string text = read_text(cache);
  for (size_t at = text.find("cpu.eigen"); at != std::string::npos; at = text.find("cpu.eigen")) {
    text.replace(at, 9, "cpu.reference");
  }
  folder.write("tuning.txt", text);
  const CommandResult inspected = run_strand({"inspect", net, "--tune-cache", cache});
  CHECK(inspected.err.empty());
  CHECK(contains(inspected.out, "cpu.reference (tuned)"));
  CHECK_FALSE(contains(inspected.out, "cpu.eigen (tuned)"));
  const CommandResult json = run_strand({"inspect", net, "--tune-cache", cache, "--json"});
  CHECK(nlohmann::json::parse(json.out)["layers"][0]["candidates"][1]["tuned"] == true);
  CHECK_FALSE(contains(run_strand({"inspect", net, "--tune-cache", "none"}).out, "(tuned)"));
  const CommandResult bench = run_strand({"bench", net, "--tune-cache", cache, "--repeat", "1"});
  CHECK(contains(bench.out, "cpu.reference"));

  folder.write("tuning.txt", "nonsense");
  const CommandResult corrupt = run_strand({"inspect", net, "--tune-cache", cache});
  CHECK(corrupt.code == 0);
  CHECK(contains(corrupt.err, "strand: note: the tuning cache is ignored: " + cache + ":1"));
  CHECK_FALSE(contains(corrupt.out, "(tuned)"));
  CHECK(contains(run_strand({"inspect", net, "--tune-cache", folder.file("none.txt")}).err, "no such file"));

  const std::string plain =
      folder.write("plain.yaml",
                   "strand: 1\nname: n\nweights: {seed: 0}\ninputs:\n  x: {shape: [1, 4, 8]}\nlayers:\n"
                   "  - {name: a, type: ReLU}\n");
  CHECK(contains(run_strand({"tune", plain, "--tune-cache", cache}).out, "no layer to choose for"));
  CHECK(run_strand({"tune", net, "--tune-cache", cache, "--implementation", "cpu.eigen"}).code == 2);
  CHECK(run_strand({"tune", net, "--tune-cache", folder.file(".")}).code == 2);
}

}  // namespace
}  // namespace strand::testing
